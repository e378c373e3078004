#!/usr/bin/env python3
"""Full disks and rotten bits: nothing wrong is served, the reason is told, and it mends."""

import hashlib
import os
import socket
import subprocess
import unittest
from pathlib import Path

from e2e_case import Fleet, FleetCase, descriptor_counts

_MB = 1_000_000


def digest_of(path):
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


class FullDiskTest(FleetCase):
    """n1 has two models; the file system of n2's store has room for one of them."""

    def setUp(self):
        super().setUp()
        self.disk = self.work / "disk"
        self.disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "shoal-e2e", str(self.disk)],
                       check=True)
        self.stack.callback(subprocess.run, ["umount", "-l", str(self.disk)], check=True)
        # Programs end before the file system is taken away.
        self.stack.callback(self.programs.stop)
        # One copy is enough: the other node may give up what it shares with the publisher.
        self.two = Fleet(self.programs, self.work, self.runtime, {"n1": None, "n2": None},
                         agent_flags=["--replicas", "1"])
        self.two["n2"].directory = self.disk / "store"
        self.two.start()
        self.small = self.model({"small.safetensors": 30 * _MB}, "small")
        self.big = self.model({"big.safetensors": 40 * _MB}, "big")
        self.two["n1"].run("publish", self.small, "--as", "m/small:1")
        self.two["n1"].run("publish", self.big, "--as", "m/big:1")

    def assert_serves_small(self):
        with socket.create_connection(("127.0.0.1", self.two["n2"].lane), timeout=10) as sock:
            blob = digest_of(self.small / "small.safetensors")
            sock.sendall(f"GET /v1/blobs/{blob} HTTP/1.1\r\nHost: x\r\n"
                         "Range: bytes=1000-1999\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: sock.recv(65_536), b""))
        head, body = answer.split(b"\r\n\r\n", 1)
        self.assertTrue(head.startswith(b"HTTP/1.1 206 "), head)
        self.assertEqual(body, (self.small / "small.safetensors").read_bytes()[1000:2000])

    def wait_until_told(self, *texts):
        for text in texts:
            self.wait_for("the tracker to be told",
                          lambda: self.progress(self.two, "m/big:1", "n2")["waiting_for"],
                          lambda told: text in told, 20)
            self.wait_for("--explain to say it",
                          lambda: self.two["n2"].run("status", "m/big:1", "--explain").stdout,
                          lambda told: text in told, 20)

    def wait_until_big_is_there(self):
        self.wait_for("the big model", lambda: self.progress(self.two, "m/big:1", "n2"),
                      lambda now: now["state"] == "complete", 40)
        self.assert_whole(self.two["n2"], "m/big:1", self.big)

    def test_an_order_waits_for_room_and_goes_on_when_another_model_may_go(self):
        self.two["n1"].run("prefetch", "m/small:1", "--pin", "--wait", "--timeout", "60s")
        before = descriptor_counts(self.two["n2"])
        self.two["n1"].run("prefetch", "m/big:1", "--nodes", "n2")
        self.wait_until_told("room for big.safetensors", "disk full", "unpin or remove blobs")
        self.assert_serves_small()
        # Who asks on the node itself is told at once.
        pulled = self.two["n2"].run("pull", "m/big:1", "-o", self.work / "out", check=False)
        self.assertEqual(pulled.returncode, 1)
        self.assertIn("disk full", pulled.stderr)
        self.assertIn("big.safetensors", pulled.stderr)
        self.assertTrue(self.two["n2"].json("status")["tracker"]["connected"])
        self.two["n2"].run("verify", "m/small:1")
        self.two["n2"].run("unpin", "m/small:1")
        self.wait_until_big_is_there()
        self.assert_no_leak(self.two["n2"], before)

    def test_an_order_goes_on_when_others_give_space_back(self):
        other = self.disk / "of-others"
        other.write_bytes(b"\0" * 40 * _MB)
        self.two["n1"].run("prefetch", "m/big:1", "--nodes", "n2")
        self.wait_until_told("disk full")
        other.unlink()
        self.wait_until_big_is_there()

    def test_a_publication_that_does_not_fit_says_so_and_leaves_nothing(self):
        too_big = self.model({"1.safetensors": 20 * _MB, "2.safetensors": 60 * _MB}, "too-big")
        done = self.two["n2"].run("publish", too_big, "--as", "m/no:1", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("2.safetensors", done.stderr)
        self.assertRegex(done.stderr, "disk full|No space left")
        self.wait_for("the store to be empty", lambda: self.two["n2"].json("ls", "--local")["blobs"],
                      lambda blobs: blobs == [], 10)
        references = [entry["reference"] for entry in self.two["n1"].json("ls")["references"]]
        self.assertNotIn("m/no:1", references)

    def test_what_can_never_fit_fails_at_once(self):
        self.two["n2"].process.stop()
        self.two["n2"].start("--store-capacity", "20MB").wait_ready()
        done = self.two["n1"].run("prefetch", "m/big:1", "--nodes", "n2", "--wait", "--timeout",
                                  "30s", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("store full", done.stdout + done.stderr)


class BitRotTest(FleetCase):
    """A byte of n2's copy changes on the disk, as a failing disk would do it."""

    def setUp(self):
        super().setUp()
        self.three = self.fleet(3)
        self.dir = self.model({"w.safetensors": 12 * _MB})
        self.three["n1"].run("publish", self.dir, "--as", "m/r:1")
        self.three["n1"].run("prefetch", "m/r:1", "--nodes", "n2", "--wait", "--timeout", "60s")
        self.file = digest_of(self.dir / "w.safetensors").split(":")[1]

    def rot(self, *offsets):
        path = Path(self.three["n2"].directory) / "blobs/sha256" / self.file[:2] / self.file / "data"
        descriptor = os.open(path, os.O_RDWR)  # the store's files are read-only to all but root
        try:
            for offset in offsets:
                byte = os.pread(descriptor, 1, offset)
                os.pwrite(descriptor, bytes([byte[0] ^ 0x10]), offset)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def wait_until_mended(self):
        self.wait_for("the lost piece to be fetched again",
                      lambda: self.three["n2"].json("status", "m/r:1", "--explain")["state"],
                      lambda state: state == "complete", 30)
        self.assert_whole(self.three["n2"], "m/r:1", self.dir)

    def find_and_mend(self, pieces):
        found = self.three["n2"].run("verify", "m/r:1", check=False)
        self.assertNotEqual(found.returncode, 0)
        self.assertIn("w.safetensors", found.stdout + found.stderr)
        self.assertRegex(found.stdout + found.stderr, rf"\b{pieces}\b")
        self.wait_until_mended()

    def test_verify_finds_it_in_a_running_agent_and_fetches_the_pieces_again(self):
        before = descriptor_counts(self.three["n2"])
        received = 'shoal_agent_received_bytes_total{source="peer"}'
        had = self.three["n2"].metrics()[received]
        self.rot(100, 9 * _MB)
        self.find_and_mend(2)
        fetched = self.three["n2"].metrics()[received] - had
        self.assertLessEqual(fetched, 2 * 65_536, "only what was lost")
        self.assert_no_leak(self.three["n2"], before)

    def test_verify_finds_it_after_a_restart(self):
        self.three["n2"].process.stop()
        self.rot(5 * _MB)
        self.three["n2"].start().wait_ready()
        self.find_and_mend(1)

    def test_the_background_check_finds_it_and_fetches_it_again(self):
        self.three["n2"].process.stop()
        self.rot(7 * _MB)
        self.three["n2"].start("--scrub-rate", "1Gbit/s", "--scrub-pause", "1s").wait_ready()
        self.wait_for("the check", self.three["n2"].metrics,
                      lambda m: m.get("shoal_agent_scrub_bad_pieces_total", 0) == 1, 20)
        self.assertIn("the disk may be failing", self.three["n2"].log())
        self.wait_until_mended()

    def test_a_receiver_does_not_take_it_names_the_sender_and_has_it_from_others(self):
        # In each piece, for n3 has any of them from n1 or from n2. n1 alone takes 6 s: n2 is asked.
        self.rot(*range(0, 12 * _MB, 65_536))
        self.three["n1"].process.stop()
        self.three["n1"].start("--upload-limit", "16Mbit/s").wait_ready()
        self.three["n3"].run("prefetch", "m/r:1", "--nodes", "n3", "--wait", "--timeout", "60s")
        self.assert_whole(self.three["n3"], "m/r:1", self.dir)
        lines = [line for line in self.three["n3"].log().splitlines() if "cut off" in line]
        self.assertTrue(lines and all("peer=n2" in line for line in lines), lines)
        self.assertEqual(self.three["n3"].metrics()["shoal_agent_banned_peers_total"], 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
