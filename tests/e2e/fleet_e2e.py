#!/usr/bin/env python3
"""Real programs through good and bad days: each test is one promise of the fleet."""

import os
import signal
import unittest

from e2e_case import Fleet, FleetCase, Nginx, free_ports, same, wait_until


class FleetTest(FleetCase):
    def test_publish_prefetch_pull_gives_every_node_every_byte(self):
        fleet = self.fleet(3)
        model = self.model({"a.safetensors": 20_000_000, "sub/b.bin": 65_537, "c.json": 1, "empty": 0})
        fleet["n1"].run("publish", model, "--as", "m/a:1")
        done = fleet["n1"].json("prefetch", "m/a:1", "--wait", "--timeout", "60s")
        self.assertEqual(done["state"], "complete")
        for name in ("n2", "n3"):
            fleet[name].run("verify", "m/a:1")
            fleet[name].run("pull", "m/a:1", "-o", self.work / f"out-{name}")
            self.assertTrue(same(model, self.work / f"out-{name}"), name)

    def test_the_origin_is_read_about_once(self):
        fleet = self.fleet(4, "--origin-allow", "127.0.0.1")
        sizes = {"w.safetensors": 48_000_000, "config.json": 300}
        model = self.model(sizes)
        nginx = Nginx(self.programs, self.work, free_ports(1)[0])
        fleet["n1"].run("publish", model, "--as", "m/o:1", "--origin", f"{nginx.url}/model/",
                        "--no-store")
        fleet["n1"].run("prefetch", "m/o:1", "--wait", "--timeout", "90s")
        for name in fleet.agents:
            fleet[name].run("verify", "m/o:1")
        self.assertLessEqual(nginx.sent_body_bytes(), 1.05 * sum(sizes.values()))

    def test_a_killed_agent_comes_back_with_what_it_had(self):
        fleet = self.fleet(2)
        model = self.model({"w.safetensors": 10_000_000})
        fleet["n1"].run("publish", model, "--as", "m/k:1")
        fleet["n1"].run("prefetch", "m/k:1", "--wait", "--timeout", "60s")
        fleet["n2"].process.kill()
        fleet["n2"].start().wait_ready()
        fleet["n2"].run("verify", "m/k:1")
        fleet["n2"].run("pull", "m/k:1", "-o", self.work / "out")
        self.assertTrue(same(model, self.work / "out"))

    def test_a_killed_tracker_forgets_nothing_that_it_was_given(self):
        fleet = self.fleet(2)
        model = self.model({"w.safetensors": 5_000_000})
        fleet["n1"].run("publish", model, "--as", "m/t:1")
        fleet.tracker.kill()
        fleet.start_tracker()
        for agent in fleet.agents.values():
            agent.wait_ready()
        fleet["n2"].run("pull", "m/t:1", "-o", self.work / "out")
        self.assertTrue(same(model, self.work / "out"))

    def test_a_download_says_what_it_waits_for_and_goes_on_when_the_publisher_returns(self):
        fleet = self.fleet(2, "--upload-limit", "40Mbit/s")
        model = self.model({"w.safetensors": 20_000_000})
        fleet["n1"].run("publish", model, "--as", "m/p:1")
        fleet["n2"].run("prefetch", "m/p:1", "--nodes", "n2")

        def now(what):
            return self.progress(fleet, "m/p:1", "n2", ask="n2")[what]
        wait_until("some bytes", lambda: now("bytes_done") > 1_000_000, 30)
        fleet["n1"].process.kill()
        wait_until("the reason to be told", lambda: "source of piece" in now("waiting_for"), 60)
        fleet["n1"].start().wait_ready()
        wait_until("the rest", lambda: now("state") == "complete", 90)
        fleet["n2"].run("verify", "m/p:1")

    def test_unknown_references_and_bad_directories_are_named(self):
        fleet = self.fleet(1)
        unknown = fleet["n1"].run("pull", "no/such:1", "-o", self.work / "out", check=False)
        self.assertEqual(unknown.returncode, 1)
        self.assertIn("no/such:1", unknown.stderr)
        (self.work / "empty").mkdir()
        empty = fleet["n1"].run("publish", self.work / "empty", "--as", "m/e:1", check=False)
        self.assertNotEqual(empty.returncode, 0)
        self.assertIn("empty", empty.stderr)
        (self.work / "links").mkdir()
        (self.work / "links" / "out").symlink_to("/etc/passwd")
        links = fleet["n1"].run("publish", self.work / "links", "--as", "m/l:1", check=False)
        self.assertNotEqual(links.returncode, 0)
        self.assertIn("out", links.stderr)

    def test_a_second_agent_with_the_same_id_is_refused_while_the_first_lives(self):
        fleet = self.fleet(1)
        other = Fleet(self.programs, self.work / "other", self.runtime / "other", {"n1": None})
        other.directory.mkdir()
        other.url = fleet.url
        second = other["n1"].start()
        wait_until("the refusal", lambda: "another live agent" in second.process.log_tail(50), 20)
        self.assertTrue(fleet["n1"].json("status")["tracker"]["connected"])

    def test_an_agent_that_advertises_nothing_is_reached_where_it_calls_from(self):
        fleet = self.fleet(1)
        fleet["n1"].process.stop()
        fleet["n1"].start(advertise=False).wait_ready()
        node = fleet["n1"].json("nodes")["nodes"][0]
        self.assertEqual(node["address"], f"127.0.0.1:{fleet['n1'].lane}")

    def test_agents_stop_in_order_when_asked(self):
        fleet = self.fleet(2)
        for agent in fleet.agents.values():
            os.kill(agent.process.pid, signal.SIGTERM)
        for agent in fleet.agents.values():
            agent.process.wait(15)
            self.assertEqual(agent.process.returncode, 0, agent.process.log_tail())


if __name__ == "__main__":
    unittest.main(verbosity=2)
