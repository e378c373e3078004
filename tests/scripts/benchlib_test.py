#!/usr/bin/env python3
"""The parts that the benchmarks share: if these are wrong, so is every number."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest
import urllib.request
from unittest import mock

SCRIPTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts")
sys.path.insert(0, SCRIPTS)
import benchlib  # noqa: E402
from benchlib import BenchFailure, Nginx, Supervisor  # noqa: E402

SPIN = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"
NEEDS_ROOT = unittest.skipUnless(os.geteuid() == 0, "only root may mount")


def run_script(text, *args):
    """Runs a benchmark given as text; (status, lines of standard output, standard error)."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "example")
        with open(path, "w", encoding="utf-8") as file:
            file.write(textwrap.dedent(text))
        done = subprocess.run([sys.executable, path, *args], capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": SCRIPTS}, timeout=60, check=False)
        return done.returncode, done.stdout.splitlines(), done.stderr


class ReportTest(unittest.TestCase):
    def test_a_summary_is_the_median_with_its_spread(self):
        summary = benchlib.summarize([3, 1, 2.5, 10])
        self.assertEqual((summary.median, summary.low, summary.high, summary.count), (2.75, 1, 10, 4))
        self.assertEqual(str(summary), "2.75 (1–10)")
        self.assertEqual(str(benchlib.summarize([2])), "2")

    def test_nothing_and_nan_cannot_be_summarized(self):
        for values in ([], [1, float("nan")], [float("inf")]):
            with self.assertRaises(BenchFailure):
                benchlib.summarize(values)

    def test_rates_are_read_as_links_are_sold(self):
        self.assertEqual(benchlib.parse_rate("200mbit"), 25e6)
        self.assertEqual(benchlib.parse_rate("1Gbit/s"), 125e6)
        self.assertEqual(benchlib.parse_rate("50MB/s"), 50e6)
        for wrong in ("", "fast", "-1mbit", "10", "10MiB"):
            with self.assertRaises(BenchFailure):
                benchlib.parse_rate(wrong)

    def test_a_table_aligns_numbers_right_and_refuses_ragged_rows(self):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            benchlib.print_table(["node", "seconds"], [["n0", 12.345], ["node-1", 3.0]])
        self.assertEqual(out.getvalue(), "node    seconds\n------  -------\n"
                                         "n0         12.3\nnode-1        3\n")
        with self.assertRaises(ValueError):
            benchlib.print_table(["a", "b"], [["x"]])

    def test_the_last_line_is_one_json_object(self):
        status, lines, _ = run_script("""
            from benchlib import run_benchmark
            run_benchmark("d", lambda args: {"vs_ideal": 1.5})
            """, "--json", "--runs", "2")
        self.assertEqual(status, 0)
        result = json.loads(lines[-1])
        self.assertEqual((result["bench"], result["vs_ideal"], result["runs"]), ("example", 1.5, 2))
        self.assertIn("cores", result["machine"])

    def test_a_failed_baseline_fails_the_command_and_prints_no_json(self):
        status, lines, errors = run_script("""
            from benchlib import BenchFailure, run_benchmark
            def measure(args):
                raise BenchFailure("the baseline moved no byte")
            run_benchmark("d", measure)
            """, "--json")
        self.assertEqual(status, 1)
        self.assertIn("the baseline moved no byte", errors)
        self.assertFalse(any(line.startswith("{") for line in lines))

    def test_a_number_that_is_not_one_fails_instead_of_being_printed(self):
        status, lines, _ = run_script("""
            from benchlib import run_benchmark
            run_benchmark("d", lambda args: {"vs_ideal": float("nan")})
            """, "--json")
        self.assertNotEqual(status, 0)
        self.assertFalse(any("NaN" in line for line in lines))


class ProcessTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.programs = self.enterContext(Supervisor(self.folder.name))

    def python(self, name, text):
        return self.programs.start(name, [sys.executable, "-c", text])

    def test_it_reports_status_output_and_cost(self):
        process = self.python("spin", SPIN + "print('done')\nraise SystemExit(3)")
        self.assertEqual(process.wait(20), 3)
        self.assertIn("done", process.log_tail())
        self.assertGreater(process.cpu_seconds(), 0.25)
        with self.assertRaisesRegex(BenchFailure, "spin ended with 3"):
            process.check(1)

    def test_the_cost_of_a_live_tree_includes_children(self):
        child = f"import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', {SPIN + 'time.sleep(60)'!r}])\ntime.sleep(60)"
        process = self.python("parent", child)
        benchlib.wait_until("child has spun", lambda: process.cpu_seconds() > 0.3, 20)
        self.assertGreater(benchlib.rss_anon(process.pid), 1 << 20)

    def test_stop_asks_first_and_insists_then(self):
        polite = self.python("polite", "import signal, sys, time\n"
                             "signal.signal(signal.SIGTERM, lambda *a: sys.exit(7))\n"
                             "print('up', flush=True)\ntime.sleep(60)")
        stubborn = self.python("stubborn", "import signal, time\n"
                               "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
                               "print('up', flush=True)\ntime.sleep(60)")
        for process in (polite, stubborn):
            benchlib.wait_until("up", lambda p=process: "up" in p.log_tail(), 20)
        self.assertEqual(polite.stop(), 7)
        with contextlib.redirect_stderr(io.StringIO()):
            self.assertEqual(stubborn.stop(timeout=0.2), -signal.SIGKILL)

    def test_waiting_names_what_did_not_happen(self):
        with self.assertRaisesRegex(BenchFailure, "the moon: not within 0.05 s"):
            benchlib.wait_until("the moon", lambda: False, 0.05)

    def test_a_program_that_dies_early_is_not_waited_for(self):
        process = self.python("early", "print('no such flag')\nraise SystemExit(2)")
        started = time.monotonic()
        with self.assertRaisesRegex(BenchFailure, "(?s)early ended with 2.*no such flag"):
            process.wait_for_port(benchlib.free_ports()[0], timeout=30)
        self.assertLess(time.monotonic() - started, 20)

    def test_programs_die_with_a_benchmark_that_is_killed(self):
        script = ("import sys, time\nfrom benchlib import Supervisor\n"
                  f"s = Supervisor({self.folder.name!r})\n"
                  "p = s.start('orphan', ['sleep', '600'])\nprint(p.pid, flush=True)\ntime.sleep(60)")
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True,
                              env={**os.environ, "PYTHONPATH": SCRIPTS}) as bench:
            pid = int(bench.stdout.readline())
            bench.kill()

        def gone():
            try:
                with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                    return file.read().rpartition(")")[2].split()[0] == "Z"
            except OSError:
                return True
        benchlib.wait_until("the orphan is gone", gone, 20)

    def test_free_ports_differ(self):
        ports = benchlib.free_ports(20)
        self.assertEqual(len(set(ports)), 20)
        self.assertFalse(set(ports) & set(benchlib.free_ports(2_000)), "given before")

    def test_nginx_serves_and_counts(self):
        root = os.path.join(self.folder.name, "www")
        os.mkdir(root)
        # The workers may not run as root, and the temporary folder is private.
        for folder in (self.folder.name, root):
            os.chmod(folder, 0o755)
        with open(os.path.join(root, "f"), "wb") as file:
            file.write(bytes(range(256)) * 40)
        server = Nginx(self.programs, root, benchlib.free_ports()[0])
        with urllib.request.urlopen(server.url + "/f", timeout=10) as answer:
            self.assertEqual(len(answer.read()), 10240)
        request = urllib.request.Request(server.url + "/f", headers={"Range": "bytes=1-3"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            self.assertEqual(answer.read(), b"\1\2\3")
        benchlib.wait_until("logged", lambda: server.sent_body_bytes() == 10243, 10)


class MemoryFilesTest(unittest.TestCase):
    """Under a temporary folder of their own, so that benchmarks that run meanwhile are not met."""

    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory())
        self.enterContext(mock.patch("tempfile.tempdir", self.folder))

    def left(self):
        return sorted(os.listdir(self.folder))

    def test_what_cannot_be_mounted_says_what_to_do_and_leaves_nothing(self):
        with self.assertRaisesRegex(BenchFailure, "size=nonsense.*root"):
            with benchlib.memory_files("x", "size=nonsense"):
                self.fail("mounted")
        self.assertEqual(self.left(), [])

    @NEEDS_ROOT
    def test_it_is_a_file_system_of_its_own_until_the_block_ends(self):
        with self.assertRaisesRegex(ValueError, "the block"):
            with benchlib.memory_files("x", "size=1M") as folder:
                self.assertTrue(os.path.ismount(folder))
                with open(os.path.join(folder, "f"), "wb") as file:
                    file.write(b"x")
                size = os.statvfs(folder)
                self.assertEqual(size.f_blocks * size.f_frsize, 1 << 20)
                raise ValueError("the block fails")
        self.assertEqual(self.left(), [])

    @NEEDS_ROOT
    def test_what_a_killed_run_left_is_removed_and_what_a_live_one_uses_is_not(self):
        def folder_of(pid):
            path = os.path.join(self.folder, f"shoal-x-{pid}-abc")
            os.mkdir(path)
            subprocess.run(["mount", "-t", "tmpfs", "x", path], check=True)
            self.addCleanup(subprocess.run, ["umount", path], check=False, stderr=subprocess.DEVNULL)
            with open(os.path.join(path, "f"), "wb") as file:
                file.write(b"x")
            return path

        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait(20)
        dead, alive = folder_of(ended.pid), folder_of(os.getpid())
        with benchlib.memory_files("x", "size=1M"):
            self.assertFalse(os.path.exists(dead))
            self.assertTrue(os.path.exists(os.path.join(alive, "f")))


if __name__ == "__main__":
    unittest.main()
