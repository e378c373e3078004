#!/usr/bin/env python3
"""A base that is wrong in one way is found to be wrong in that way; the one in the tree is right.

Run with build/venv/bin/python (scripts/setup).
"""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import unittest
from http.server import BaseHTTPRequestHandler, HTTPServer

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "scripts"))
import check_manifests  # noqa: E402

BASE = os.path.join(ROOT, "manifests/kubernetes/base")


class CheckManifestsTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.base = os.path.join(folder.name, "base")
        self.programs = os.path.join(folder.name, "bin")
        shutil.copytree(BASE, self.base)
        os.mkdir(self.programs)

    def change(self, name, old, new):
        path = os.path.join(self.base, name)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        self.assertIn(old, text)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace(old, new, 1))

    def problems(self, versions=()):
        """Without the schemas, which take a second, unless the test is about them."""
        return check_manifests.check(self.base, self.programs, versions)

    def assert_found(self, *words, versions=()):
        found = self.problems(versions)
        self.assertTrue(any(all(w in line for w in words) for line in found), found)

    def test_the_base_in_the_tree_is_right(self):
        self.assertEqual(self.problems(check_manifests.VERSIONS), [])

    def test_an_unknown_field_is_found_for_every_version(self):
        self.change("tracker.yaml", "  replicas: 1", "  replicas: 1\n  replicaz: 1")
        found = self.problems(check_manifests.VERSIONS)
        for version in check_manifests.VERSIONS:
            self.assertTrue(any(f"Kubernetes {version}" in line for line in found), version)

    def test_a_wrong_type_deep_inside_is_found(self):
        self.change("agent.yaml", "failureThreshold: 6", "failureThreshold: six")
        self.assert_found("agent.yaml", "livenessProbe", versions=("1.30",))

    def test_an_unknown_kind_is_found(self):
        self.change("service-accounts.yaml", "kind: ClusterRole\n", "kind: ClusterRoll\n")
        self.assert_found("ClusterRoll", versions=("1.30",))

    def test_a_file_that_is_not_listed_is_found(self):
        self.change("kustomization.yaml", "  - agent.yaml\n", "")
        self.assert_found("agent.yaml", "not among the resources")

    def test_a_field_that_the_resolver_does_not_know_is_found(self):
        self.change("kustomization.yaml", "images:", "patches: []\nimages:")
        self.assert_found("cannot resolve 'patches'")

    def test_names_must_lead_somewhere(self):
        self.change("tracker.yaml", "claimName: shoal-tracker", "claimName: tracker")
        self.assert_found("no PersistentVolumeClaim is called tracker")
        self.change("prefetch-job.yaml", "secretName: shoal-operator-tls", "secretName: other")
        self.assert_found("no Secret is called other")
        self.change("agent.yaml", "serviceAccountName: shoal-agent", "serviceAccountName: agent")
        self.assert_found("no ServiceAccount is called agent")

    def test_a_selector_must_match(self):
        self.change("tracker.yaml", "      app.kubernetes.io/name: shoal-tracker\n  template:",
                    "      app.kubernetes.io/name: tracker\n  template:")
        self.assert_found("its selector does not match its pods")

    def test_ports_must_agree(self):
        self.change("tracker.yaml", "--listen=0.0.0.0:6969", "--listen=0.0.0.0:7000")
        self.assert_found("listens on [6968, 7000] but declares [6968, 6969]")
        self.change("agent.yaml", "port: agent-admin", "port: admin")
        self.assert_found("startupProbe asks port 'admin'")
        self.change("tracker.yaml", "targetPort: api", "targetPort: apis")
        self.assert_found("no container has a port 'apis'")

    def test_what_only_the_machine_reaches_is_no_port(self):
        self.change("agent.yaml", "--mirror-listen=127.0.0.1:6972", "--mirror-listen=0.0.0.0:6972")
        self.assert_found("listens on [6970, 6971, 6972] but declares [6970, 6971]")

    def test_arguments_name_mounted_paths_and_known_variables(self):
        self.change("agent.yaml", "--store=/var/lib/shoal", "--store=/data")
        self.assert_found("--store=/data", "nothing is mounted there")
        self.change("agent.yaml", "--node-id=$(NODE_NAME)", "--node-id=$(NODE)")
        self.assert_found("no variable NODE")

    def test_privileges_are_dropped_everywhere(self):
        self.change("agent.yaml", "allowPrivilegeEscalation: false",
                    "allowPrivilegeEscalation: true")
        self.assert_found("container topology", "must drop")
        self.change("prefetch-job.yaml", "automountServiceAccountToken: false",
                    "automountServiceAccountToken: true")
        self.assert_found("prefetch-job.yaml", "automountServiceAccountToken")

    def test_an_image_installs_what_its_program_is_linked_with(self):
        shutil.copy(shutil.which("curl"), os.path.join(self.programs, "shoal-tracker"))
        self.assertIn("manifests/docker/Dockerfile.tracker: shoal-tracker is linked with libcurl4",
                      self.problems())

    def test_the_programs_are_asked_with_values_for_all_variables(self):
        seen = os.path.join(self.base, "..", "seen")
        for name in ("shoal-agent", "shoal"):
            program = os.path.join(self.programs, name)
            with open(program, "w", encoding="utf-8") as file:
                file.write(f'#!/bin/sh\necho "$@" >> {seen}\n[ "$0" = "{self.programs}/shoal" ]\n')
            os.chmod(program, stat.S_IRWXU)
        found = self.problems()
        self.assertEqual(len(found), 1, found)
        self.assertIn("shoal-agent refuses its arguments", found[0])
        with open(seen, encoding="utf-8") as file:
            agent, command = file.read().splitlines()
        self.assertIn(" --node-id=gpu-1.example ", agent)
        self.assertIn(" --advertise=10.0.0.1:6970 ", agent)
        self.assertTrue(command.endswith(" prefetch example:v1 --nodes=all --wait --timeout=2h "
                                         "--check-config"), command)
        self.assertNotIn("$(", agent + command)


class TopologyTest(unittest.TestCase):
    """The init container's script against a server that answers as the API server does."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.requests = requests = []
        self.answer = (200, b"{}")
        test = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                requests.append((self.path, self.headers["Authorization"]))
                self.send_response(test.answer[0])
                self.end_headers()
                self.wfile.write(test.answer[1])

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=self.server.serve_forever)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        # In the pod curl speaks TLS; that it does is curl's affair, what it is asked for is ours.
        curl = os.path.join(self.folder, "curl")
        with open(curl, "w", encoding="utf-8") as file:
            file.write('#!/bin/bash\nexec /usr/bin/curl "${@/#https:/http:}"\n')
        os.chmod(curl, stat.S_IRWXU)
        for name, text in (("token", "the-token"), ("ca.crt", "")):
            with open(os.path.join(self.folder, name), "w", encoding="utf-8") as file:
                file.write(text)

    def run_script(self, **env):
        output = os.path.join(self.folder, "agent.yaml")
        done = subprocess.run(
            [os.path.join(ROOT, "manifests/docker/topology.sh"), output], timeout=60, check=False,
            capture_output=True, text=True,
            env={"PATH": f"{self.folder}:/usr/bin:/bin", "TOKEN_DIR": self.folder,
                 "NODE_NAME": "gpu-1", "KUBERNETES_SERVICE_HOST": "127.0.0.1",
                 "KUBERNETES_SERVICE_PORT": str(self.server.server_port), **env})
        if not os.path.exists(output):
            return done, None
        with open(output, encoding="utf-8") as file:
            return done, check_manifests.yaml.safe_load(file)

    def test_labels_become_the_topology_setting(self):
        self.answer = (200, b'{"metadata": {"labels": {"topology.kubernetes.io/region": "eu", '
                            b'"topology.kubernetes.io/zone": "eu-1", "my/rack": "r: 7"}}}')
        done, written = self.run_script(RACK_LABEL="my/rack",
                                        NODE_LABELS="pool topology.kubernetes.io/zone no")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(written, {"topology": {"region": "eu", "zone": "eu-1", "rack": "r: 7"},
                                   "labels": {"topology.kubernetes.io/zone": "eu-1"}})
        self.assertEqual(self.requests, [("/api/v1/nodes/gpu-1", "Bearer the-token")])

    def test_missing_labels_are_left_out(self):
        self.answer = (200, b'{"metadata": {}}')
        done, written = self.run_script()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(written, {"topology": {}, "labels": {}})

    def test_a_refusal_fails_and_writes_nothing(self):
        self.answer = (403, b'{"kind": "Status"}')
        done, written = self.run_script()
        self.assertNotEqual(done.returncode, 0)
        self.assertIsNone(written)
        self.assertIn("403", done.stderr)


if __name__ == "__main__":
    unittest.main()
