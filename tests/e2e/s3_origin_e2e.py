#!/usr/bin/env python3
"""A model in a bucket of a real S3 server (OpenStack Swift)."""

import os
import re
import unittest
from unittest import mock

from e2e_case import FleetCase, free_ports
from benchlib.swift import ACCESS_KEY, SECRET_KEY, S3Server

_SIZES = {"config.json": 300, "model.safetensors": 7_000_000, "sub/with spaces+plus.bin": 90_000}
_SOURCE = "s3://models/org/model"


class S3OriginTest(FleetCase):
    def setUp(self):
        super().setUp()
        self.server = S3Server(self.programs, self.work / "swift", free_ports(4))
        self.dir = self.model(_SIZES)
        self.server.make_bucket("models")
        for name in _SIZES:
            self.server.put("models", f"org/model/{name}", (self.dir / name).read_bytes())

    def start(self, secret=SECRET_KEY):
        environment = {"AWS_ENDPOINT_URL": self.server.url, "AWS_ACCESS_KEY_ID": ACCESS_KEY,
                       "AWS_SECRET_ACCESS_KEY": secret}
        self.stack.enter_context(mock.patch.dict(os.environ, environment))
        return self.fleet(2)

    def test_a_model_is_published_and_every_file_is_what_was_put_there(self):
        nodes = self.start()
        done = nodes["n1"].json("publish", _SOURCE, "--as", "m/s:1")
        self.assertEqual([file["path"] for file in done["files"]], sorted(_SIZES))
        nodes["n2"].run("prefetch", "m/s:1", "--wait", "--timeout", "60s")
        self.assert_whole(nodes["n2"], "m/s:1", self.dir)

    def test_all_nodes_may_read_the_bucket(self):
        nodes = self.start()
        nodes["n1"].run("publish", _SOURCE, "--as", "m/s:2", "--no-store", "--origin-nodes", "all")
        nodes["n1"].run("prefetch", "m/s:2", "--wait", "--timeout", "60s")
        for node in ("n1", "n2"):
            self.assert_whole(nodes[node], "m/s:2", self.dir)
            self.assertNotIn(SECRET_KEY, nodes[node].log())

    def test_a_listing_of_three_pages(self):
        self.server.make_bucket("many")
        self.server.list_only("many", [f"all/{number:04}.txt" for number in range(2_100)
                                       if number % 100])
        # Those that are wanted are there; most of them with the same bytes.
        for number in range(0, 2_100, 100):
            self.server.put("many", f"all/{number:04}.txt", b"x" if number % 700 else b"y")
        nodes = self.start()
        done = nodes["n1"].json("publish", "s3://many/all", "--as", "m/s:3", "--include",
                                "*00.txt")
        self.assertEqual([file["path"] for file in done["files"]],
                         [f"{number:04}.txt" for number in range(0, 2_100, 100)])

    def test_a_wrong_key_is_explained(self):
        nodes = self.start("another-secret")
        failed = nodes["n1"].run("publish", _SOURCE, "--as", "m/s:4", check=False)
        self.assertNotEqual(failed.returncode, 0)
        self.assertIn("SignatureDoesNotMatch", failed.stderr)
        self.assertIn(f"does not belong to the access key {ACCESS_KEY}", failed.stderr)
        self.assertNotIn("another-secret", failed.stderr + nodes["n1"].log())

    def test_an_object_that_is_replaced_is_not_mixed_with_the_old_one(self):
        nodes = self.start()
        nodes["n1"].run("publish", _SOURCE, "--as", "m/s:5", "--no-store")
        self.server.put("models", "org/model/model.safetensors",
                        os.urandom(_SIZES["model.safetensors"]))
        nodes["n2"].run("prefetch", "m/s:5")
        # The change is told, and does not keep the other files from being whole.
        told = self.wait_for("the change to be told and the other files to be whole",
                             lambda: nodes["n1"].run("status", "m/s:5", "--explain",
                                                     check=False).stdout,
                             lambda said: "the origin changed since it was published: publish it "
                                          "again, or put back what was there (" in said
                             and re.search(r"config\.json .* pieces 1 of 1", said)
                             and re.search(r"sub/with spaces\+plus\.bin .* pieces 2 of 2", said), 30)
        # Nothing of the new object was kept.
        self.assertRegex(told, r"model\.safetensors .* pieces 0 of 107")
        self.server.put("models", "org/model/model.safetensors",
                        (self.dir / "model.safetensors").read_bytes())
        nodes["n2"].run("prefetch", "m/s:5", "--wait", "--timeout", "60s")
        for node in ("n1", "n2"):
            self.assert_whole(nodes[node], "m/s:5", self.dir)


if __name__ == "__main__":
    unittest.main()
