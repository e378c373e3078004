#!/usr/bin/env python3
"""The torrent of a published model, as other BitTorrent software understands it."""

import hashlib
import json
import os
import subprocess
import unittest
import urllib.request
from pathlib import Path

from e2e_case import FleetCase, free_ports, same
from benchlib.fleet import BIN

CLIENT = Path(__file__).resolve().parent / "bittorrent_client.py"
_PIECE = 64 * 1024

# Every kind of a last piece, folders, and names that are sorted otherwise in a tree than as paths.
_SIZES = {"empty": 0, "one": 1, "leaf-1": 16383, "leaf": 16384, "leaf+1": 16385,
          "piece-1": _PIECE - 1, "piece": _PIECE, "piece+1": _PIECE + 1,
          "shards/a/1.bin": 7 * _PIECE + 12345, "shards/a-b": 3 * _PIECE, "shards/a0": 200_000,
          "ü/weights 1.safetensors": 9_000_001}


def pieces(sizes):
    return sum((size + _PIECE - 1) // _PIECE for size in sizes)


class TorrentCase(FleetCase):
    def client(self, *words, timeout=60):
        """The last event of a client that ends by itself."""
        done = subprocess.run([CLIENT, *map(str, words)], capture_output=True, text=True,
                              timeout=timeout, stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return json.loads(done.stdout.splitlines()[-1])

    def publish(self, agent, sizes, name="model"):
        model = self.model(sizes, name)
        agent.run("publish", model, "--as", f"m/{name}:1")
        return model

    def export(self, agent, reference="m/model:1", *more):
        out = self.work / f"{agent.name}-{reference.replace('/', '-')}.torrent"
        return agent.json("torrent", "export", reference, "-o", out, *more)


class ExportTest(TorrentCase):
    def setUp(self):
        super().setUp()
        self.two = self.fleet(2)

    def assert_checks(self, exported, folder, count):
        """libtorrent finds every piece of the torrent right in `folder`."""
        checked = self.client("check", exported["file"], folder)
        self.assertEqual(checked["pieces"], count)
        self.assertEqual(checked["pieces_have"], count)
        self.assertEqual(checked["progress"], 1.0)
        self.assertEqual(checked["info_hash"], exported["info_hash"])
        self.assertEqual(checked["name"], exported["name"])

    def test_the_files_that_were_published_are_what_the_torrent_says(self):
        model = self.publish(self.two["n1"], _SIZES)
        exported = self.export(self.two["n1"])
        self.assertEqual(exported["piece_length"], _PIECE)
        self.assert_checks(exported, self.work, pieces(_SIZES.values()))
        # The check is able to fail: one wrong byte, one wrong piece.
        with open(model / "shards" / "a" / "1.bin", "r+b") as file:
            file.seek(3 * _PIECE + 5)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 1]))
        checked = self.client("check", exported["file"], self.work)
        self.assertEqual(checked["pieces_have"], checked["pieces"] - 1)

    def test_every_node_exports_the_same_bytes(self):
        self.publish(self.two["n1"], {"a.bin": 300_000, "b/c.bin": 70_000})
        first, second = (Path(self.export(self.two[n])["file"]).read_bytes() for n in ("n1", "n2"))
        self.assertEqual(first, second)
        piped = subprocess.run(self.two["n2"].command("torrent", "export", "m/model:1", "-o", "-"),
                               capture_output=True, check=True, timeout=30)
        self.assertEqual(piped.stdout, first)
        # By the manifest too, and from the tracker without an agent.
        manifest = self.two["n1"].json("ls")["references"][0]["manifest"]
        direct = subprocess.run(
            [BIN / "shoal", "torrent", "export", f"m/model@{manifest}", "-o", "-",
             "--agent", "/nonexistent", "--tracker", self.two.url],
            capture_output=True, check=True, timeout=30)
        self.assertEqual(direct.stdout, first)

    def test_a_model_of_one_file(self):
        model = self.publish(self.two["n1"], {"w.gguf": 1_000_000}, name="one")
        exported = self.export(self.two["n1"], "m/one:1")
        self.assertEqual(exported["name"], "w.gguf")
        self.assert_checks(exported, model, pieces([1_000_000]))

    def test_pieces_of_more_than_64_kib(self):
        size = 4 * 2**30 + 123_457
        model = self.model({"small.bin": 5 * _PIECE + 1}, "large")
        with open(model / "large.bin", "wb") as file:  # mostly holes: hashed, but not written
            for offset in (0, 2**31 - 70_000, size - 200_000):
                file.seek(offset)
                file.write(os.urandom(200_000))
        self.assertEqual((model / "large.bin").stat().st_size, size)
        self.two["n1"].run("publish", model, "--as", "m/large:1", "--in-place")
        exported = self.export(self.two["n1"], "m/large:1")
        self.assertEqual(exported["piece_length"], 2 * _PIECE)
        self.assert_checks(exported, self.work, 32769 + 3)

    def test_another_client_gets_the_model_by_the_magnet_link(self):
        model = self.publish(self.two["n1"], _SIZES)
        exported = self.export(self.two["n1"])
        port = free_ports(1)[0]
        seeder = self.programs.start("seeder", [str(CLIENT), "--port", str(port), "seed",
                                                exported["file"], str(self.work)])
        self.wait_for_log(seeder, '"complete"')
        got = self.work / "got"
        ended = self.client("--peer", f"127.0.0.1:{port}", "get", exported["magnet"], got)
        self.assertEqual(ended["info_hash"], exported["info_hash"])
        self.assertTrue(same(model, got / "model"))

    def test_what_cannot_be_exported_is_refused_with_a_reason(self):
        agent = self.two["n1"]

        def refused(reference, *texts):
            done = agent.run("torrent", "export", reference, "-o", self.work / "no.torrent",
                             check=False)
            self.assertEqual(done.returncode, 1, done.stderr)
            for text in texts:
                self.assertIn(text, done.stderr)
            self.assertFalse((self.work / "no.torrent").exists())

        refused("m/none:1", "m/none:1")
        self.publish(agent, {"a.bin": 300_000})
        self.put_without_tables("m/model:1", "m/tableless:1")
        refused("m/tableless:1", "no piece table of a.bin", "shoal publish")
        self.two.tracker.stop()
        refused("m/model:1", "cannot reach its tracker")

    def put_without_tables(self, known, name):
        """Gives the catalogue a manifest like that of `known`, with a file that nobody hashed."""
        def ask(method, path, body=None, kind="application/json"):
            request = urllib.request.Request(self.two.url + path, body, {"Content-Type": kind},
                                             method=method)
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.read()
        resolved = json.loads(ask("GET", f"/v1/resolve?reference={known}"))
        manifest = json.loads(ask("GET", f"/v1/manifests/{resolved['manifest']}"))
        manifest["layers"][0]["digest"] = "sha256:" + hashlib.sha256(b"somebody's").hexdigest()
        text = json.dumps(manifest).encode()
        digest = "sha256:" + hashlib.sha256(text).hexdigest()
        ask("PUT", f"/v1/manifests/{digest}", text, resolved["media_type"])
        ask("PUT", f"/v1/references?reference={name}", json.dumps({"manifest": digest}).encode())


class AnnounceTest(TorrentCase):
    """Clients know of one another only what the tracker tells them."""

    def setUp(self):
        super().setUp()
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}/announce"
        self.fleet_ = self.fleet(1, tracker_flags=("--bt-listen", f"127.0.0.1:{self.port}"))
        self.agent = self.fleet_["n1"]
        self.content = self.publish(self.agent, _SIZES)
        self.exported = self.export(self.agent, "m/model:1", "--announce", self.url)

    def start(self, name, mode, what, folder):
        return self.programs.start(name, [str(CLIENT), mode, what, str(folder)])

    def clients(self):
        """How many the tracker knows, by role."""
        metrics = self.fleet_.tracker_metrics()
        return {role: int(metrics.get(f'shoal_tracker_bittorrent_clients{{role="{role}"}}', 0))
                for role in ("seed", "leech")}

    def scrape(self):
        first = "".join(f"%{self.exported['info_hash'][i:i + 2]}" for i in range(0, 40, 2))
        page = f"http://127.0.0.1:{self.port}/scrape?info_hash={first}"
        with urllib.request.urlopen(page, timeout=5) as answer:
            return answer.read()

    def test_a_leech_finds_the_seed_and_becomes_one(self):
        seed = self.start("seed", "seed", self.exported["file"], self.work)
        self.wait_for_log(seed, '"event": "tracker"')
        self.wait_for("the tracker to know the seed", self.clients,
                      lambda known: known == {"seed": 1, "leech": 0}, 10)
        got = self.work / "got"
        ended = self.client("get", self.exported["file"], got)
        self.assertEqual(ended["info_hash"], self.exported["info_hash"])
        self.assertTrue(same(self.content, got / "model"))
        # By the magnet link alone, from either; this one stays.
        third = self.start("third", "seed", self.exported["magnet"], self.work / "third")
        self.wait_for_log(third, '"complete"', 60)
        self.assertTrue(same(self.content, self.work / "third" / "model"))
        self.wait_for("the tracker to hear of both downloads", self.scrape,
                      lambda answer: b"10:downloadedi2e" in answer, 20)

    def test_one_that_came_first_is_found_by_the_seed(self):
        leech = self.start("leech", "seed", self.exported["file"], self.work / "got")
        self.wait_for_log(leech, '"event": "tracker"')
        self.assertNotIn('"complete"', leech.log_tail(100))
        self.start("seed", "seed", self.exported["file"], self.work)
        self.wait_for_log(leech, '"complete"', 60)
        self.assertTrue(same(self.content, self.work / "got" / "model"))

    def test_a_torrent_that_the_catalogue_does_not_name_is_refused(self):
        self.agent.run("rm", "m/model:1")
        seed = self.start("seed", "seed", self.exported["file"], self.work)
        self.wait_for_log(seed, "no model in this cluster's catalogue has this torrent")
        self.assertEqual(self.clients(), {"seed": 0, "leech": 0})
        self.assertEqual(self.scrape(), b"d5:filesdee")
        # Published again it is the same torrent, also after a restart of the tracker.
        self.agent.run("publish", self.content, "--as", "m/again:2")
        again = self.export(self.agent, "m/again:2", "--announce", self.url)
        self.assertNotEqual(again["info_hash"], self.exported["info_hash"])  # has another name
        self.agent.run("publish", self.content, "--as", "else/model:2")
        self.assertEqual(self.export(self.agent, "else/model:2")["info_hash"],
                         self.exported["info_hash"])
        self.fleet_.tracker.stop()
        self.fleet_.start_tracker()
        late = self.start("late", "seed", self.exported["file"], self.work)
        self.wait_for_log(late, '"peers"')
        self.assertEqual(self.clients()["seed"], 1)


if __name__ == "__main__":
    unittest.main()
