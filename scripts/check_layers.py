#!/usr/bin/env python3
"""Checks who includes whom. The rules are the three tables below; ARCHITECTURE.md explains them.

usage: scripts/check_layers.py [--root DIR]

Fails with one line per offence, `file:line: what is wrong`:
  - a folder includes a folder of ours that its row in LAYERS does not name,
  - a third-party header is included outside the rooms that ROOMS gives it,
  - a header or a word of BANNED appears,
  - folders or headers include one another in a circle,
  - a folder with C++ files has no row.
"""

import argparse
import os
import re
import sys
from collections import defaultdict

CORE = ("core/base", "core/content", "core/store", "core/swarm", "core/async", "core/http",
        "core/api", "core/daemon", "core/agent_client")

# folder: the folders of ours that it may include besides itself. A row covers the folders below it
# unless they have a row of their own. The rows of core/ are listed bottom up and each names only rows
# above it.
LAYERS = {
    "core/base": (),
    "core/content": ("core/base",),
    "core/store": ("core/content", "core/base"),
    "core/swarm": ("core/content", "core/base"),
    "core/async": ("core/base",),
    "core/http": ("core/async", "core/base"),
    "core/api": ("core/content", "core/base"),
    "core/daemon": ("core/http", "core/async", "core/base"),
    # Runs inside other people's processes: neither Boost nor the http library may come with it.
    "core/agent_client": ("core/api", "core/store", "core/content", "core/base"),
    "agent": CORE,
    "tracker": ("core/daemon", "core/api", "core/http", "core/swarm", "core/content", "core/async",
                "core/base"),
    "snapshotter": ("core/daemon", "core/api", "core/store", "core/content", "core/async",
                    "core/base", "core/agent_client"),
    "loader": ("core/store", "core/api", "core/content", "core/base", "core/agent_client"),
    "cli": ("core/daemon", "core/api", "core/http", "core/async", "core/content", "core/base",
            "core/agent_client"),
    "tests/fakes": CORE,
    # The simulator drives the decisions that ship; it needs nothing else.
    "tests/sim": ("core/swarm", "core/content", "core/base", "tests/fakes"),
    "tests/bench": CORE + ("agent", "tracker", "tests/fakes"),
    # A fuzzer may use the samples and properties of the tests of what it feeds.
    "tests/fuzz": CORE + ("agent", "tracker", "snapshotter", "loader", "cli", "tests/fakes",
                          "tests/core/api"),
    "tests/e2e": CORE + ("tests/fakes",),
}
# tests/X mirrors X: it may include X, what X may include, and the fakes.
for _folder in [f for f in LAYERS if not f.startswith("tests/")]:
    LAYERS["tests/" + _folder] = (_folder, *LAYERS[_folder], "tests/fakes")

# (pattern of <…> or "…" headers, rooms: folder prefixes that may include them, why)
ROOMS = (
    (r"spdlog/|fmt/", ("core/base",), "the logging library stays behind core/base/log.h"),
    (r"tl/expected", ("core/base",), "Result<T> is hidden behind core/base/result.h (ADR 0002)"),
    (r"(immintrin|x86intrin|emmintrin|arm_neon|arm_acle)\.h", ("core/content", "tests/bench"),
     "SHA intrinsics belong to the leaf hasher"),
    (r"openssl/", ("core/content", "core/http", "tests/core/content", "tests/core/http",
                   "tests/fakes", "tests/bench"),
     "digests are core/content's, TLS and certificates core/http's"),
    (r"boost/asio/(awaitable|co_spawn|use_awaitable|detached|this_coro|redirect_error"
     r"|experimental/)", ("core/async", "core/http", "agent/lane", "tests/core/async"),
     "Asio's coroutines are reached through core/async/task.h (ADR 0001)"),
    (r"boost/beast/", ("core/http", "tests/core/http"), "HTTP is spoken by core/http"),
    (r"boost/", ("core/async", "core/http", "core/daemon", "agent", "tracker", "cli", "tests"),
     "Boost stays out of the folders that others link or that only decide"),
    (r"nlohmann/", ("core/content", "core/store", "core/api", "core/http", "core/agent_client",
                    "core/daemon", "agent", "tracker", "cli", "loader", "tests"),
     "JSON is read by the few parsers of these folders"),
    (r"yaml-cpp/", ("core/daemon",), "settings files are read by core/daemon"),
    (r"curl/", ("agent/origin", "tests/agent/origin"), "origins are read by agent/origin"),
    (r"pugixml", ("agent/origin",), "XML is read by the origins that speak it"),
    (r"sqlite3", ("tracker/catalogue", "tests/tracker/catalogue"),
     "the catalogue's storage is its own affair"),
    (r"libtorrent/", ("agent/bittorrent", "tests/agent/bittorrent", "tests/core/content",
                      "tests/bench"),
     "libtorrent keeps to its room (ADR 0003); tests compare with it"),
    (r"grpcpp/|grpc/|google/protobuf/", ("snapshotter/grpc",), "gRPC keeps to its room"),
    (r"fuse(_lowlevel)?\.h|fuse3/", ("snapshotter/fuse",), "FUSE keeps to its room"),
    (r"cuda|nvml\.h", ("loader/device",), "CUDA keeps to its room"),
    (r"gtest/|gmock/", ("tests",), "test libraries stay in tests/"),
    (r"benchmark/", ("tests/bench",), "the benchmark library stays in tests/bench"),
)

# (pattern of a line, folders where the rule holds, folders excepted, why)
BANNED = (
    (r'#include <boost/(asio|beast)\.hpp>', ("",), (),
     "umbrella header: costs seconds per file, include the specific ones"),
    (r"\basio::detached\b", ("",), ("core/async",),
     "background work has an owner: TaskGroup::spawn"),
    (r"#include <(fstream|iostream|filesystem|thread|mutex|condition_variable|future|unistd\.h"
     r"|fcntl\.h|sys/.*|netinet/.*|time\.h|ctime|random)>|\b(steady|system)_clock::now\b"
     r"|\brandom_u64\(|\brandom_hex\(",
     ("core/swarm",), (), "core/swarm only decides: no I/O, no threads, no clock, no entropy"),
    (r"\bthis_thread::sleep_|\busleep\(|\bnanosleep\(", ("tests",),
     ("tests/bench", "tests/e2e"), "tests wait for events, never for time"),
)

SOURCE_DIRS = ("core", "agent", "tracker", "snapshotter", "loader", "cli", "tests")
EXTENSIONS = (".h", ".cc", ".cu")
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')


def strip_comment(line):
    """The line without a // comment; good enough for text that is not inside a string."""
    return re.sub(r"(^|[^:\"])//.*", r"\1", line)


def inside(folder, prefix):
    return prefix == "" or folder == prefix or folder.startswith(prefix + "/")


def layer_of(folder):
    """The longest row that covers the folder, or None."""
    rows = [row for row in LAYERS if inside(folder, row)]
    return max(rows, key=len) if rows else None


def circle_node(path):
    """What may not be in a circle with others: a folder, but each header with its source alone in the
    top folder of a component, where its vocabulary and its composition root lie side by side."""
    folder = os.path.dirname(path)
    return os.path.splitext(path)[0] if "/" not in folder else folder


def find_circle(edges):
    """One circle in {node: {node, …}} as a list of nodes that ends where it starts, or None."""
    state = {}
    for start in sorted(edges):
        if start in state:
            continue
        path, iterators = [start], [iter(sorted(edges[start]))]
        state[start] = "open"
        while path:
            following = next(iterators[-1], None)
            if following is None:
                state[path.pop()] = "done"
                iterators.pop()
            elif state.get(following) == "open":
                return path[path.index(following):] + [following]
            elif following not in state:
                state[following] = "open"
                path.append(following)
                iterators.append(iter(sorted(edges.get(following, ()))))
    return None


def source_files(root):
    for top in SOURCE_DIRS:
        for folder, subfolders, names in os.walk(os.path.join(root, top)):
            subfolders.sort()
            for name in sorted(names):
                if name.endswith(EXTENSIONS):
                    yield os.path.relpath(os.path.join(folder, name), root)


def check_include(folder, layer, target, quoted, exists):
    """What is wrong with one #include, or None."""
    if quoted:
        if not exists(target):
            return f'"{target}" is not a file of this tree: include from the root, others with <>'
        other_folder = os.path.dirname(target)
        other = layer_of(other_folder)
        if other is not None and other != layer and other not in LAYERS[layer]:
            return f"{layer} may not include {other} (LAYERS in scripts/check_layers.py)"
        return None
    for pattern, rooms, why in ROOMS:
        if re.match(pattern, target):
            if not any(inside(folder, room) for room in rooms):
                return f"<{target}> is only for {', '.join(rooms)}: {why}"
            return None  # the first match is the most specific
    return None


def check(root):
    """All offences in the tree, as text lines."""
    offences = []
    folder_edges = defaultdict(set)
    header_edges = defaultdict(set)
    unknown_folders = set()

    def exists(path):
        return os.path.isfile(os.path.join(root, path))

    for path in source_files(root):
        folder = os.path.dirname(path)
        layer = layer_of(folder)
        if layer is None:
            if folder not in unknown_folders:
                offences.append(f"{path}:1: folder {folder} has no row in LAYERS "
                                "(scripts/check_layers.py)")
            unknown_folders.add(folder)
            continue
        with open(os.path.join(root, path), encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                code = strip_comment(line)
                for pattern, where, excepted, why in BANNED:
                    if (re.search(pattern, code) and any(inside(folder, w) for w in where)
                            and not any(inside(folder, e) for e in excepted)):
                        offences.append(f"{path}:{number}: {why}")
                match = INCLUDE.match(line)
                if not match:
                    continue
                target, quoted = match.group(1) or match.group(2), bool(match.group(1))
                wrong = check_include(folder, layer, target, quoted, exists)
                if wrong:
                    offences.append(f"{path}:{number}: {wrong}")
                if quoted:
                    here, there = circle_node(path), circle_node(target)
                    if here != there and not folder.startswith("tests"):
                        folder_edges[here].add(there)
                    if path.endswith(".h"):
                        header_edges[path].add(target)
    for edges, what in ((folder_edges, "folders"), (header_edges, "headers")):
        circle = find_circle(edges)
        if circle:
            offences.append(f"{circle[0]}: {what} include one another: {' -> '.join(circle)}")
    return offences


def check_table():
    """Offences in the table itself: a row that names a row not declared before it."""
    offences = []
    seen = set()
    for row, allowed in LAYERS.items():
        for other in allowed:
            if other not in LAYERS:
                offences.append(f"LAYERS: {row} names {other}, which has no row")
            elif other not in seen and not row.startswith("tests/"):
                offences.append(f"LAYERS: {row} names {other}, which is above it")
        seen.add(row)
    return offences


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=os.path.join(os.path.dirname(__file__), ".."))
    root = os.path.normpath(parser.parse_args().root)
    offences = check_table() + check(root)
    for offence in offences:
        print(offence)
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main())
