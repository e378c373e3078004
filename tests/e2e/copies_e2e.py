#!/usr/bin/env python3
"""What copies are kept, and which are believed: stores that are too small, pins that end with their model,
statements that lie."""

import hashlib
import json
import os
import sys
import threading
import unittest
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "scripts"))
from benchlib import Nginx, free_ports, wait_until  # noqa: E402
from benchlib.fleet import Fleet  # noqa: E402
from e2e_case import FleetCase  # noqa: E402

MB = 1_000_000


class CopiesTest(FleetCase):
    def model(self, name, size):
        directory = self.work / name
        directory.mkdir()
        (directory / f"{name}.bin").write_bytes(os.urandom(size))
        return directory

    def on_all(self, function):
        """function(agent) for all agents at the same time; the results by name."""
        results = {}

        def call(name, agent):
            results[name] = function(agent)

        threads = [threading.Thread(target=call, args=item) for item in self.fleet.agents.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(set(results), set(self.fleet.agents))
        return results

    def copies(self, reference):
        """The nodes that hold every byte of it, as the tracker knows."""
        status = self.fleet["n1"].json("status", reference)
        return {node["node"] for node in status["nodes"] if node["bytes_done"] == node["bytes_total"]}

    def gc(self, *words):
        return self.on_all(lambda agent: agent.json("gc", "--free", "1TiB", *words, check=False))

    def reasons(self, answer):
        return {kept["reason"] for kept in answer["kept"]}

    def test_the_last_copies_survive_three_full_stores_at_once(self):
        names = {f"n{i}": None for i in (1, 2, 3)}
        self.fleet = Fleet(self.programs, self.work, self.runtime, names, agent_flags=(
            "--store-capacity", str(32 * MB), "--origin-allow", "127.0.0.1")).start()
        n1 = self.fleet["n1"]
        nginx = Nginx(self.programs, self.work, free_ports(1)[0])

        # One that nobody could bring back, the least recently used; two that an origin has.
        n1.run("publish", self.model("keep", 10 * MB), "--as", "m/keep:1")
        n1.run("prefetch", "m/keep:1", "--wait", "--timeout", "60s")
        for name, size in (("gone", 10), ("new", 11)):
            n1.run("publish", self.model(name, size * MB), "--as", f"m/{name}:1", "--no-store",
                   "--origin", f"{nginx.url}/{name}/")
        n1.run("prefetch", "m/gone:1", "--wait", "--timeout", "60s")
        self.assertEqual(self.copies("m/keep:1"), {"n1", "n2", "n3"})
        wait_until("the tracker to know what there is",
                   lambda: not any("started" in reason for answer in self.gc("--dry-run").values()
                                   for reason in self.reasons(answer)), 20)

        # All three need room at the same time, and all would give up the same model.
        done = n1.json("prefetch", "m/new:1", "--wait", "--timeout", "60s")
        self.assertEqual(done["state"], "complete")
        wait_until("the tracker to hear of it", lambda: len(self.copies("m/gone:1")) == 1, 10)
        self.assertEqual(len(self.copies("m/keep:1")), 2)
        self.assertEqual(self.copies("m/gone:1") | self.copies("m/keep:1"), set(names))

        # Told to give up everything, they keep what is left of it, and say why.
        answers = self.gc()
        kept = [name for name, answer in answers.items()
                if any("last copies" in reason for reason in self.reasons(answer))]
        self.assertGreaterEqual(len(kept), 2)
        wait_until("the tracker to hear of it", lambda: not self.copies("m/new:1"), 10)
        holders = self.copies("m/keep:1")
        self.assertEqual(len(holders), 2)
        for name in holders:
            self.fleet[name].run("verify", "m/keep:1")

        # Without the tracker nobody knows of other copies.
        self.fleet.tracker.kill()
        for answer in self.gc().values():
            self.assertEqual(answer["evicted"], [])
        self.fleet.start_tracker()
        for agent in self.fleet.agents.values():
            agent.wait_ready()
        wait_until("the copies to be known again", lambda: self.copies("m/keep:1") == holders, 20)

        # What was removed need not stay.
        n1.run("rm", "m/keep:1")
        digest = hashlib.sha256((self.work / "keep" / "keep.bin").read_bytes()).hexdigest()
        answers = self.gc()
        for name in holders:
            self.assertIn(f"sha256:{digest}", answers[name]["evicted"])

    def small_fleet(self, count, *flags):
        names = {f"n{i}": None for i in range(1, count + 1)}
        self.fleet = Fleet(self.programs, self.work, self.runtime, names, agent_flags=flags).start()
        return self.fleet

    def ask_tracker(self, method, path, body=None, kind="application/json"):
        if isinstance(body, str):
            body = body.encode()
        request = urllib.request.Request(self.fleet.url + path, data=body, method=method,
                                         headers={"Content-Type": kind})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()

    def foreign_model(self, reference, blob, size, origin, table=None):
        """A manifest as other tools make it: it names files by digest alone."""
        config = b"{}"
        manifest = json.dumps({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": "application/vnd.cncf.model.manifest.v1+json",
            "config": {"mediaType": "application/vnd.cncf.model.config.v1+json",
                       "digest": "sha256:" + hashlib.sha256(config).hexdigest(),
                       "size": len(config),
                       "annotations": {"dev.shoal.pieces-root": hashlib.sha256(config).hexdigest()}},
            "layers": [{"mediaType": "application/vnd.cncf.model.weight.v1.raw",
                        "digest": f"sha256:{blob}", "size": size,
                        "annotations": {"org.cncf.model.filepath": "w.bin"}}]}).encode()
        digest = "sha256:" + hashlib.sha256(manifest).hexdigest()
        self.ask_tracker("PUT", f"/v1/manifests/{digest}", manifest,
                         "application/vnd.oci.image.manifest.v1+json")
        config_digest = hashlib.sha256(config).hexdigest()
        self.ask_tracker("PUT", f"/v1/tables/sha256:{config_digest}",
                         leaf_table(config_digest, config), "application/octet-stream")
        (self.work / "served" / "config").write_bytes(config)
        for name, url in ((f"sha256:{config_digest}", f"{origin}/served/config"),
                          (f"sha256:{blob}", f"{origin}/served/w.bin")):
            self.ask_tracker("PUT", f"/v1/origins/{name}",
                             json.dumps({"origins": [{"kind": "http", "url": url}]}))
        if table:
            self.ask_tracker("PUT", f"/v1/tables/sha256:{blob}", table, "application/octet-stream")
        self.ask_tracker("PUT", f"/v1/references?reference={reference}",
                         json.dumps({"manifest": digest}))

    def test_a_statement_that_lies_is_withdrawn_once_two_nodes_have_read_the_whole_file(self):
        fleet = self.small_fleet(3, "--origin-allow", "127.0.0.1")
        nginx = Nginx(self.programs, self.work, free_ports(1)[0])
        (self.work / "served").mkdir()
        promised, given = os.urandom(10_000), os.urandom(10_000)
        (self.work / "served" / "w.bin").write_bytes(given)
        blob = hashlib.sha256(promised).hexdigest()
        root = hashlib.sha256(given).hexdigest()
        self.foreign_model("m/lie:1", blob, len(given), nginx.url, leaf_table(blob, given))

        # Nobody says that the table is true: nothing is fetched by it.
        order = fleet["n1"].json("prefetch", "m/lie:1", "--timeout", "60s")["id"]
        wait_until("the reason to be told", lambda: any(
            "signed" in node["waiting_for"] for node in fleet["n1"].json("status", "m/lie:1")["nodes"]),
            20)

        self.ask_tracker("PUT", f"/v1/statements/sha256:{blob}/liar",
                         f"shoal-statement 1\nnode liar\nblob sha256:{blob}\nsize {len(given)}\n"
                         f"pieces-root {root}\n", "text/plain")
        wait_until("all nodes to have it", lambda: len(self.copies("m/lie:1")) == 3, 30)
        self.assertTrue(order)

        # One node looks; the tracker makes another one look, and all are told.
        looked = fleet["n1"].run("verify", "m/lie:1", check=False)
        self.assertNotEqual(looked.returncode, 0)
        wait_until("everybody to have dropped it", lambda: not self.copies("m/lie:1"), 20)
        tracker_log = fleet.tracker.log_tail(1000)
        self.assertIn("a statement was withdrawn", tracker_log)
        self.assertIn("signer=liar", tracker_log)
        self.assertEqual(json.loads(self.ask_tracker("GET", f"/v1/statements/sha256:{blob}"))
                         ["statements"], [])
        with self.assertRaises(urllib.error.HTTPError) as refused:
            self.ask_tracker("PUT", f"/v1/tables/sha256:{blob}", leaf_table(blob, given),
                             "application/octet-stream")
        self.assertEqual(refused.exception.code, 409)

        # Who has the true file and publishes it has read it whole, and is believed.
        (self.work / "true").mkdir()
        (self.work / "true" / "w.bin").write_bytes(promised)
        fleet["n1"].run("publish", self.work / "true", "--as", "m/true:1")
        fleet["n2"].run("pull", "m/lie:1", "-o", self.work / "out")
        self.assertEqual((self.work / "out" / "w.bin").read_bytes(), promised)
        # Who reads it whole vouches for it, too.
        fleet["n2"].run("verify", "m/lie:1")
        said = json.loads(self.ask_tracker("GET", f"/v1/statements/sha256:{blob}"))["statements"]
        self.assertIn("n2", {one["node"] for one in said})

    def test_pins_of_orders_end_with_the_model_also_on_a_node_that_was_away(self):
        fleet = self.small_fleet(3)
        n1 = fleet["n1"]
        n1.run("publish", self.model("p", MB), "--as", "m/p:1")
        n1.run("prefetch", "m/p:1", "--pin", "--wait", "--timeout", "60s")
        n1.run("pin", "m/p:1")  # somebody here wants it, too

        def pinned(name):
            return any(blob["pinned"] for blob in fleet[name].json("ls", "--local")["blobs"])

        self.assertTrue(all(pinned(name) for name in fleet.agents))
        fleet["n3"].process.stop()
        n1.run("rm", "m/p:1")
        wait_until("the pin to end", lambda: not pinned("n2"), 10)
        self.assertTrue(pinned("n1"))
        # The tracker does not remember for ever what it removed.
        fleet.tracker.kill()
        fleet.start_tracker()
        fleet["n3"].start().wait_ready()
        wait_until("the pin to end", lambda: not pinned("n3"), 10)

    def test_a_folder_that_all_nodes_see_is_an_origin(self):
        fleet = self.small_fleet(2, "--origin-allow", f"dir:{self.work}")
        model = self.model("a b", 3 * MB)
        fleet["n1"].run("publish", model, "--as", "m/d:1", "--no-store", "--origin", f"dir:{model}")
        fleet["n2"].run("pull", "m/d:1", "-o", self.work / "out")
        self.assertEqual((self.work / "out" / "a b.bin").read_bytes(),
                         (model / "a b.bin").read_bytes())


def leaf_table(digest, data):
    """The piece table of a blob of at most one leaf (docs/formats/piece-table.md)."""
    root = hashlib.sha256(data).digest()
    return (b"SHOALPT\n" + (1).to_bytes(4, "little") + (1).to_bytes(4, "little") +
            len(data).to_bytes(8, "little") + (65536).to_bytes(8, "little") +
            bytes.fromhex(digest) + root + root)


if __name__ == "__main__":
    unittest.main(verbosity=2)
