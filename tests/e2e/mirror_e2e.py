#!/usr/bin/env python3
"""The agent's OCI mirror: models pulled with skopeo and curl, from nodes that have them, half have them and have not."""

import hashlib
import json
import os
import subprocess
import time
import unittest
import urllib.error
import urllib.request

from e2e_case import FleetCase, wait_until

_MB = 1_000_000
_SIZES = {"config.json": 300, "empty.txt": 0, "model.safetensors": 31_000_000, "sub/vocab.json": 90_000}
_STALL_S = 2
_SENT = "shoal_agent_lane_sent_bytes_total"
_READERS = "shoal_agent_mirror_readers"
_PARTIAL = 18  # curl: the body is shorter than its head said


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def code(self):
        """Of an error, as clients compare it."""
        return json.loads(self.body)["errors"][0]["code"]


class MirrorCase(FleetCase):
    def publish(self, count=2, *flags, sizes=None, reference="org/m:v1"):
        """A model published on n1; fetched through the mirrors of the others."""
        self.nodes = self.fleet(count, "--mirror-stall", f"{_STALL_S}s", *flags, mirrors=True)
        self.dir = self.model(sizes or _SIZES)
        self.manifest_digest = self.nodes["n1"].json("publish", self.dir, "--as", reference)["manifest"]
        return self.nodes

    def call(self, node, path, method="GET", **headers):
        url = f"http://127.0.0.1:{self.nodes[node].mirror}/v2/{path}"
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(url, method=method, headers=names)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())

    def blob_of(self, name):
        return sha256((self.dir / name).read_bytes())

    def copy(self, node, out, reference="org/m:v1"):
        return subprocess.Popen(
            ["skopeo", "--insecure-policy", "copy", "--src-tls-verify=false",
             f"docker://127.0.0.1:{self.nodes[node].mirror}/{reference}", f"dir:{out}"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def assert_copied(self, out):
        """What skopeo wrote is the model, byte by byte."""
        manifest = (out / "manifest.json").read_bytes()
        self.assertEqual(sha256(manifest), self.manifest_digest)
        layers = json.loads(manifest)["layers"]
        self.assertEqual(len(layers), len(_SIZES))
        for layer in layers:
            path = layer["annotations"]["org.cncf.model.filepath"]
            copied = (out / layer["digest"].removeprefix("sha256:")).read_bytes()
            self.assertEqual(sha256(copied), layer["digest"])
            self.assertEqual(copied, (self.dir / path).read_bytes(), path)

    def curl(self, node, path, *words):
        return ["curl", "-sS", "--noproxy", "*", f"http://127.0.0.1:{self.nodes[node].mirror}/v2/{path}", *words]


class PullTest(MirrorCase):
    def test_two_copies_at_once_get_every_byte_and_the_publisher_is_read_once(self):
        nodes = self.publish()
        copies = [(self.copy("n2", self.work / f"copy{i}"), self.work / f"copy{i}") for i in range(2)]
        for process, out in copies:
            text, _ = process.communicate(timeout=120)
            self.assertEqual(process.returncode, 0, text)
            self.assert_copied(out)
        total = sum(_SIZES.values())
        sent = nodes["n1"].metrics()[_SENT]
        self.assertGreaterEqual(sent, total)
        self.assertLessEqual(sent, 1.05 * total + 100_000)
        # It is a model of n2 like any other from now on.
        self.assert_whole(nodes["n2"], "org/m:v1", self.dir)
        self.assertGreaterEqual(nodes["n2"].metrics()["shoal_agent_mirror_sent_bytes_total"], 2 * total)

    def test_a_node_that_has_the_model_serves_it_without_tracker_and_peers(self):
        nodes = self.publish()
        nodes["n2"].run("pull", "org/m:v1", "-o", self.work / "pulled")
        nodes["n1"].process.stop()
        nodes.tracker.stop()
        process = self.copy("n2", self.work / "copy")
        text, _ = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, text)
        self.assert_copied(self.work / "copy")
        self.assertEqual(json.loads(self.call("n2", "org/m/tags/list").body), {"name": "org/m", "tags": ["v1"]})
        self.assertEqual(json.loads(self.call("n2", "_catalog").body), {"repositories": ["org/m"]})

    def test_lists_are_the_catalogues(self):
        nodes = self.publish()
        for reference in ("org/m:v2", "org/m:v0", "org/m-b:x", "other:1"):
            nodes["n1"].run("publish", self.dir, "--as", reference)
        tags = self.call("n2", "org/m/tags/list")
        self.assertEqual(json.loads(tags.body), {"name": "org/m", "tags": ["v0", "v1", "v2"]})
        page = self.call("n2", "org/m/tags/list?n=2")
        self.assertEqual(json.loads(page.body)["tags"], ["v0", "v1"])
        self.assertEqual(page.headers["Link"], '</v2/org/m/tags/list?last=v1&n=2>; rel="next"')
        self.assertEqual(json.loads(self.call("n2", "org/m/tags/list?last=v1&n=2").body)["tags"], ["v2"])
        names, link = [], "/v2/_catalog?n=1"
        while link:
            answer = self.call("n2", link.removeprefix("/v2/"))
            names += json.loads(answer.body)["repositories"]
            link = answer.headers["Link"] and answer.headers["Link"].partition("<")[2].partition(">")[0]
        self.assertEqual(sorted(names), ["org/m", "org/m-b", "other"])
        self.assertEqual(json.loads(self.call("n2", f"org/m/referrers/{self.manifest_digest}").body)["manifests"], [])


class AnswerTest(MirrorCase):
    def test_heads_ranges_and_conditions(self):
        self.publish()
        self.assertEqual(self.call("n2", "").headers["Docker-Distribution-API-Version"], "registry/2.0")
        head = self.call("n2", "org/m/manifests/v1", method="HEAD")
        self.assertEqual((head.status, head.headers["Docker-Content-Digest"]), (200, self.manifest_digest))
        self.assertEqual(head.headers["Content-Type"], "application/vnd.oci.image.manifest.v1+json")
        got = self.call("n2", f"org/m/manifests/{self.manifest_digest}")
        self.assertEqual(len(got.body), int(head.headers["Content-Length"]))
        self.assertEqual(sha256(got.body), self.manifest_digest)

        data = (self.dir / "model.safetensors").read_bytes()
        path = f"org/m/blobs/{sha256(data)}"
        head = self.call("n2", path, method="HEAD")
        self.assertEqual((head.status, int(head.headers["Content-Length"])), (200, len(data)))
        self.assertEqual(head.headers["ETag"], f'"{sha256(data)}"')
        # From the middle first: only what is asked for is waited for.
        for wanted, first, end in (("20000000-20000999", 20_000_000, 20_001_000), ("-5", len(data) - 5, len(data)),
                                   ("30999999-99999999", 30_999_999, len(data)), ("0-0", 0, 1)):
            part = self.call("n2", path, Range=f"bytes={wanted}")
            self.assertEqual((part.status, part.body), (206, data[first:end]), wanted)
            self.assertEqual(part.headers["Content-Range"], f"bytes {first}-{end - 1}/{len(data)}")
        outside = self.call("n2", path, Range=f"bytes={len(data)}-")
        self.assertEqual((outside.status, outside.headers["Content-Range"]), (416, f"bytes */{len(data)}"))
        same = self.call("n2", path, If_None_Match=head.headers["ETag"])
        self.assertEqual((same.status, same.body), (304, b""))
        whole = self.call("n2", path, Range="bytes=0-1,5-6")
        self.assertEqual((whole.status, whole.body), (200, data))
        self.assertEqual(self.call("n2", f"org/m/blobs/{self.blob_of('empty.txt')}").body, b"")

    def test_what_is_not_there(self):
        nodes = self.publish()
        nodes["n1"].run("publish", self.model({"w.bin": 70_000}, "second"), "--as", "org/second:v1")
        others = sha256((self.work / "second" / "w.bin").read_bytes())
        nothing = sha256(b"nothing")
        for path, status, code in (
                ("org/none/manifests/v1", 404, "NAME_UNKNOWN"),
                ("org/m/manifests/v9", 404, "MANIFEST_UNKNOWN"),
                (f"org/m/manifests/{nothing}", 404, "MANIFEST_UNKNOWN"),
                (f"org/none/manifests/{self.manifest_digest}", 404, "NAME_UNKNOWN"),
                (f"org/m/blobs/{nothing}", 404, "BLOB_UNKNOWN"),
                (f"org/m/blobs/{others}", 404, "BLOB_UNKNOWN"),
                (f"org/none/blobs/{others}", 404, "NAME_UNKNOWN"),
                ("org/m/blobs/sha256:123", 400, "DIGEST_INVALID"),
                ("Org/m/manifests/v1", 400, "NAME_INVALID"),
                ("org/none/tags/list", 404, "NAME_UNKNOWN"),
                ("org/m/manifests/v1?ns=docker.io", 404, "NAME_UNKNOWN")):
            answer = self.call("n2", path)
            self.assertEqual((answer.status, answer.code()), (status, code), path)
            self.assertEqual(self.call("n2", path, method="HEAD").status, status, path)
        for method, path in (("POST", "org/m/blobs/uploads/"), ("PUT", "org/m/manifests/v1"),
                             ("DELETE", "org/m/manifests/v1")):
            answer = self.call("n2", path, method=method)
            self.assertEqual((answer.status, answer.code()), (405, "UNSUPPORTED"), path)
        self.assertEqual(self.call("n2", f"org/second/blobs/{others}").status, 200)

    def test_a_blob_is_found_by_its_name_though_nobody_asked_for_the_manifest(self):
        self.publish()
        data = (self.dir / "sub/vocab.json").read_bytes()
        self.assertEqual(self.call("n2", f"org/m/blobs/{sha256(data)}").body, data)

    def test_only_loopback_is_listened_on_unless_that_is_meant(self):
        nodes = self.fleet(1)
        bad = subprocess.run([str(word) for word in (
            os.readlink(f"/proc/{nodes['n1'].process.pid}/exe"), "--insecure", "--tracker", nodes.url, "--node-id", "x",
            "--mirror-listen", "0.0.0.0:6972", "--check-config")], capture_output=True, text=True, check=False)
        self.assertNotEqual(bad.returncode, 0)
        self.assertIn("mirror-open", bad.stderr + bad.stdout)


class WaitTest(MirrorCase):
    """Blobs that come slowly, or not at all."""

    def slow(self):
        """n1 sends so slowly that its model takes long."""
        nodes = self.publish(2, "--upload-limit", "2MB/s")
        return nodes, f"org/m/blobs/{self.blob_of('model.safetensors')}"

    def test_bytes_are_handed_out_while_the_rest_arrives(self):
        _, path = self.slow()
        data = (self.dir / "model.safetensors").read_bytes()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.nodes['n2'].mirror}/v2/{path}", timeout=60) as answer:
            begin = answer.read(1_000_000)
            have = self.nodes["n2"].get("/v1/blobs")
            self.assertEqual(begin, data[:1_000_000])
        blob = next(entry for entry in have if entry["digest"] == sha256(data))
        self.assertLess(blob["bytes_have"], len(data) / 2)

    def test_without_a_source_the_answer_is_an_error(self):
        nodes = self.publish()
        # The table and the manifest are with the tracker, the bytes are nowhere.
        nodes["n1"].process.stop()
        begin = time.monotonic()
        answer = self.call("n2", f"org/m/blobs/{self.blob_of('model.safetensors')}")
        self.assertEqual((answer.status, answer.code()), (504, "UNAVAILABLE"))
        self.assertIn("waiting for a source", answer.body.decode())
        self.assertLess(time.monotonic() - begin, 10 * _STALL_S)
        process = self.copy("n2", self.work / "copy")
        text, _ = process.communicate(timeout=120)
        self.assertNotEqual(process.returncode, 0, text)

    def test_a_source_that_goes_away_ends_the_answer_short(self):
        nodes, path = self.slow()
        out = self.work / "part"
        client = subprocess.Popen(self.curl("n2", path, "-o", str(out)), stderr=subprocess.PIPE, text=True)
        wait_until("bytes to arrive", lambda: out.exists() and out.stat().st_size > _MB, 30, 0.05)
        nodes["n1"].process.kill()
        _, text = client.communicate(timeout=60)
        self.assertEqual(client.returncode, _PARTIAL, text)
        got = out.read_bytes()
        self.assertEqual(got, (self.dir / "model.safetensors").read_bytes()[:len(got)])
        self.assertIn('shoal_agent_mirror_broken_total{why="stalled"}', nodes["n2"].metrics())

    def test_a_client_that_goes_away_ends_its_demand(self):
        nodes, path = self.slow()
        for words in ((), ("-r", "15000000-")):
            out = self.work / "part"
            client = subprocess.Popen(self.curl("n2", path, "-o", str(out), *words), stderr=subprocess.DEVNULL)
            wait_until("bytes to arrive", lambda: out.exists() and out.stat().st_size > 100_000, 30, 0.05)
            client.kill()
            client.wait()
            out.unlink()
            self.wait_for("the reader to end", lambda: nodes["n2"].metrics()[_READERS], lambda readers: readers == 0, 20)
        blob = self.blob_of("model.safetensors")

        def explained():
            files = nodes["n2"].get("/v1/explain?reference=org/m:v1")["files"]
            return next(entry for entry in files if entry["digest"] == blob)
        self.call("n2", "org/m/manifests/v1")
        self.wait_for("nothing to be wanted", explained, lambda entry: not entry["sources"] and not entry["waits"], 20)
        self.assertLess(explained()["pieces_have"], explained()["pieces_total"])

    def test_a_pull_that_is_cancelled_leaves_the_reader_its_bytes(self):
        nodes, path = self.slow()
        out = self.work / "whole"
        pull = nodes["n2"].post("/v1/pulls", {"reference": "org/m:v1"})["pull"]
        client = subprocess.Popen(self.curl("n2", path, "-o", str(out)), stderr=subprocess.PIPE, text=True)
        wait_until("bytes to arrive", lambda: out.exists() and out.stat().st_size > 100_000, 30, 0.05)
        subprocess.run(["curl", "-sf", "--unix-socket", str(nodes["n2"].socket), "-X", "DELETE",
                        f"http://x/v1/pulls/{pull}"], check=True)
        _, text = client.communicate(timeout=120)
        self.assertEqual(client.returncode, 0, text)
        self.assertEqual(out.read_bytes(), (self.dir / "model.safetensors").read_bytes())

    def test_an_agent_that_is_stopped_ends_its_answers(self):
        nodes, path = self.slow()
        out = self.work / "part"
        client = subprocess.Popen(self.curl("n2", path, "-o", str(out)), stderr=subprocess.PIPE, text=True)
        wait_until("bytes to arrive", lambda: out.exists() and out.stat().st_size > 100_000, 30, 0.05)
        begin = time.monotonic()
        self.assertEqual(nodes["n2"].process.stop(), 0)
        self.assertLess(time.monotonic() - begin, 8)
        client.communicate(timeout=60)
        self.assertEqual(client.returncode, _PARTIAL)


if __name__ == "__main__":
    unittest.main()
