#!/usr/bin/env python3
"""Nodes behind limited links: the limit holds both ways and nothing is left behind. Needs root."""

import os
import subprocess
import sys
import tempfile
import time
import unittest

SCRIPTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts")
sys.path.insert(0, SCRIPTS)
import benchlib  # noqa: E402
from benchlib import BenchFailure, Network, Nginx, Supervisor  # noqa: E402

SIZE = 8_000_000


def own_namespaces():
    return [n for n in os.listdir("/run/netns") if n.startswith(f"shoal-{os.getpid()}-")]


class NetworkTest(unittest.TestCase):
    def test_a_link_limits_both_directions_and_is_torn_down(self):
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            root = os.path.join(folder, "www")
            os.mkdir(root)
            with open(os.path.join(root, "f"), "wb") as file:
                file.write(os.urandom(SIZE))
            # The slow link is once the receiver's, once the sender's.
            with Network(["slow", "fast"], rate={"slow": "40mbit", "fast": "400mbit"}) as net, \
                    Supervisor(os.path.join(folder, "logs")) as programs:
                ideal = SIZE / benchlib.parse_rate("40mbit")
                for sender, receiver in (("fast", "slow"), ("slow", "fast")):
                    server = Nginx(programs, root, 80, host=net[sender].address, node=net[sender],
                                   name=f"nginx-{sender}")
                    before = net[sender].sent_bytes()
                    start = time.monotonic()
                    net[receiver].run("curl", "-sf", "-o", "/dev/null", server.url + "/f")
                    took = time.monotonic() - start
                    self.assertGreater(took, ideal * 0.9, sender)
                    self.assertLess(took, ideal * 1.5, sender)
                    self.assertGreater(net[sender].sent_bytes() - before, SIZE)
                net.set_rate("slow", None)
                start = time.monotonic()
                net["fast"].run("curl", "-sf", "-o", "/dev/null",
                                f"http://{net['slow'].address}/f")
                self.assertLess(time.monotonic() - start, ideal * 0.5)
                net.set_up("slow", False)
                self.assertFalse(net["fast"].accepts(net["slow"].address, 80))
        self.assertEqual(own_namespaces(), [])

    def test_a_failure_inside_leaves_nothing_behind(self):
        with self.assertRaises(ZeroDivisionError):
            with Network(["a", "b"]):
                self.assertEqual(len(own_namespaces()), 3)
                raise ZeroDivisionError
        self.assertEqual(own_namespaces(), [])

    def test_a_failure_during_set_up_leaves_nothing_behind(self):
        with self.assertRaises(BenchFailure):
            with Network(["a", "b"], rate="very fast"):
                pass
        self.assertEqual(own_namespaces(), [])

    def test_what_a_killed_run_left_is_swept_by_the_next(self):
        script = ("import os, signal\nfrom benchlib import Network\n"
                  "with Network(['a']):\n  os.kill(os.getpid(), signal.SIGKILL)\n")
        with subprocess.Popen([sys.executable, "-c", script],
                              env={**os.environ, "PYTHONPATH": SCRIPTS}) as killed:
            killed.wait(30)
        left = f"shoal-{killed.pid}-a"
        self.assertIn(left, os.listdir("/run/netns"))
        with Network(["a"]):
            pass
        self.assertNotIn(left, os.listdir("/run/netns"))


if __name__ == "__main__":
    unittest.main()
