#!/usr/bin/env python3
"""Publishing from an origin while the cluster reads it: who prefetches meanwhile waits for nobody, the
origin is read about once, and nothing is readable before it is known to be whole."""

import hashlib
import json
import subprocess
import threading
import time
import unittest

from e2e_case import FleetCase
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


if __name__ == "__main__":
    unittest.main(verbosity=2)
