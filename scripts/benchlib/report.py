"""How a benchmark speaks: medians with their spread, a table, the machine, one JSON object at the end."""

import argparse
import json
import math
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))


class BenchFailure(Exception):
    """The measurement, or the baseline beside it, could not be made. The command fails with this text."""


@dataclass(frozen=True)
class Summary:
    """Repeated measurements of one thing. Shown as "median (min–max)"."""
    median: float
    low: float
    high: float
    count: int

    def __str__(self):
        if self.count == 1:
            return f"{self.median:.3g}"
        return f"{self.median:.3g} ({self.low:.3g}–{self.high:.3g})"


def summarize(values):
    """The Summary of at least one finite number."""
    values = list(values)
    if not values or not all(math.isfinite(v) for v in values):
        raise BenchFailure(f"nothing to summarize in {values}")
    return Summary(statistics.median(values), min(values), max(values), len(values))


def parse_rate(text):
    """Bytes per second of "200mbit", "1Gbit/s" or "50MB/s"."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(bit|b)(?:/s)?", text.strip().lower())
    if not match:
        raise BenchFailure(f"'{text}' is not a rate: write for example 200mbit or 50MB/s")
    number, prefix, unit = match.groups()
    scale = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}[prefix]
    return float(number) * scale / (8 if unit == "bit" else 1)


def format_rate(bytes_per_second):
    for scale, unit in ((1e9, "GB/s"), (1e6, "MB/s"), (1e3, "kB/s")):
        if bytes_per_second >= scale:
            return f"{bytes_per_second / scale:.3g} {unit}"
    return f"{bytes_per_second:.3g} B/s"


def print_table(headers, rows, title=""):
    """Columns as wide as their content; a column of numbers is aligned right."""
    texts = [[f"{c:.3g}" if isinstance(c, float) else str(c) for c in row] for row in rows]
    for row in texts:
        if len(row) != len(headers):
            raise ValueError(f"a row of {len(row)} cells under {len(headers)} headers")
    widths = [max(len(line[i]) for line in [list(headers), *texts]) for i in range(len(headers))]
    right = [bool(rows) and all(isinstance(row[i], (int, float, Summary)) for row in rows)
             for i in range(len(headers))]

    def line(cells):
        return "  ".join(c.rjust(w) if r else c.ljust(w)
                         for c, w, r in zip(cells, widths, right)).rstrip()

    if title:
        print(f"\n{title}")
    print(line(headers))
    print(line(["-" * w for w in widths]))
    for row in texts:
        print(line(row))
    sys.stdout.flush()


def machine():
    """Where and of what a number was measured: a figure without this is not worth writing down."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = re.search(r"model name\s*:\s*(.*)", file.read())
    with open("/proc/meminfo", encoding="utf-8") as file:
        memory = int(re.search(r"MemTotal:\s*(\d+) kB", file.read()).group(1))
    revision = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"],
                              capture_output=True, text=True, check=False)
    return {"cpu": model.group(1) if model else platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gib": round(memory / 2**20, 1),
            "kernel": platform.release(),
            "commit": revision.stdout.strip() or "unknown",
            "date": time.strftime("%Y-%m-%d", time.gmtime())}


def print_machine():
    m = machine()
    print(f"{m['cpu']}, {m['cores']} cores, {m['memory_gib']} GiB, Linux {m['kernel']}, "
          f"commit {m['commit']}, {m['date']}")


def run_benchmark(doc, measure, add_arguments=None):
    """The main function of a benchmark.

    Parses --json and --runs and what `add_arguments(parser)` adds, prints the machine, calls
    `measure(args)` and, with --json, prints what it returns as one JSON object in the last line. A
    BenchFailure ends the program with its text and status 1; so do SIGTERM and SIGINT, after every
    `with` block was left in order. `doc` is the benchmark's docstring.
    """
    parser = argparse.ArgumentParser(description=doc,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true",
                        help="print one JSON object with the results as the last line")
    parser.add_argument("--runs", type=int, default=5, metavar="N",
                        help="measure N times and take medians (default 5)")
    if add_arguments:
        add_arguments(parser)
    args = parser.parse_args()
    if args.runs < 1:
        parser.error("--runs must be at least 1")

    def leave(number, _frame):
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, leave)
    print_machine()
    try:
        result = measure(args)
    except BenchFailure as failure:
        sys.stdout.flush()
        sys.exit(f"{os.path.basename(sys.argv[0])}: {failure}")
    if args.json:
        # allow_nan: a reader must never meet the word NaN, which is not JSON.
        print(json.dumps({"bench": os.path.basename(sys.argv[0]), **(result or {}),
                          "runs": args.runs, "machine": machine()}, allow_nan=False))
    sys.stdout.flush()
