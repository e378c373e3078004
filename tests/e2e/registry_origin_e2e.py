#!/usr/bin/env python3
"""A model that is an artifact in a container registry: docker-registry, with a login, with tokens and without."""

import base64
import json
import os
import unittest
from pathlib import Path
from unittest import mock

from e2e_case import FleetCase, free_ports
from registry import Registry
from token_server import TokenServer

_SIZES = {"config.json": 300, "model.safetensors": 7_000_000, "sub/tokenizer.json": 40_000}
_LOGIN = "reader:a-password-that-stays-here"
_IDENTITY = "an-identity-token-that-stays-here"


def _encoded(login):
    return base64.b64encode(login.encode()).decode()


class RegistryCase(FleetCase):
    def push(self, login=None, tokens=None):
        self.dir = self.model(_SIZES)
        self.registry = Registry(self.programs, self.work / "registry", free_ports()[0], login, tokens)
        files = {name: (self.dir / name).read_bytes() for name in _SIZES}
        self.manifest = self.registry.push_model("org/model", "v1", files)
        self.source = f"oci://{self.registry.address}/org/model:v1"

    def log_in(self, **entry):
        """What Docker keeps for the registry; nothing: no login."""
        docker = self.work / "docker"
        docker.mkdir(exist_ok=True)
        auths = {self.registry.address: entry} if entry else {}
        (docker / "config.json").write_text(json.dumps({"auths": auths}), encoding="ascii")
        self.stack.enter_context(mock.patch.dict(os.environ, {"DOCKER_CONFIG": str(docker)}))

    def start(self, login=None):
        self.log_in(**({"auth": _encoded(login)} if login else {}))
        return self.fleet(2, "--origin-allow", "127.0.0.1")


class RegistryOriginTest(RegistryCase):
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
        secret = _encoded(_LOGIN)
        for text in (nodes["n1"].log(), nodes["n1"].run("status", "m/r:3", "--explain").stdout):
            self.assertNotIn(secret, text)
            self.assertNotIn(_LOGIN.partition(":")[2], text)

    def test_without_a_login_or_with_a_wrong_one_the_reason_is_given(self):
        self.push(_LOGIN)
        nodes = self.start()
        failed = nodes["n1"].run("publish", self.source, "--as", "m/r:4", check=False)
        self.assertNotEqual(failed.returncode, 0)
        self.assertIn(f"docker login {self.registry.address}", failed.stderr)
        self.log_in(auth=_encoded("reader:wrong"))
        failed = nodes["n1"].run("publish", self.source, "--as", "m/r:4", check=False)
        self.assertIn("login for it is refused", failed.stderr)

    def test_an_unknown_tag_is_not_found(self):
        self.push()
        nodes = self.start()
        failed = nodes["n1"].run("publish", self.source.replace(":v1", ":v2"), "--as", "m/r:5",
                                 check=False)
        self.assertNotEqual(failed.returncode, 0)
        self.assertIn("MANIFEST_UNKNOWN", failed.stderr)


class RegistryTokenTest(RegistryCase):
    """A registry that sends its users to a token service."""

    def setUp(self):
        super().setUp()
        self.tokens = self.stack.enter_context(TokenServer(self.work / "tokens", _LOGIN, _IDENTITY))
        self.tokens.on_ask = self.look_at_processes
        self.seen_running = ""
        self.push(tokens=self.tokens)

    def look_at_processes(self):
        for arguments in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                self.seen_running += arguments.read_text(encoding="utf-8", errors="replace") + "\n"
            except OSError:
                pass  # it has ended

    def assert_nothing_told(self, nodes, *texts):
        self.assertIn("shoal-agent", self.seen_running)
        secrets = [_IDENTITY, _LOGIN.partition(":")[2], _encoded(_LOGIN), *self.tokens.given]
        for text in (self.seen_running, nodes["n1"].log(), nodes["n2"].log(),
                     nodes.tracker.log_tail(1_000_000), *texts):
            for secret in secrets:
                self.assertNotIn(secret, text)

    def test_a_login_is_exchanged_for_one_token_for_all_files(self):
        nodes = self.start(_LOGIN)
        done = nodes["n1"].run("publish", self.source, "--as", "m/t:1")
        self.assertEqual(self.tokens.asked, [("password", "repository:org/model:pull")])
        nodes["n2"].run("prefetch", "m/t:1", "--wait", "--timeout", "60s")
        self.assert_whole(nodes["n2"], "m/t:1", self.dir)
        explained = nodes["n2"].run("status", "m/t:1", "--explain").stdout
        self.assert_nothing_told(nodes, done.stdout, done.stderr, explained)

    def test_each_repository_has_a_token_of_its_own(self):
        nodes = self.start(_LOGIN)
        other = self.source.replace("org/model", "org/other")
        self.registry.push_model("org/other", "v1", {"w.bin": b"others"})
        nodes["n1"].run("publish", self.source, "--as", "m/t:2")
        nodes["n1"].run("publish", other, "--as", "m/t:3")
        nodes["n1"].run("publish", self.source, "--as", "m/t:4")
        self.assertEqual([scope for _, scope in self.tokens.asked],
                         ["repository:org/model:pull", "repository:org/other:pull"])

    def test_a_token_that_ended_early_is_replaced(self):
        nodes = self.start(_LOGIN)
        self.tokens.lives_s = 5
        nodes["n1"].run("publish", self.source, "--as", "m/t:5", "--no-store")
        self.tokens.lives_s = 300
        # The agent believes in its token for minutes yet.
        self.wait_for("the registry to refuse the token",
                      lambda: self.registry.takes("org/model", "v1", self.tokens.given[-1]),
                      lambda taken: not taken, 30)
        asked = len(self.tokens.asked)
        nodes["n1"].run("prefetch", "m/t:5", "--nodes", "n1", "--wait", "--timeout", "60s")
        self.assert_whole(nodes["n1"], "m/t:5", self.dir)
        self.assertEqual(len(self.tokens.asked), asked + 1)
        self.assert_nothing_told(nodes)

    def test_an_identity_token_is_exchanged_too(self):
        nodes = self.start()
        self.log_in(auth=_encoded("00000000-0000-0000-0000-000000000000:"),
                    identitytoken=_IDENTITY)
        done = nodes["n1"].run("publish", self.source, "--as", "m/t:6")
        self.assertEqual(self.tokens.asked, [("identity", "repository:org/model:pull")])
        self.assert_whole(nodes["n1"], "m/t:6", self.dir)
        self.assert_nothing_told(nodes, done.stdout, done.stderr)

    def test_a_login_that_is_refused_is_explained(self):
        nodes = self.start()
        publish = ("publish", self.source, "--as", "m/t:7")
        failed = nodes["n1"].run(*publish, check=False)
        self.assertNotEqual(failed.returncode, 0)
        self.assertIn(f"docker login {self.registry.address}", failed.stderr)
        for entry in ({"auth": _encoded("reader:not-the-right-one")},
                      {"identitytoken": "not-the-right-one"}):
            self.log_in(**entry)
            failed = nodes["n1"].run(*publish, check=False)
            self.assertNotEqual(failed.returncode, 0)
            self.assertRegex(failed.stderr, f"token service of {self.registry.address} answers 401: "
                                            "this node's login is refused")
            self.assertNotIn("not-the-right-one", failed.stderr + nodes["n1"].log())
        self.assert_nothing_told(nodes, failed.stderr)


if __name__ == "__main__":
    unittest.main()
