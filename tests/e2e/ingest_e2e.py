#!/usr/bin/env python3
"""Publishing from an origin while the cluster reads it: who prefetches meanwhile waits for nobody, the
origin is read about once, and nothing is readable before it is known to be whole."""

import hashlib
import json
import re
import signal
import subprocess
import unittest

from e2e_case import BenchFailure, Certificates, FleetCase, same
from loopback_server import LoopbackServer
from sick_origin import SickOrigin

_SIZES = {"model-1.safetensors": 12_000_000, "model-2.safetensors": 5_000_001, "config.json": 700,
          "empty.txt": 0}


class IngestTest(FleetCase):
    def setUp(self):
        super().setUp()
        self.dir = self.model(_SIZES)
        self.origin = self.stack.enter_context(SickOrigin(
            {f"/m/{name}": (self.dir / name).read_bytes() for name in _SIZES}))
        self.urls = [f"{self.origin.url}/m/{name}" for name in sorted(_SIZES)]

    def start(self, count, *flags, tls=None):
        self.nodes = self.fleet(count, "--origin-allow", "127.0.0.1", *flags, tls=tls)
        return self.nodes

    def publish(self, reference, *flags, node="n1"):
        """Begins to publish; returns the process."""
        agent = self.nodes[node]
        return subprocess.Popen(
            agent.command("publish", *self.urls, "--as", reference, *flags, "--json"),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish(self, process, timeout=60):
        out, err = process.communicate(timeout=timeout)
        return process.returncode, out, err

    def published(self, process):
        code, out, err = self.finish(process)
        self.assertEqual(code, 0, err)
        return json.loads(out.splitlines()[-1])

    def ingests(self):
        return self.nodes["n1"].get("/v1/tracker/ingests")["ingests"]

    def wait_until_known(self, reference):
        self.wait_for("the tracker to know of it", self.ingests,
                      lambda all: any(i["reference"] == reference for i in all), 20)

    def wait_until_over(self, order, state="complete", timeout=60):
        return self.wait_for(f"the order to be {state}",
                             lambda: self.nodes["n1"].get(f"/v1/tracker/prefetch/{order}"),
                             lambda now: now["state"] == state, timeout)

    def test_a_model_is_prefetched_while_it_is_published(self):
        self.start(3)
        self.origin.bytes_per_s = 1_000_000
        publishing = self.publish("m/i:1")
        self.wait_until_known("m/i:1")
        self.assertIsNone(publishing.poll(), "it cannot be done: the origin is slow")
        order = self.nodes["n2"].json("prefetch", "m/i:1")["id"]
        self.wait_for("other nodes to have some of it meanwhile",
                      lambda: [self.progress(self.nodes, "m/i:1", n)["bytes_done"]
                               for n in ("n2", "n3")],
                      lambda done: all(done), 30)
        self.assertIsNone(publishing.poll(), "they had it before it was published")
        self.origin.bytes_per_s = None
        done = self.published(publishing)
        self.wait_until_over(order)
        for node in ("n1", "n2", "n3"):
            self.assert_whole(self.nodes[node], "m/i:1", self.dir)
        size = sum(_SIZES.values())
        self.assertLessEqual(self.origin.sent, 1.05 * size)
        digests = {f["path"]: f["digest"] for f in done["files"]}
        for name in _SIZES:
            self.assertEqual(digests[name], "sha256:" + hashlib.sha256(
                (self.dir / name).read_bytes()).hexdigest())


    def slow(self, rate=400_000):
        """No connection of the origin is faster; the 8 of an agent then take seconds."""
        self.origin.bytes_per_s = rate

    def under_way(self, reference, *flags, node="n1", others=()):
        """Publishing, slowly, until `others` have some of it too."""
        self.slow()
        publishing = self.publish(reference, *flags, node=node)
        self.wait_until_known(reference)
        self.order = self.nodes[node].json("prefetch", reference)["id"]
        self.wait_for("the others to have some of it",
                      lambda: [self.progress(self.nodes, reference, n, ask=node)["bytes_done"]
                               for n in (node, *others)],
                      lambda done: all(done), 30)
        self.assertIsNone(publishing.poll(), "it cannot be done: the origin is slow")
        return publishing

    def from_origin(self, node):
        return self.nodes[node].metrics()['shoal_agent_received_bytes_total{source="origin"}']

    def blobs(self, node):
        return [blob for blob in self.nodes[node].get("/v1/blobs") if blob["size"] > 1_000]

    def test_nodes_that_can_read_it_share_the_reading_and_sign_what_they_read(self):
        self.start(4, tls=Certificates(self.work / "tls"))
        publishing = self.under_way("m/i:2", "--origin-nodes", "n1,n2,n3", others=("n2", "n3", "n4"))
        self.origin.bytes_per_s = None
        self.published(publishing)
        self.wait_until_over(self.order)
        for node in self.nodes.agents.values():
            self.assert_whole(node, "m/i:2", self.dir)
        size = sum(_SIZES.values())
        self.assertLessEqual(self.origin.sent, 1.05 * size)
        shares = [self.from_origin(node) for node in ("n1", "n2", "n3", "n4")]
        self.assertEqual(shares[3], 0, "it was not among the readers")
        self.assertTrue(all(shares[:3]), shares)

    def test_a_node_that_passes_on_other_bytes_is_named(self):
        # n2 reads through a proxy that is not honest.
        def get(handler):
            path = handler.path.removeprefix(self.origin.url)
            data, etag = self.origin.files[path]
            first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)",
                                                handler.headers["Range"]).groups())
            handler.reply(206, {"Content-Range": f"bytes {first}-{last}/{len(data)}", "ETag": etag},
                          bytes(byte ^ 1 for byte in data[first:last + 1]))
        proxy = self.stack.enter_context(LoopbackServer(get))
        self.start(2)
        self.nodes["n2"].process.stop()
        self.nodes["n2"].start("--origin-proxy", f"http://127.0.0.1:{proxy.port}").wait_ready()
        publishing = self.under_way("m/i:3", "--origin-nodes", "all", others=("n2",))
        self.wait_for("n2 to have read some of it", lambda: self.from_origin("n2"),
                      lambda some: some > 0, 20)
        self.origin.bytes_per_s = None
        code, _, err = self.finish(publishing)
        self.assertNotEqual(code, 0)
        self.assertIn("node n2 passed on other bytes than the origin has", err)
        self.wait_until_over(self.order, "failed")
        self.wait_for("nothing of it to stay", lambda: self.blobs("n1") + self.blobs("n2"),
                      lambda some: not some, 20)

    def test_what_is_not_settled_is_not_read(self):
        self.start(2)
        publishing = self.under_way("m/i:4", others=("n2",))
        names = [b["digest"] for b in self.blobs("n2") if b["digest"].startswith("ingest:")]
        self.assertTrue(names)
        for name in names:
            with self.assertRaisesRegex(BenchFailure, "ingest|not settled|being published"):
                self.nodes["n2"].post("/v1/open", {"digest": name})
        out = self.work / "early"
        pulling = subprocess.Popen(self.nodes["n2"].command("pull", "m/i:4", "-o", out),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertFalse(out.exists() and any(out.rglob("*.safetensors")))
        self.origin.bytes_per_s = None
        self.published(publishing)
        _, err = pulling.communicate(timeout=60)
        self.assertEqual(pulling.returncode, 0, err)
        self.assertTrue(same(self.dir, out))

    def test_a_publisher_that_dies_is_told_and_the_same_again_goes_on_with_what_is_there(self):
        self.start(3)
        publishing = self.under_way("m/i:5", others=("n2", "n3"))
        self.nodes["n1"].process.kill()
        self.assertNotEqual(self.finish(publishing)[0], 0)
        self.nodes["n1"].start().wait_ready()
        order = self.wait_until_over(self.order, "failed")
        self.assertIn("publish it again", json.dumps(order))
        sent = self.origin.sent
        self.origin.bytes_per_s = None
        self.published(self.publish("m/i:5"))
        self.nodes["n2"].run("prefetch", "m/i:5", "--wait", "--timeout", "60s")
        for node in self.nodes.agents.values():
            self.assert_whole(node, "m/i:5", self.dir)
        self.assertLess(self.origin.sent - sent, sum(_SIZES.values()),
                        "what the nodes had was not read again")

    def test_interrupted_nothing_of_it_stays(self):
        self.start(2)
        publishing = self.under_way("m/i:6", others=("n2",))
        publishing.send_signal(signal.SIGINT)
        self.assertEqual(self.finish(publishing)[0], 130)
        self.wait_until_over(self.order, "failed")
        self.wait_for("nothing of it to stay", lambda: self.blobs("n1") + self.blobs("n2"),
                      lambda some: not some, 20)
        told = self.nodes["n2"].run("prefetch", "m/i:6", check=False)
        self.assertNotEqual(told.returncode, 0)
        self.assertIn("m/i:6", told.stderr)

    def test_two_publications_of_the_same_files_share_them_and_one_may_be_cancelled(self):
        self.start(2)
        first = self.under_way("m/i:11", others=("n2",))
        second = self.publish("m/j:1")
        self.wait_until_known("m/j:1")
        first.send_signal(signal.SIGINT)
        self.assertEqual(self.finish(first)[0], 130)
        self.origin.bytes_per_s = None
        self.published(second)
        self.nodes["n2"].run("prefetch", "m/j:1", "--wait", "--timeout", "60s")
        for node in self.nodes.agents.values():
            self.assert_whole(node, "m/j:1", self.dir)

    def test_a_file_that_changes_meanwhile_is_not_published(self):
        self.start(2)
        publishing = self.under_way("m/i:7", others=("n2",))
        for name in _SIZES:
            data = self.origin.files[f"/m/{name}"][0]
            self.origin.replace(f"/m/{name}", bytes(len(data)), 1)
        code, _, err = self.finish(publishing)
        self.assertNotEqual(code, 0)
        self.assertIn("the origin changed", err)
        self.assertIn("model-", err)
        self.wait_until_over(self.order, "failed")

    def test_without_a_version_one_node_reads_all_of_it(self):
        self.origin.no_etag = True
        self.start(3)
        publishing = self.under_way("m/i:8", "--origin-nodes", "all", others=("n2", "n3"))
        self.origin.bytes_per_s = None
        self.published(publishing)
        self.wait_until_over(self.order)
        for node in self.nodes.agents.values():
            self.assert_whole(node, "m/i:8", self.dir)
        self.assertEqual([self.from_origin("n2"), self.from_origin("n3")], [0, 0])

    def test_a_tracker_that_is_started_again_goes_on(self):
        self.start(3)
        publishing = self.under_way("m/i:9", others=("n2", "n3"))
        self.nodes.tracker.kill()
        self.nodes.start_tracker()
        self.origin.bytes_per_s = None
        self.published(publishing)
        self.wait_until_over(self.order)
        for node in self.nodes.agents.values():
            self.assert_whole(node, "m/i:9", self.dir)

    def test_a_published_tag_stays_what_it_was_until_the_new_one_is_whole(self):
        self.start(2)
        first = self.published(self.publish("m/i:10"))
        for name in _SIZES:
            data = self.origin.files[f"/m/{name}"][0]
            self.origin.replace(f"/m/{name}", bytes(reversed(data)), 1)
        publishing = self.under_way("m/i:10", others=("n2",))
        publishing.send_signal(signal.SIGINT)
        self.finish(publishing)
        self.wait_for("the tag to be the old one",
                      lambda: self.nodes["n2"].json("prefetch", "m/i:10", "--wait", check=False),
                      lambda done: done.get("manifest") == first["manifest"], 20)
        self.assert_whole(self.nodes["n2"], "m/i:10", self.dir)


if __name__ == "__main__":
    unittest.main(verbosity=2)
