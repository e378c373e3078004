#!/usr/bin/env python3
"""Steps of the wall clock: downloads do not care, only certificates may."""

import time
import unittest

from e2e_case import Certificates, Fleet, FleetCase
from fake_clock import FakeClock

_HOUR = 3600
_YEAR = 365 * 24 * _HOUR


class ClockTest(FleetCase):
    def setUp(self):
        super().setUp()
        self.clock = FakeClock(self.work / "clock")
        self.tls = Certificates(self.work / "certificates")
        self.two = Fleet(self.programs, self.work, self.runtime, {"n1": None, "n2": None},
                         agent_flags=("--upload-limit", "30Mbit/s"), tls=self.tls)
        self.two.start_tracker(env=self.clock.env())
        for agent in self.two.agents.values():
            agent.start(env=self.clock.env())
        for agent in self.two.agents.values():
            agent.wait_ready()
        self.model_dir = self.model({"w.safetensors": 24_000_000})
        self.two["n1"].run("publish", self.model_dir, "--as", "m/c:1")

    def assert_clock_is_faked(self, offset):
        """Else these tests would test nothing: the log's times are of the program's wall clock."""
        self.two["n2"].run("pull", "no/such:1", "-o", self.work / "nothing", check=False)
        expected = time.strftime("%Y-%m-%dT%H", time.gmtime(time.time() + offset))
        other = time.strftime("%Y-%m-%dT%H", time.gmtime(time.time() + offset - 120))
        self.wait_for("a log line at the faked time",
                      lambda: self.two["n2"].log().splitlines()[-1][:13],
                      lambda hour: hour in (expected, other), 20)

    def bytes_done(self):
        return self.progress(self.two, "m/c:1", "n2")["bytes_done"]

    def step_in_a_download(self, offset):
        self.two["n1"].run("prefetch", "m/c:1", "--nodes", "n2")
        self.wait_for("some bytes", self.bytes_done, lambda done: done > 2_000_000, 20)
        registered = {name: a.log().count("registered") for name, a in self.two.agents.items()}
        begin = time.monotonic()
        self.clock.step_to(offset)
        self.wait_for("the rest", lambda: self.progress(self.two, "m/c:1", "n2"),
                      lambda now: now["state"] == "complete", 30)
        # 24 MB at 30 Mbit/s are 6.4 s.
        self.assertLess(time.monotonic() - begin, 20)
        self.assert_clock_is_faked(offset)
        for name, agent in self.two.agents.items():
            log = agent.log()
            self.assertNotIn("tracker lost", log)
            self.assertNotIn("download stalled", log)
            self.assertEqual(log.count("registered"), registered[name], "it had to register again")
        self.assertEqual({node["node"] for node in self.two["n1"].json("nodes")["nodes"]
                          if node["state"] == "live"}, {"n1", "n2"})
        self.assert_whole(self.two["n2"], "m/c:1", self.model_dir)

    def test_a_step_forward_by_hours(self):
        self.step_in_a_download(7 * _HOUR)

    def test_a_step_back_by_hours(self):
        # Certificates are an hour older than they are: a clock that is a bit behind accepts them.
        self.step_in_a_download(-_HOUR // 2)

    def test_a_step_far_back_makes_certificates_wait_and_nothing_else(self):
        self.two["n1"].run("prefetch", "m/c:1", "--nodes", "n2")
        self.wait_for("some bytes", self.bytes_done, lambda done: done > 2_000_000, 20)
        self.clock.step_to(-9 * _HOUR)
        # Connections that were open stay; the download ends over them or after the step back.
        time.sleep(1)
        self.clock.step_to(0)
        self.wait_for("the rest", lambda: self.progress(self.two, "m/c:1", "n2"),
                      lambda now: now["state"] == "complete", 40)
        self.assert_whole(self.two["n2"], "m/c:1", self.model_dir)

    def test_beyond_the_certificates_end_new_connections_are_refused_with_the_reason(self):
        self.clock.step_to(3 * _YEAR)
        self.two["n2"].process.kill()
        self.two["n2"].start(env=self.clock.env())
        self.two["n2"].process.wait(20)
        self.assertNotEqual(self.two["n2"].process.returncode, 0)
        self.assertRegex(self.two["n2"].log(), r"n2\.crt: expired on \d{4}-\d\d-\d\d")
        self.clock.step_to(0)
        self.two["n2"].start(env=self.clock.env()).wait_ready()
        self.two["n2"].run("pull", "m/c:1", "-o", self.work / "out")


if __name__ == "__main__":
    unittest.main(verbosity=2)
