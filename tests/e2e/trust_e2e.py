#!/usr/bin/env python3
"""Certificates that are expired, foreign or another's: both sides say so; new ones need no restart."""

import re
import shutil
import ssl
import socket
import unittest

from e2e_case import Certificates, Fleet, FleetCase, descriptor_counts
from fake_clock import FakeClock

_DAY = 24 * 3600


class TrustCase(FleetCase):
    def setUp(self):
        super().setUp()
        self.tls = Certificates(self.work / "certificates")

    def tracker_error(self, agent):
        status = agent.json("status", check=False)
        return status["tracker"]["error"] if not status["tracker"]["connected"] else ""

    def wait_for_error(self, agent, *texts):
        for text in texts:
            self.wait_for(f"the agent to say '{text}'", lambda: self.tracker_error(agent),
                          lambda error: text in error, 20)


class ForeignCertificateTest(TrustCase):
    def setUp(self):
        super().setUp()
        self.home = self.fleet(1, tls=self.tls)

    def stranger(self, tls, *flags):
        """An agent n2 that calls the fleet's tracker with other certificates."""
        other = Fleet(self.programs, self.work / "other", self.runtime / "other", {"n2": None},
                      agent_flags=flags, tls=tls)
        other.directory.mkdir(exist_ok=True)
        other.url = self.home.url
        agent = other["n2"].start()
        self.wait_for("its socket", agent.socket.exists,
                      lambda there: there or not agent.process.running(), 10)
        return agent

    def assert_not_a_member(self):
        nodes = [node["node"] for node in self.home["n1"].json("nodes")["nodes"]]
        self.assertEqual(nodes, ["n1"])

    def test_an_agent_of_another_ca_does_not_trust_the_tracker_and_says_why(self):
        agent = self.stranger(Certificates(self.work / "foreign"))
        self.wait_for_error(agent, "certificate of the other side refused")
        self.assertRegex(self.tracker_error(agent), "self-signed certificate|local issuer")
        self.assert_not_a_member()

    def test_a_certificate_of_another_ca_is_refused_and_both_sides_say_so(self):
        foreign = Certificates(self.work / "foreign")
        foreign.issue("n2")
        # It trusts both, so that it is the tracker who refuses.
        with open(foreign.directory / "ca.crt", "a", encoding="ascii") as bundle:
            bundle.write((self.tls.directory / "ca.crt").read_text(encoding="ascii"))
        before = len(self.home["n1"].descriptors())
        agent = self.stranger(foreign)
        self.wait_for_error(agent, "our certificate was refused by the other side")
        self.wait_for_log(self.home.tracker, "certificate of the other side refused")
        # A peer is refused by an agent in the same way, and named by its address.
        with socket.create_connection(("127.0.0.1", self.home["n1"].lane), timeout=10) as plain:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.load_cert_chain(foreign.directory / "n2.crt", foreign.directory / "n2.key")
            with self.assertRaises((ssl.SSLError, ConnectionError)):
                with context.wrap_socket(plain) as stream:
                    stream.sendall(b"GET /v1/identity HTTP/1.1\r\nHost: x\r\n\r\n")
                    if not stream.recv(100):
                        raise ConnectionError("closed")
        self.wait_for_log(self.home["n1"].process, "lane connection refused")
        self.assertIn("certificate of the other side refused", self.home["n1"].log())
        self.assertLessEqual(len(self.home["n1"].descriptors()), before + 4)
        self.assert_not_a_member()

    def test_a_certificate_that_the_own_ca_did_not_sign_is_seen_at_the_start(self):
        foreign = Certificates(self.work / "foreign")
        foreign.issue("n2")
        shutil.copy(self.tls.directory / "ca.crt", foreign.directory / "ca.crt")
        agent = self.stranger(foreign)
        self.assertNotEqual(agent.process.wait(10), 0)
        self.assertIn("n2.crt: not signed by the CA in", agent.log())

    def test_a_certificate_of_another_node_is_refused_by_both_names(self):
        self.tls.issue("n9")
        borrowed = self.work / "borrowed"
        borrowed.mkdir()
        for there, here in (("n9.crt", "n2.crt"), ("n9.key", "n2.key"), ("ca.crt", "ca.crt")):
            shutil.copy(self.tls.directory / there, borrowed / here)
        agent = self.stranger(Certificates(borrowed, new_ca=False))
        said = self.wait_for(
            "the reason", lambda: agent.log() if not agent.process.running()
            else self.tracker_error(agent), lambda text: "n9" in text and "n2" in text, 20)
        self.assertRegex(said, r"n2\.crt is for 'shoal://node/n9', not for node-id n2")
        self.assert_not_a_member()


class ExpiredCertificateTest(TrustCase):
    """n2's certificate lasts a day; the clock that all programs of the fleet see can be stepped."""

    def setUp(self):
        super().setUp()
        self.clock = FakeClock(self.work / "clock")
        self.tls.issue("n2", days=1)
        self.two = Fleet(self.programs, self.work, self.runtime, {"n1": None, "n2": None},
                         tls=self.tls)
        self.two.start_tracker(env=self.clock.env())
        for agent in self.two.agents.values():
            agent.start(env=self.clock.env())
        for agent in self.two.agents.values():
            agent.wait_ready()

    def test_an_expired_certificate_is_told_on_both_sides_and_a_new_one_taken_without_restart(self):
        n2 = self.two["n2"]
        self.clock.step_to(2 * _DAY)
        self.two.tracker.kill()  # connections that stand are not judged again: these are new ones
        self.two.start_tracker(env=self.clock.env())
        self.wait_for_error(n2, "our certificate was refused by the other side", "expired")
        self.wait_for_log(self.two.tracker, "certificate has expired")
        self.two["n1"].wait_ready()
        life = n2.process.pid
        (self.tls.directory / "n2.crt").unlink()
        (self.tls.directory / "n2.key").unlink()
        self.tls.issue("n2", env=self.clock.env())
        n2.wait_ready()
        self.assertEqual(n2.process.pid, life)
        self.assertIn("certificates reloaded", n2.log())

    def test_an_expired_certificate_is_refused_at_the_start(self):
        n2 = self.two["n2"]
        n2.process.stop()
        self.clock.step_to(2 * _DAY)
        n2.start(env=self.clock.env())
        self.assertNotEqual(n2.process.wait(20), 0)
        self.assertRegex(n2.log(), r"n2\.crt: expired on \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC")


class RotationTest(TrustCase):
    def shown_certificate(self, agent):
        """What the agent's lane shows to whoever connects."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", agent.lane), timeout=10) as plain:
            with context.wrap_socket(plain) as stream:
                return ssl.DER_cert_to_PEM_cert(stream.getpeercert(True)).strip()

    def on_disk(self, name):
        text = (self.tls.directory / f"{name}.crt").read_text(encoding="ascii")
        return re.search("-----BEGIN CERT.*?END CERTIFICATE-----", text, re.S).group(0)

    def test_replaced_files_are_taken_while_a_download_runs_and_it_goes_on(self):
        fleet = self.fleet(2, "--upload-limit", "30Mbit/s", tls=self.tls)
        model = self.model({"w.safetensors": 24_000_000})
        fleet["n1"].run("publish", model, "--as", "m/t:1")
        before = descriptor_counts(fleet["n2"])
        fleet["n1"].run("prefetch", "m/t:1", "--nodes", "n2")
        self.wait_for("some bytes", lambda: self.progress(fleet, "m/t:1", "n2")["bytes_done"],
                      lambda done: done > 2_000_000, 20)
        old = self.shown_certificate(fleet["n1"])
        for name in ("n1", "n2", "tracker"):
            self.tls.reissue(name)
        for name in ("n1", "n2"):
            self.wait_for_log(fleet[name].process, "certificates reloaded")
            self.wait_for("the new certificate", lambda: self.shown_certificate(fleet[name]),
                          lambda shown: shown == self.on_disk(name), 10)
        self.assertNotEqual(old, self.shown_certificate(fleet["n1"]))
        self.assertLess(self.progress(fleet, "m/t:1", "n2")["bytes_done"], 24_000_000,
                        "it ended before the files were replaced: nothing was tested")
        self.wait_for("the rest", lambda: self.progress(fleet, "m/t:1", "n2"),
                      lambda now: now["state"] == "complete", 30)
        self.assert_whole(fleet["n2"], "m/t:1", model)
        self.assertNotIn("transfer failed", fleet["n2"].log())
        self.assert_no_leak(fleet["n2"], before)

    def test_a_key_that_does_not_fit_changes_nothing_until_it_does(self):
        fleet = self.fleet(1, tls=self.tls)
        agent = fleet["n1"]
        old = self.shown_certificate(agent)
        key = (self.tls.directory / "n1.key").read_bytes()
        self.tls.reissue("n1")
        fresh = (self.tls.directory / "n1.key").read_bytes()
        (self.tls.directory / "n1.key").write_bytes(key)
        self.wait_for_log(agent.process, "does not belong to")
        self.assertEqual(self.shown_certificate(agent), old)
        self.assertTrue(agent.json("status")["tracker"]["connected"])
        (self.tls.directory / "n1.key").write_bytes(fresh)
        self.wait_for("the new certificate", lambda: self.shown_certificate(agent),
                      lambda shown: shown == self.on_disk("n1"), 10)


if __name__ == "__main__":
    unittest.main(verbosity=2)
