#!/usr/bin/env python3
"""A model that is an artifact in a container registry: docker-registry, with a login and without."""

import base64
import json
import os
import unittest
from unittest import mock

from e2e_case import FleetCase, free_ports
from registry import Registry

_SIZES = {"config.json": 300, "model.safetensors": 7_000_000, "sub/tokenizer.json": 40_000}
_LOGIN = "reader:a-password-that-stays-here"


class RegistryOriginTest(FleetCase):
    def push(self, login=None):
        self.dir = self.model(_SIZES)
        self.registry = Registry(self.programs, self.work / "registry", free_ports()[0], login)
        files = {name: (self.dir / name).read_bytes() for name in _SIZES}
        self.manifest = self.registry.push_model("org/model", "v1", files)
        self.source = f"oci://{self.registry.address}/org/model:v1"

    def start(self, login=None):
        docker = self.work / "docker"
        docker.mkdir()
        auths = {}
        if login:
            auths = {self.registry.address: {"auth": base64.b64encode(login.encode()).decode()}}
        (docker / "config.json").write_text(json.dumps({"auths": auths}), encoding="ascii")
        self.stack.enter_context(mock.patch.dict(os.environ, {"DOCKER_CONFIG": str(docker)}))
        return self.fleet(2, "--origin-allow", "127.0.0.1")

    def test_a_model_is_published_and_every_file_is_what_was_pushed(self):
        self.push()
        nodes = self.start()
        done = nodes["n1"].json("publish", self.source, "--as", "m/r:1")
        self.assertEqual(done["sources"], [self.source.replace(":v1", f"@{self.manifest}")])
        nodes["n2"].run("prefetch", "m/r:1", "--wait", "--timeout", "60s")
        self.assert_whole(nodes["n2"], "m/r:1", self.dir)

    def test_all_nodes_may_read_the_registry_and_read_it_about_once(self):
        self.push()
        nodes = self.start()
        nodes["n1"].run("publish", self.source, "--as", "m/r:2", "--no-store", "--origin-nodes", "all")
        nodes["n1"].run("prefetch", "m/r:2", "--wait", "--timeout", "60s")
        for node in ("n1", "n2"):
            self.assert_whole(nodes[node], "m/r:2", self.dir)
        # Once to be hashed, once for the fleet.
        self.assertLessEqual(self.registry.blob_bytes(), 2.05 * sum(_SIZES.values()))
        self.assertGreaterEqual(self.registry.blob_bytes(), 2 * sum(_SIZES.values()))

    def test_a_login_is_taken_from_docker_and_told_to_nobody(self):
        self.push(_LOGIN)
        nodes = self.start(_LOGIN)
        nodes["n1"].run("publish", self.source, "--as", "m/r:3")
        self.assert_whole(nodes["n1"], "m/r:3", self.dir)
        secret = base64.b64encode(_LOGIN.encode()).decode()
        for text in (nodes["n1"].log(), nodes["n1"].run("status", "m/r:3", "--explain").stdout):
            self.assertNotIn(secret, text)
            self.assertNotIn(_LOGIN.partition(":")[2], text)

    def test_without_a_login_or_with_a_wrong_one_the_reason_is_given(self):
        self.push(_LOGIN)
        nodes = self.start()
        failed = nodes["n1"].run("publish", self.source, "--as", "m/r:4", check=False)
        self.assertNotEqual(failed.returncode, 0)
        self.assertIn(f"docker login {self.registry.address}", failed.stderr)
        config = self.work / "docker" / "config.json"
        wrong = base64.b64encode(b"reader:wrong").decode()
        config.write_text(json.dumps({"auths": {self.registry.address: {"auth": wrong}}}),
                          encoding="ascii")
        failed = nodes["n1"].run("publish", self.source, "--as", "m/r:4", check=False)
        self.assertIn("login for it is refused", failed.stderr)

    def test_an_unknown_tag_is_not_found(self):
        self.push()
        nodes = self.start()
        failed = nodes["n1"].run("publish", self.source.replace(":v1", ":v2"), "--as", "m/r:5",
                                 check=False)
        self.assertNotEqual(failed.returncode, 0)
        self.assertIn("MANIFEST_UNKNOWN", failed.stderr)


if __name__ == "__main__":
    unittest.main()
