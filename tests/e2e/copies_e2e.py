#!/usr/bin/env python3
"""Stores that are too small: what nobody could bring back stays, everything else makes room."""

import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
import threading
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "scripts"))
from benchlib import Nginx, Supervisor, free_ports, wait_until  # noqa: E402
from benchlib.fleet import Fleet  # noqa: E402

MB = 1_000_000


class CopiesTest(unittest.TestCase):
    def setUp(self):
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.work = Path(tempfile.mkdtemp(prefix="shoal-e2e-"))
        self.work.chmod(0o755)  # nginx reads it as another user
        self.runtime = Path(tempfile.mkdtemp(prefix="shoal-e2e-", dir="/dev/shm"))
        self.stack.callback(shutil.rmtree, self.runtime, True)
        self.stack.callback(shutil.rmtree, self.work, True)
        self.programs = self.stack.enter_context(Supervisor(self.work / "logs"))

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


if __name__ == "__main__":
    unittest.main(verbosity=2)
