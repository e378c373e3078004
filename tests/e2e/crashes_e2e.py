#!/usr/bin/env python3
"""kill -9 in the middle of a download: of the tracker, of who receives, of who sends."""

import unittest

from e2e_case import FleetCase, descriptor_counts

_SIZE = 24_000_000


class CrashTest(FleetCase):
    def setUp(self):
        super().setUp()
        self.fleet_of = self.fleet(3, "--upload-limit", "40Mbit/s")
        self.dir = self.model({"w.safetensors": _SIZE})
        self.fleet_of["n1"].run("publish", self.dir, "--as", "m/k:1")

    def local(self, node):
        """What the agent itself says, with or without a tracker."""
        return self.fleet_of[node].json("status", "m/k:1", "--explain", check=False)

    def begin(self, node="n2"):
        self.fleet_of["n1"].run("prefetch", "m/k:1", "--nodes", node)
        self.wait_for("some bytes", lambda: self.progress(self.fleet_of, "m/k:1", node)["bytes_done"],
                      lambda done: done > 5_000_000, 30)

    def test_a_download_ends_well_without_the_tracker(self):
        before = descriptor_counts(self.fleet_of["n2"])
        self.begin()
        self.fleet_of.tracker.kill()
        self.wait_for("the rest", lambda: self.local("n2"),
                      lambda now: now.get("state") == "complete", 40)
        self.fleet_of["n2"].run("verify", "m/k:1")
        self.wait_for("the loss of the tracker to be told",
                      lambda: self.fleet_of["n2"].json("status")["tracker"],
                      lambda tracker: not tracker["connected"] and tracker["error"], 30)
        self.assert_no_leak(self.fleet_of["n2"], before)
        # The next tracker hears of what happened meanwhile, and the publication is still known.
        self.fleet_of.start_tracker()
        for agent in self.fleet_of.agents.values():
            agent.wait_ready()
        self.wait_for("the new tracker to know",
                      lambda: self.progress(self.fleet_of, "m/k:1", "n2"),
                      lambda now: now["state"] == "complete", 20)
        self.assert_whole(self.fleet_of["n2"], "m/k:1", self.dir)

    def test_a_killed_receiver_keeps_what_it_had_verified(self):
        self.begin()
        self.fleet_of["n2"].process.kill()
        agent = self.fleet_of["n2"].start().wait_ready()
        self.wait_for("the rest", lambda: self.progress(self.fleet_of, "m/k:1", "n2"),
                      lambda now: now["state"] == "complete", 40)
        received = agent.metrics()['shoal_agent_received_bytes_total{source="peer"}']
        self.assertLess(received, _SIZE - 4_000_000, "it fetched again what it had")
        sent = self.fleet_of["n1"].metrics()["shoal_agent_lane_sent_bytes_total"]
        # At most what was on its way when it died came twice.
        self.assertLess(sent, _SIZE * 1.15)
        self.assert_whole(agent, "m/k:1", self.dir)

    def test_another_that_has_it_takes_over_when_the_sender_is_killed(self):
        self.fleet_of["n1"].run("prefetch", "m/k:1", "--nodes", "n3", "--wait", "--timeout", "60s")
        before = descriptor_counts(self.fleet_of["n2"])
        self.begin()
        self.fleet_of["n1"].process.kill()
        self.wait_for("the rest", lambda: self.local("n2"),
                      lambda now: now.get("state") == "complete", 40)
        self.assert_whole(self.fleet_of["n2"], "m/k:1", self.dir)
        self.assert_no_leak(self.fleet_of["n2"], before)


if __name__ == "__main__":
    unittest.main(verbosity=2)
