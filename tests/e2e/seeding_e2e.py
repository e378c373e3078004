#!/usr/bin/env python3
"""Agents seed published models to BitTorrent clients, which find them by the tracker alone."""

import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
import time
import unittest
from pathlib import Path

from e2e_case import FleetCase, free_ports, same
from qbittorrent import QBittorrent

CLIENT = Path(__file__).resolve().parent / "bittorrent_client.py"
_SENT = "shoal_agent_bittorrent_sent_bytes_total"
_MIB = 2**20

# Small files of every kind, and enough in large ones for a download that takes a while.
_SIZES = {"empty": 0, "one": 1, "leaf+1": 16385, "piece-1": 65535, "config.json": 700,
          "shards/1.safetensors": 24 * _MIB + 12345, "shards/2.safetensors": 24 * _MIB}
_TOTAL = sum(_SIZES.values())


def digests(folder):
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*") if path.is_file()}


class SeedingCase(FleetCase):
    replicas = "2"

    def setUp(self):
        super().setUp()
        self.models = 0
        port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{port}/announce"
        self.two = self.fleet(2, *self.flags(), tracker_flags=("--bt-listen", f"127.0.0.1:{port}"))
        self.first, self.second = self.two["n1"], self.two["n2"]

    def flags(self):
        return ("--bt-listen", "127.0.0.1:0", "--bt-announce", self.url,
                "--replicas", self.replicas)

    def seed(self, sizes=None, name="model"):
        """A model that both agents have, and the tracker knows them as its seeds."""
        model = self.model(sizes or _SIZES, name)
        self.first.run("publish", model, "--as", f"m/{name}:1")
        self.pull(self.second, f"m/{name}:1")
        self.models += 1
        self.wait_for_seeds(2 * self.models)
        out = self.work / f"{name}.torrent"
        exported = self.first.json("torrent", "export", f"m/{name}:1", "-o", out,
                                   "--announce", self.url)
        return model, exported

    def pull(self, agent, reference):
        agent.run("pull", reference, "-o", self.work / f"out-{time.monotonic_ns()}")

    def wait_for_seeds(self, count, timeout=30):
        name = 'shoal_tracker_bittorrent_clients{role="seed"}'
        self.wait_for("the tracker to know the seeds", lambda: self.two.tracker_metrics().get(name),
                      lambda now: now == count, timeout)

    def torrents(self, agent):
        return agent.metrics().get("shoal_agent_bittorrent_torrents")

    def wait_for_torrents(self, agent, count, timeout=20):
        self.wait_for(f"{agent.name} to seed {count}", lambda: self.torrents(agent),
                      lambda now: now == count, timeout)

    def sent(self):
        return [agent.metrics()[_SENT] for agent in (self.first, self.second)]

    def bt_port(self, agent):
        """Where it listens: it says so in its log."""
        line = next(line for line in agent.log().splitlines()
                    if "seeding to BitTorrent clients" in line)
        return int(line.split(" port=")[1].split()[0])

    def get(self, what, folder, timeout=90):
        done = subprocess.run([CLIENT, "get", str(what), str(folder)], capture_output=True,
                              text=True, timeout=timeout, stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return json.loads(done.stdout.splitlines()[-1])

    def start_client(self, mode, what, folder):
        return self.programs.start(f"client-{time.monotonic_ns()}",
                                   [str(CLIENT), mode, str(what), str(folder)])


class ClientsTest(SeedingCase):
    """Every client, by the torrent and by the magnet link."""

    def flags(self):
        # Slow enough that a client has found the second before it has everything from the first.
        return (*super().flags(), "--upload-limit", "12MB/s")

    def setUp(self):
        super().setUp()
        self.content, self.exported = self.seed()
        self.before = self.sent()

    def assert_whole_from_both(self, got):
        self.assertEqual(digests(self.content), digests(got))
        # The agents look once a second at what libtorrent has counted.
        sent = self.wait_for(
            "all bytes to be counted",
            lambda: [now - before for now, before in zip(self.sent(), self.before)],
            lambda sent: sum(sent) >= _TOTAL, 10)
        for part in sent:
            self.assertGreater(part, _TOTAL / 20, sent)
        # Nothing twice, but for what was asked of both near the end.
        self.assertLess(sum(sent), 1.25 * _TOTAL, sent)

    def test_libtorrent_by_the_torrent(self):
        ended = self.get(self.exported["file"], self.work / "got")
        self.assertEqual(ended["info_hash"], self.exported["info_hash"])
        self.assert_whole_from_both(self.work / "got" / "model")

    def test_libtorrent_by_the_magnet_link(self):
        ended = self.get(self.exported["magnet"], self.work / "got")
        self.assertEqual(ended["info_hash"], self.exported["info_hash"])
        self.assert_whole_from_both(self.work / "got" / "model")

    def assert_qbittorrent_ends(self, client):
        self.wait_for("qBittorrent to have it", client.torrents,
                      lambda found: len(found) == 1 and found[0]["progress"] == 1
                      and found[0]["amount_left"] == 0, 90)
        # It moves what it has written to its place when it is whole.
        self.wait_for("the files to be in place", lambda: digests(client.folder / "model"),
                      lambda found: found == digests(self.content), 20)
        self.assert_whole_from_both(client.folder / "model")

    def test_qbittorrent_by_the_torrent(self):
        client = QBittorrent(self.programs, self.work / "qbittorrent")
        client.add_file(Path(self.exported["file"]))
        self.assert_qbittorrent_ends(client)

    def test_qbittorrent_by_the_magnet_link(self):
        client = QBittorrent(self.programs, self.work / "qbittorrent")
        client.add_magnet(self.exported["magnet"])
        self.assert_qbittorrent_ends(client)


class Wire:
    """The peer protocol by hand, for what no client would say."""

    def __init__(self, connected, info_hash):
        self.socket = connected
        self.stream = None
        # BEP 10 (extensions) and BEP 52 (v2) in the reserved bytes.
        self.socket.sendall(b"\x13BitTorrent protocol" + bytes([0, 0, 0, 0, 0, 0x10, 0, 0x10])
                            + bytes.fromhex(info_hash)[:20] + b"-XX0001-" + os.urandom(12))

    def send(self, kind, body=b""):
        self.socket.sendall(struct.pack(">IB", 1 + len(body), kind) + body)

    def closed(self, timeout=20):
        """Whether the other side ends the connection, whatever it says before."""
        self.socket.settimeout(timeout)
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionError:
            return True
        except OSError:
            return False
        return True

    def answer(self, kind, timeout=10):
        """The body of the next message of that kind; None when the connection ends before."""
        self.socket.settimeout(timeout)
        if self.stream is None:
            self.stream = self.socket.makefile("rb")
            if len(self.stream.read(68)) < 68:
                return None
        while True:
            head = self.stream.read(4)
            if len(head) < 4:
                return None
            body = self.stream.read(struct.unpack(">I", head)[0])
            if body and body[0] == kind:
                return body[1:]


class BehaviourTest(SeedingCase):
    replicas = "1"

    def connect(self, port):
        raw = socket.create_connection(("127.0.0.1", port), 10)
        self.addCleanup(raw.close)
        return raw

    def wire(self, port, info_hash):
        return Wire(self.connect(port), info_hash)

    def test_garbage_does_not_disturb_the_others(self):
        model, exported = self.seed()
        port = self.bt_port(self.first)
        interested, request, unchoke, piece, hash_request, hash_reject = 2, 6, 1, 7, 21, 23
        # Not the protocol; an info-hash that nobody has; half a handshake.
        for bytes_ in (os.urandom(500), b"GET / HTTP/1.1\r\n\r\n",
                       b"\x13BitTorrent protocol" + bytes(48)):
            raw = self.connect(port)
            raw.sendall(bytes_)
            raw.shutdown(socket.SHUT_WR)
        self.assertTrue(self.wire(port, "ab" * 32).closed())
        # Messages of no length that there can be, and of no kind.
        wire = self.wire(port, exported["info_hash"])
        wire.socket.sendall(struct.pack(">I", 0xffffffff) + os.urandom(1000))
        self.assertTrue(wire.closed())
        wire = self.wire(port, exported["info_hash"])
        for kind in range(256):
            try:
                wire.send(kind, os.urandom(3))
            except ConnectionError:
                break
        self.assertTrue(wire.closed())
        # Pieces that are not there, too long, negative; hashes of no file and outside of files.
        wire = self.wire(port, exported["info_hash"])
        wire.send(interested)
        self.assertIsNotNone(wire.answer(unchoke))
        for index, begin, length in ((0x7fffffff, 0, 16384), (0, 0x7fffffff, 16384), (0, 0, 0),
                                     (0, 0, 0x7fffffff), (0xffffffff, 0xffffffff, 0xffffffff),
                                     (0, 65535, 16384), (0, 0, 32768)):
            try:
                wire.send(request, struct.pack(">III", index, begin, length))
            except ConnectionError:
                break
        wire = self.wire(port, exported["info_hash"])
        for root, numbers in ((os.urandom(32), (0, 0, 512, 0)),
                              (bytes(32), (0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff)),
                              (os.urandom(32), (2, 0x7fffffff, 0x7fffffff, 0x7fffffff))):
            wire.send(hash_request, root + struct.pack(">IIII", *numbers))
            self.assertIsNotNone(wire.answer(hash_reject))
        # What has no pieces root, such as an empty file, is sometimes taken for one of zeros.
        wire = self.wire(port, exported["info_hash"])
        for numbers in ((0, 0, 1, 0), (0, 0, 2, 1), (1, 0, 1, 0), (0, 1, 512, 3)):
            wire.send(hash_request, bytes(32) + struct.pack(">IIII", *numbers))
            wire.send(hash_request, os.urandom(32) + bytes(16))
            self.assertIsNotNone(wire.answer(hash_reject))
        # One that asks for much and takes nothing.
        greedy = self.wire(port, exported["info_hash"])
        greedy.send(interested)
        self.assertIsNotNone(greedy.answer(unchoke))
        for index in range(400):
            greedy.send(request, struct.pack(">III", index, 0, 16384))
        self.assertIsNotNone(greedy.answer(piece))
        self.get(exported["file"], self.work / "got")
        self.assertTrue(same(model, self.work / "got" / "model"))
        self.assertTrue(self.first.process.running())

    def test_a_model_that_no_reference_names_is_not_seeded(self):
        _, exported = self.seed({"a.bin": 300_000})
        other, kept = self.seed({"b.bin": 200_000}, "other")
        self.first.run("rm", "m/model:1")
        for agent in (self.first, self.second):
            self.wait_for_torrents(agent, 1)
            self.wait_for_log(agent.process, "no reference names it any more")
            self.assertTrue(self.wire(self.bt_port(agent), exported["info_hash"]).closed())
        self.get(kept["file"], self.work / "got")
        self.assertEqual(digests(other), {"b.bin": digests(self.work / "got")["b.bin"]})
        # Named again it comes back; also on the node that only has it.
        self.first.run("publish", self.work / "model", "--as", "m/model:2")
        self.wait_for_torrents(self.first, 2)
        self.pull(self.second, "m/model:2")
        self.wait_for_torrents(self.second, 2)

    def test_a_model_that_was_evicted_is_seeded_by_the_others(self):
        model, exported = self.seed()
        self.second.run("gc", "--free", "1TiB", check=False)  # there is not so much
        self.wait_for_torrents(self.second, 0)
        self.wait_for_log(self.second.process, "a model is not seeded any more")
        self.assertEqual(self.torrents(self.first), 1)
        self.get(exported["magnet"], self.work / "got")
        self.assertTrue(same(model, self.work / "got" / "model"))
        self.wait_for("the second to have sent nothing", self.sent,
                      lambda sent: sent[0] >= _TOTAL and sent[1] == 0, 10)

    def test_an_agent_that_was_restarted_seeds_at_once(self):
        model, exported = self.seed()
        self.first.process.stop()
        self.assertEqual(self.first.process.returncode, 0)
        self.wait_for_seeds(1)
        self.first.start()
        self.wait_for_seeds(2)
        self.second.process.stop()
        self.get(exported["file"], self.work / "got")
        self.assertTrue(same(model, self.work / "got" / "model"))

    def test_a_port_that_is_taken_is_a_failed_start(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            self.first.process.stop()
            port = taken.getsockname()[1]
            self.two.agent_flags = ("--bt-listen", f"127.0.0.1:{port}", "--bt-announce", self.url)
            self.first.start()
            self.wait_for("the agent to give up", self.first.process.running,
                          lambda running: not running, 20)
        self.assertEqual(self.first.process.returncode, 1)
        self.assertIn(f"bt-listen: cannot listen on 127.0.0.1:{port}", self.first.log())


class LimitedTest(SeedingCase):
    """With an upload limit: a transfer takes as long as it must."""
    rate = 4_000_000

    def flags(self):
        return (*super().flags(), "--upload-limit", f"{self.rate}B/s")

    def test_the_upload_limit_holds(self):
        _, exported = self.seed({"a.bin": 24_000_000})
        start = time.monotonic()
        self.get(exported["file"], self.work / "got")
        # Two seeds, and what each may send at once.
        self.assertGreater(time.monotonic() - start, (24_000_000 - 2_000_000) / (2 * self.rate))

    def test_agents_stop_within_seconds_with_peers_connected(self):
        _, exported = self.seed({"a.bin": 60_000_000})
        clients = [self.start_client("seed", exported["file"], self.work / f"got{i}")
                   for i in range(3)]
        for agent in (self.first, self.second):
            self.wait_for(f"{agent.name} to send", lambda agent=agent: agent.metrics()[_SENT],
                          lambda sent: sent > 1_000_000, 30)
            self.assertGreaterEqual(agent.metrics()["shoal_agent_bittorrent_peers"], 1)
        start = time.monotonic()
        for agent in (self.first, self.second):
            os.kill(agent.process.pid, signal.SIGTERM)
        for agent in (self.first, self.second):
            self.assertEqual(agent.process.wait(10), 0, agent.process.log_tail())
        self.assertLess(time.monotonic() - start, 8)
        for client in clients:
            self.assertTrue(client.running(), client.log_tail())

    def test_agents_stop_within_seconds_without_the_tracker(self):
        self.seed({"a.bin": 1_000_000})
        os.kill(self.two.tracker.pid, signal.SIGSTOP)
        self.addCleanup(os.kill, self.two.tracker.pid, signal.SIGCONT)
        start = time.monotonic()
        self.first.process.stop()
        self.assertEqual(self.first.process.returncode, 0)
        self.assertLess(time.monotonic() - start, 8)


class OffTest(FleetCase):
    def test_nothing_of_it_is_there_unless_it_is_asked_for(self):
        agent = self.fleet(1)["n1"]
        self.assertFalse([name for name in agent.metrics() if "bittorrent" in name])
        names = {Path(f"/proc/{agent.process.pid}/task/{task}/comm").read_text().strip()
                 for task in os.listdir(f"/proc/{agent.process.pid}/task")}
        self.assertFalse([name for name in names if name.startswith("bt-")])

    def test_half_of_the_settings_is_refused_with_words(self):
        agent = self.fleet(1)["n1"]
        agent.process.stop()
        for flags, text in ((("--bt-listen", "127.0.0.1:0"), "bt-listen needs bt-announce"),
                            (("--bt-announce", "http://a/announce"), "belongs to bt-listen"),
                            (("--bt-listen", "somewhere:1", "--bt-announce", "http://a/announce"),
                             "write an IP address"),
                            (("--bt-listen", "127.0.0.1:0", "--bt-announce", "ftp://a"),
                             "bt-announce: ")):
            agent.start(*flags)
            self.wait_for("the agent to end", agent.process.running, lambda now: not now, 10)
            self.assertEqual(agent.process.returncode, 2)
            self.assertIn(text, agent.log())


if __name__ == "__main__":
    unittest.main()
