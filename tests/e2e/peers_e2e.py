#!/usr/bin/env python3
"""Peers that lie, break the protocol or never finish: the others get the model, and say who it was."""

import hashlib
import socket
import struct
import time
import unittest

import hostile_peer
from e2e_case import FleetCase, descriptor_counts
from hostile_peer import HostilePeer

_SIZE = 12_000_000


class HostilePeerTest(FleetCase):
    """n1 has the model and is slow, n2 wants it, and a third offers all of it."""

    def meet(self, serve, have=None, size=_SIZE):
        fleet = self.fleet(2, "--upload-limit", "40Mbit/s")
        model = self.model({"w.safetensors": size})
        fleet["n1"].run("publish", model, "--as", "m/h:1")
        data = (model / "w.safetensors").read_bytes()
        blobs = {"sha256:" + hashlib.sha256(data).hexdigest(): data}
        before = {name: descriptor_counts(agent) for name, agent in fleet.agents.items()}
        with HostilePeer(fleet.url, "liar", blobs, serve, have) as liar:
            fleet["n2"].run("prefetch", "m/h:1", "--nodes", "n2", "--wait", "--timeout", "40s",
                            timeout=50)
            self.explained = fleet["n2"].log()
            if have is None:
                self.assertGreater(liar.asked, 0, "nobody asked the liar: nothing was tested")
        self.assert_whole(fleet["n2"], "m/h:1", model)
        for name, agent in fleet.agents.items():
            self.assert_no_leak(agent, before[name])
        return fleet

    def outcomes(self, fleet, outcome):
        name = f'shoal_agent_requests_total{{outcome="{outcome}",source="peer"}}'
        return fleet["n2"].metrics().get(name, 0)

    def assert_named(self, text):
        """The log names the liar and what it did."""
        lines = [line for line in self.explained.splitlines() if "liar" in line]
        self.assertTrue(any(text in line for line in lines), "\n".join(lines) or self.explained)

    def test_wrong_bytes_are_never_kept_and_their_sender_is_cut_off_and_named(self):
        fleet = self.meet(hostile_peer.wrong_bytes)
        self.assert_named("sent bad bytes and is cut off")
        self.assertEqual(fleet["n2"].metrics()["shoal_agent_banned_peers_total"], 1)
        self.wait_for("the tracker to hear of it", fleet.tracker_metrics,
                      lambda m: m.get("shoal_tracker_bad_bytes_reports_total", 0) >= 1, 10)
        self.wait_for_log(fleet.tracker, "liar")

    def test_a_short_body_is_asked_for_elsewhere(self):
        fleet = self.meet(hostile_peer.short_body)
        self.assert_named("bytes of a body missing")
        self.assertGreater(self.outcomes(fleet, "short"), 0)

    def test_a_garbage_header_is_no_answer(self):
        fleet = self.meet(hostile_peer.garbage_header)
        self.assert_named("peer liar")
        self.assertGreater(self.outcomes(fleet, "refused"), 0)

    def test_a_header_without_end_is_cut(self):
        fleet = self.meet(hostile_peer.endless_header)
        self.assert_named("peer liar")
        self.assertGreater(self.outcomes(fleet, "refused"), 0)

    def test_a_peer_that_never_answers_holds_nothing_up(self):
        begin = time.monotonic()
        fleet = self.meet(hostile_peer.never_answers, size=3 * _SIZE)
        # 7 s at the limit of n1; after 3 s a silent request is given to another.
        self.assertLess(time.monotonic() - begin, 35)
        self.assert_named("peer liar sends nothing")
        self.assertGreater(self.outcomes(fleet, "timeout"), 0)

    def test_a_200_to_a_range_is_refused(self):
        fleet = self.meet(hostile_peer.whole_blob)
        self.assert_named("answered 200 to a range")
        self.assertGreater(self.outcomes(fleet, "refused"), 0)

    def test_another_range_than_was_asked_is_refused(self):
        fleet = self.meet(hostile_peer.another_range)
        self.assert_named("answered with another range than was asked")
        self.assertGreater(self.outcomes(fleet, "refused"), 0)

    def test_a_promise_of_more_bytes_than_asked_is_refused(self):
        fleet = self.meet(hostile_peer.huge_length)
        self.assert_named("answered with another range than was asked")

    def test_an_endless_error_page_is_not_read(self):
        fleet = self.meet(hostile_peer.oversize_error)
        self.assert_named("answered with an oversize error")

    def test_a_have_message_of_garbage_makes_a_peer_useless_and_nothing_else(self):
        self.meet(hostile_peer.wrong_bytes, have=b"SHAV\x01\xff\xff\xff\xff" + b"\x00" * 64)
        self.assert_named("peer does not answer")


class HostileAskerTest(FleetCase):
    """Connections to an agent's lane that ask for much, or for nothing, and leave."""

    def setUp(self):
        super().setUp()
        self.fleet_of_one = self.fleet(1)
        self.agent = self.fleet_of_one["n1"]
        self.data_model = self.model({"w.safetensors": 8_000_000})
        self.agent.run("publish", self.data_model, "--as", "m/a:1")
        data = (self.data_model / "w.safetensors").read_bytes()
        self.blob = "sha256:" + hashlib.sha256(data).hexdigest()
        self.before = descriptor_counts(self.agent)

    def connect(self, count):
        sockets = [socket.create_connection(("127.0.0.1", self.agent.lane)) for _ in range(count)]
        self.wait_for("the connections to be taken", lambda: descriptor_counts(self.agent)["socket"],
                      lambda now: now >= self.before["socket"] + count, 10)
        return sockets

    def assert_serves(self):
        with socket.create_connection(("127.0.0.1", self.agent.lane), timeout=10) as sock:
            sock.sendall(f"GET /v1/blobs/{self.blob} HTTP/1.1\r\nHost: x\r\n"
                         "Range: bytes=0-99\r\n\r\n".encode())
            self.assertTrue(sock.recv(100).startswith(b"HTTP/1.1 206 "))

    def test_have_polls_whose_askers_have_gone_give_their_connections_back_at_once(self):
        key = self.blob.split(":")[1][:16]
        sockets = self.connect(100)
        for sock in sockets:
            sock.sendall(f"GET /v1/have?wait=30000&blobs={key}.0 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            version = struct.unpack_from("<Q", sock.recv(65_536).split(b"\r\n\r\n", 1)[1], 17)[0]
            sock.sendall(f"GET /v1/have?wait=30000&blobs={key}.{version} HTTP/1.1\r\n"
                         "Host: x\r\n\r\n".encode())
        for sock in sockets:
            sock.close()
        # A poll may wait 30 s; nobody does for an asker that is gone.
        self.assert_no_leak(self.agent, self.before, timeout=5)
        self.assert_serves()

    def test_half_requests_garbage_and_silence_are_given_up(self):
        sockets = self.connect(60)
        for i, sock in enumerate(sockets):
            if i % 3 == 0:
                sock.sendall(b"GET /v1/identity HTTP/1.1\r\nHos")  # and never the rest
            elif i % 3 == 1:
                sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 40 + b"\r\n\r\n")
        self.assert_serves()
        for sock in sockets:
            sock.close()
        self.assert_no_leak(self.agent, self.before)

    def test_askers_that_read_nothing_are_left_when_they_leave(self):
        sockets = self.connect(40)
        for sock in sockets:
            sock.sendall(f"GET /v1/blobs/{self.blob} HTTP/1.1\r\nHost: x\r\n"
                         "Range: bytes=0-7999999\r\n\r\n".encode())
        self.assert_serves_or_busy()
        for sock in sockets:
            sock.close()
        self.assert_no_leak(self.agent, self.before)
        self.assert_serves()

    def assert_serves_or_busy(self):
        with socket.create_connection(("127.0.0.1", self.agent.lane), timeout=10) as sock:
            sock.sendall(b"GET /v1/identity HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertTrue(sock.recv(100).startswith(b"HTTP/1.1 200 "))


if __name__ == "__main__":
    unittest.main(verbosity=2)
