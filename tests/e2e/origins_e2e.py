#!/usr/bin/env python3
"""Origins on bad days: what the agents say of them, and that they go on when the origin does."""

import os
import time
import unittest

from e2e_case import Certificates, FleetCase, descriptor_counts
from loopback_server import LoopbackServer
from sick_origin import SickOrigin

_SIZE = 6_000_000
_PATH = "/model/w.safetensors"


class OriginTest(FleetCase):
    def setUp(self):
        super().setUp()
        self.model_dir = self.model({"w.safetensors": _SIZE})
        self.data = (self.model_dir / "w.safetensors").read_bytes()
        self.origin = self.stack.enter_context(SickOrigin({_PATH: self.data}))
        self.two = self.fleet(2, "--origin-allow", "127.0.0.1")
        self.two["n1"].run("publish", self.model_dir, "--as", "m/o:1", "--origin",
                           f"{self.origin.url}/model/", "--no-store")
        self.before = {name: descriptor_counts(a) for name, a in self.two.agents.items()}

    def order(self):
        return self.two["n1"].json("prefetch", "m/o:1")["id"]

    def explained(self, node="n2"):
        return self.two[node].run("status", "m/o:1", "--explain", check=False).stdout

    def wait_until_told(self, text, timeout=20):
        """`status --explain` on the nodes, and the tracker's word on laggards, give the reason."""
        self.wait_for(f"--explain to say '{text}'",
                      lambda: self.explained("n1") + self.explained("n2"),
                      lambda said: text in said, timeout)
        self.wait_for(f"the tracker to be told '{text}'",
                      lambda: [self.progress(self.two, "m/o:1", n)["waiting_for"]
                               for n in ("n1", "n2")],
                      lambda told: any(text in one for one in told), timeout)

    def wait_until_whole(self, timeout=45):
        for node in ("n1", "n2"):
            self.wait_for(f"{node} to be complete",
                          lambda: self.progress(self.two, "m/o:1", node),
                          lambda now: now["state"] == "complete", timeout)
            self.assert_whole(self.two[node], "m/o:1", self.model_dir)
            # A connection for each of the 8 origin threads is kept for a while, and two for each
            # direction between the nodes.
            self.assert_no_leak(self.two[node], self.before[node], connections=16)

    def sick_then_well(self, reason, heal):
        self.order()
        self.wait_until_told(reason)
        heal()
        self.wait_until_whole()

    def test_403_is_told_and_the_download_goes_on_when_access_is_given(self):
        self.origin.status = (403, {})
        self.sick_then_well("answered 403: this node has no access to it",
                            lambda: setattr(self.origin, "status", None))

    def test_404_is_told_and_the_download_goes_on_when_the_file_is_there(self):
        self.origin.status = (404, {})
        self.sick_then_well("answered 404", lambda: setattr(self.origin, "status", None))

    def test_500_is_told_and_survived(self):
        self.origin.status = (500, {})
        self.sick_then_well("answered 500", lambda: setattr(self.origin, "status", None))

    def test_429_is_not_asked_again_before_its_time(self):
        self.origin.status = (429, {"Retry-After": "6"})
        self.order()
        self.wait_until_told("answered 429")
        first = self.origin.requests[0][0]
        asked_early = sum(1 for at, _ in self.origin.requests if at < first + 5)
        # Each of the nodes may have had a few reads under way when the first refusal came.
        self.assertLessEqual(asked_early, 16, self.origin.requests)
        self.origin.status = None
        self.wait_until_whole()

    def test_an_origin_that_ignores_ranges_is_told(self):
        self.origin.ignore_range = True
        self.sick_then_well("does not serve ranges of this file",
                            lambda: setattr(self.origin, "ignore_range", False))

    def test_resets_half_way_lose_no_verified_byte(self):
        self.origin.reset_after = 700_000
        self.order()
        self.wait_until_whole()
        # Each piece is read about once: what came before a reset is kept, but for a piece's part.
        self.assertLess(self.origin.sent, 2 * _SIZE)

    def test_a_silent_origin_is_told_and_resumed(self):
        self.origin.silent = True
        self.sick_then_well("sends nothing", lambda: setattr(self.origin, "silent", False))

    def test_connections_that_the_origin_closes_are_closed_here_too(self):
        self.order()
        self.wait_until_whole()
        self.origin.close_connections()
        for node in ("n1", "n2"):
            self.assert_no_leak(self.two[node], self.before[node], connections=6, timeout=25)

    def test_a_slow_origin_is_waited_for(self):
        self.origin.bytes_per_s = 600_000
        begin = time.monotonic()
        self.order()
        self.wait_until_whole()
        self.assertGreater(time.monotonic() - begin, 0.5)
        self.assertLess(self.origin.sent, 1.5 * _SIZE)

    def test_a_file_that_changes_half_way_is_told_never_mixed_in_and_read_when_put_back(self):
        self.origin.bytes_per_s = 300_000
        self.order()
        self.wait_for("some bytes", lambda: self.origin.sent, lambda sent: sent > 1_000_000, 20)
        other = bytes(reversed(self.data))
        self.origin.replace(_PATH, other, change=1)
        self.origin.bytes_per_s = None
        self.wait_until_told("the file")
        for node in ("n1", "n2"):
            self.two[node].run("verify", "m/o:1", check=False)
            self.assertNotIn("bad pieces", self.two[node].log())
        # As an operator restores a file: the same bytes, another modification time, another ETag.
        self.origin.replace(_PATH, self.data, change=2)
        self.wait_until_whole(60)

    def test_of_a_file_that_was_replaced_after_its_publication_no_byte_is_asked_for(self):
        self.two["n1"].run("publish", f"{self.origin.url}{_PATH}", "--as", "m/o:2", "--no-store",
                           "--origin-nodes", "all")
        published = self.origin.files[_PATH][1]
        asked = len(self.origin.conditions)
        # Half of it is as it was: its pieces would pass.
        self.origin.replace(_PATH, self.data[:_SIZE // 2] + os.urandom(_SIZE // 2), change=1)
        self.two["n1"].run("prefetch", "m/o:2", "--nodes", "n2")
        self.wait_for("the change to be told",
                      lambda: self.two["n2"].run("status", "m/o:2", "--explain", check=False).stdout,
                      lambda said: "the origin changed since it was published: publish it again, or "
                                   "put back what was there (origin 127.0.0.1 answered 412" in said,
                      20)
        self.assertEqual(self.origin.conditions[asked], published)
        self.origin.replace(_PATH, self.data, change=2)
        self.wait_for("n2 to be complete", lambda: self.progress(self.two, "m/o:2", "n2"),
                      lambda now: now["state"] == "complete", 60)
        self.assert_whole(self.two["n2"], "m/o:2", self.model_dir)

    def test_a_file_of_another_size_is_told(self):
        self.origin.replace(_PATH, self.data[:-5], change=1)
        self.sick_then_well(f"has {_SIZE - 5} bytes, the blob {_SIZE}",
                            lambda: self.origin.replace(_PATH, self.data, change=2))

    def test_wrong_bytes_of_an_origin_without_etags_are_never_stored(self):
        self.origin.no_etag = True
        wrong = bytearray(self.data)
        wrong[_SIZE // 2] ^= 1
        self.origin.replace(_PATH, bytes(wrong), change=0)
        self.order()
        self.wait_until_told("hash")
        self.origin.replace(_PATH, self.data, change=0)
        self.wait_until_whole(60)



class RedirectTest(FleetCase):
    """Where an origin sends its readers instead, and where they do not go."""

    def setUp(self):
        super().setUp()
        self.origin = self.stack.enter_context(SickOrigin({_PATH: os.urandom(300_000)}))
        self.pki = Certificates(self.work / "pki")
        self.pki.issue("tracker")
        self.location = ""
        self.front = self.stack.enter_context(LoopbackServer(
            lambda request: request.reply(302, {"Location": self.location}),
            certificate=(self.pki.directory / "tracker.crt", self.pki.directory / "tracker.key")))
        self.one = self.fleet(1, "--origin-allow", "127.0.0.1", "--origin-ca",
                              self.pki.directory / "ca.crt")["n1"]

    def refused(self):
        done = self.one.run("publish", f"https://127.0.0.1:{self.front.port}/w.bin", "--as", "m/r:1",
                            check=False)
        self.assertNotEqual(done.returncode, 0)
        return done.stderr

    def test_from_tls_to_plain_text(self):
        self.location = f"{self.origin.url}{_PATH}"
        self.assertIn("redirects from https to", self.refused())
        self.assertFalse(self.origin.requests)

    def test_to_a_file_of_the_node(self):
        self.location = "file:///etc/passwd"
        self.assertIn("file:///etc/passwd", self.refused())

    def test_to_the_metadata_service(self):
        self.location = "https://169.254.169.254/latest/meta-data/"
        self.assertIn("add '169.254.169.254' to origin-allow", self.refused())

    def test_to_a_host_that_is_not_listed(self):
        self.location = "https://elsewhere.example/w.bin"
        self.assertIn("elsewhere.example", self.refused())


if __name__ == "__main__":
    unittest.main(verbosity=2)
