#!/usr/bin/env python3
"""A model whose first copy is at the Hugging Face Hub: read about once, and by whom its conditions allow."""

import os
import unittest
from pathlib import Path
from unittest import mock

from e2e_case import FleetCase
from hub_server import COMMIT, HubServer

_TOKEN = "hf_a-secret-that-stays-here"
_SIZES = {"model-00001.safetensors": 9_000_000, "model-00002.safetensors": 5_000_000,
          "config.json": 700, "sub/notes.md": 90}


class HubOriginTest(FleetCase):
    def setUp(self):
        super().setUp()
        self.dir = self.model(_SIZES)
        files = {name: (self.dir / name).read_bytes() for name in _SIZES}
        self.hub = self.stack.enter_context(HubServer("org/model", files, _TOKEN))

    def start_nodes(self, token, *flags):
        environment = {"HF_ENDPOINT": self.hub.url, "HF_TOKEN": token}
        self.stack.enter_context(mock.patch.dict(os.environ, environment))
        self.nodes = self.fleet(2, *flags)

    def start(self, token, *flags):
        self.start_nodes(token, *flags)
        self.nodes["n1"].run("publish", self.dir, "--as", "m/h:1", "--origin",
                             f"hf://org/model@{COMMIT}", "--no-store")

    def wait_until_told(self, text):
        self.nodes["n1"].run("prefetch", "m/h:1")
        self.wait_for(f"--explain to say '{text}'",
                      lambda: self.nodes["n1"].run("status", "m/h:1", "--explain",
                                                   check=False).stdout,
                      lambda said: text in said, 20)

    def test_all_nodes_get_it_and_it_is_read_about_once(self):
        self.start(_TOKEN, "--origin-allow", "localhost")
        self.nodes["n1"].run("prefetch", "m/h:1", "--wait", "--timeout", "60s")
        for node in ("n1", "n2"):
            self.assert_whole(self.nodes[node], "m/h:1", self.dir)
        sent, size = sum(self.hub.sent.values()), sum(_SIZES.values())
        self.assertLessEqual(sent, 1.05 * size)
        self.assertGreaterEqual(sent, size)

    def test_the_token_goes_to_the_hub_and_nowhere_else(self):
        self.start(_TOKEN, "--origin-allow", "localhost")
        self.nodes["n1"].run("prefetch", "m/h:1", "--wait", "--timeout", "60s")
        self.assertTrue(self.hub.seen)
        for headers in self.hub.seen:
            self.assertNotIn("Authorization", headers)
        told = self.nodes["n1"].run("status", "m/h:1", "--explain").stdout
        for name, agent in self.nodes.agents.items():
            command = Path(f"/proc/{agent.process.pid}/cmdline").read_text(encoding="utf-8")
            for place in (agent.log(), told, command):
                self.assertNotIn(_TOKEN, place, name)
                self.assertNotIn("signature=secret", place, name)

    def test_a_repository_is_published_from_where_it_is(self):
        self.start_nodes(_TOKEN, "--origin-allow", "localhost")
        done = self.nodes["n1"].json("publish", "hf://org/model", "--as", "m/h:2")
        self.assertEqual(done["bytes_by_way"], {"copy": sum(_SIZES.values())})
        self.assertEqual([file["path"] for file in done["files"]], sorted(_SIZES))
        self.nodes["n2"].run("prefetch", "m/h:2", "--wait", "--timeout", "60s")
        self.assert_whole(self.nodes["n2"], "m/h:2", self.dir)
        self.assertEqual(sum(self.hub.sent.values()), sum(_SIZES.values()))
        # The same again: what the Hub declares is here already.
        again = self.nodes["n1"].json("publish", "hf://org/model@main", "--as", "m/h:3")
        self.assertEqual(again["manifest"], done["manifest"])
        self.assertEqual(self.hub.sent["model-00001.safetensors"], _SIZES["model-00001.safetensors"])

    def test_only_what_is_wanted_is_published_and_nothing_is_kept_if_so_asked(self):
        self.start_nodes(_TOKEN, "--origin-allow", "localhost")
        done = self.nodes["n1"].json("publish", "hf://org/model", "--as", "m/h:4", "--include",
                                     "*.safetensors,*.json", "--exclude", "*-00002*", "--no-store",
                                     "--origin-nodes", "all")
        self.assertEqual([file["path"] for file in done["files"]],
                         ["config.json", "model-00001.safetensors"])
        self.assertFalse([blob for blob in self.nodes["n1"].get("/v1/blobs")
                          if blob["size"] == _SIZES["model-00001.safetensors"]])
        self.nodes["n2"].run("pull", "m/h:4", "-o", self.work / "out")
        got = (self.work / "out" / "model-00001.safetensors").read_bytes()
        self.assertEqual(got, (self.dir / "model-00001.safetensors").read_bytes())

    def test_bytes_that_are_not_those_declared_are_not_published(self):
        self.start_nodes(_TOKEN, "--origin-allow", "localhost")
        self.hub.declared["model-00002.safetensors"] = b"something else"
        failed = self.nodes["n1"].run("publish", "hf://org/model", "--as", "m/h:5", check=False)
        self.assertNotEqual(failed.returncode, 0)
        self.assertIn("model-00002.safetensors is declared to be sha256:", failed.stderr)
        self.assertNotEqual(self.nodes["n1"].run("status", "m/h:5", check=False).returncode, 0)
        self.wait_for("nothing to be kept", lambda: self.nodes["n1"].get("/v1/blobs"),
                      lambda blobs: not blobs, 10)

    def test_an_unknown_revision_is_named(self):
        self.start_nodes(_TOKEN, "--origin-allow", "localhost")
        failed = self.nodes["n1"].run("publish", "hf://org/model@v9", "--as", "m/h:6", check=False)
        self.assertNotEqual(failed.returncode, 0)
        self.assertIn("has no revision 'v9'", failed.stderr)

    def test_a_gated_repository_is_explained(self):
        self.start("hf_without-rights", "--origin-allow", "localhost")
        self.wait_until_told(f"accept its conditions at {self.hub.url}/org/model")

    def test_a_host_that_is_not_allowed_is_named_with_the_line_to_add(self):
        self.start(_TOKEN)
        self.wait_until_told("add 'localhost' to origin-allow")


if __name__ == "__main__":
    unittest.main()
