"""What the end-to-end tests share: a fleet for each test, models, and looking at what is open."""

import contextlib
import os
import shutil
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "scripts"))
from benchlib import BenchFailure, Nginx, Supervisor, free_ports, wait_until  # noqa: E402
from benchlib.fleet import Certificates, Fleet  # noqa: E402

__all__ = ["BenchFailure", "Certificates", "Fleet", "FleetCase", "Nginx", "abandoned_connections",
           "descriptor_counts", "free_ports", "same", "wait_until", "write_model"]

_CLOSE_WAIT = "08"  # in /proc/net/tcp: the other side has closed, we have not


def write_model(directory, sizes):
    """Files of random bytes, by their relative paths."""
    directory.mkdir(parents=True)
    for name, size in sizes.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
    return directory


def same(a, b):
    """Whether two directories hold the same files."""
    files = sorted(p.relative_to(a) for p in a.rglob("*") if p.is_file())
    others = sorted(p.relative_to(b) for p in b.rglob("*") if p.is_file())
    return files == others and all((a / f).read_bytes() == (b / f).read_bytes() for f in files)


def abandoned_connections(agent):
    """How many connections of the agent the other side has closed and the agent has not."""
    ours = {target for target in agent.descriptors().values() if target.startswith("socket:")}
    with open(f"/proc/{agent.process.pid}/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return sum(1 for row in rows if row[3] == _CLOSE_WAIT and f"socket:[{row[9]}]" in ours)


def descriptor_counts(agent):
    sockets = sum(1 for target in agent.descriptors().values() if target.startswith("socket:"))
    return {"socket": sockets, "other": len(agent.descriptors()) - sockets}


class FleetCase(unittest.TestCase):
    """A test with folders and programs of its own, all gone when it ends."""

    def setUp(self):
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.work = Path(tempfile.mkdtemp(prefix="shoal-e2e-"))
        self.work.chmod(0o755)  # nginx reads it as another user
        self.runtime = Path(tempfile.mkdtemp(prefix="shoal-e2e-", dir="/dev/shm"))
        self.stack.callback(shutil.rmtree, self.runtime, True)
        self.stack.callback(shutil.rmtree, self.work, True)
        self.programs = self.stack.enter_context(Supervisor(self.work / "logs"))

    def fleet(self, count, *flags, tracker_flags=(), tls=None):
        """A tracker and the agents n1 … nCOUNT, registered. flags: of the agents."""
        names = {f"n{i}": None for i in range(1, count + 1)}
        fleet = Fleet(self.programs, self.work, self.runtime, names, agent_flags=flags,
                      tracker_flags=tracker_flags, tls=tls)
        return fleet.start()

    def model(self, sizes, name="model"):
        return write_model(self.work / name, sizes)

    def progress(self, fleet, reference, node, ask="n1"):
        """What the tracker knows of one node's part of a model."""
        status = fleet[ask].json("status", reference, check=False)
        nodes = {entry["node"]: entry for entry in status.get("nodes", [])}
        return nodes.get(node, {"bytes_done": 0, "waiting_for": "", "state": "absent",
                                "last_errors": []})

    def wait_for(self, what, value, holds, timeout):
        """Until holds(value()); returns that value. A failure shows the last one."""
        seen = []

        def look():
            seen[:] = [value()]
            return holds(seen[0])
        try:
            wait_until(what, look, timeout)
        except Exception as error:
            raise AssertionError(f"{error}; at last: {seen}") from error
        return seen[0]

    def wait_for_log(self, process, text, timeout=20):
        """Until a program's log has `text`."""
        try:
            wait_until(f"'{text}' in the log of {process.name}",
                       lambda: text in process.log_tail(1_000_000), timeout)
        except Exception as error:
            raise AssertionError(f"{error}:\n{process.log_tail(60)}") from error

    def assert_whole(self, agent, reference, model):
        """Every stored piece is right and what a user gets is the model."""
        out = self.work / f"out-{agent.name}-{time.monotonic_ns()}"
        agent.run("verify", reference)
        agent.run("pull", reference, "-o", out)
        self.assertTrue(same(model, out), agent.name)
        shutil.rmtree(out)

    def assert_no_leak(self, agent, before, connections=3, files=9, timeout=15):
        """The agent has about what descriptor_counts() said before, and no connection whose other
        side is gone. connections, files: how many more there may rightly be: connections are kept
        for the next use, blobs stay open, a thread opens what it waits with at its first work."""
        try:
            wait_until("descriptors to be given back",
                       lambda: self._fits(descriptor_counts(agent), before, connections, files)
                       and abandoned_connections(agent) == 0, timeout)
        except Exception as error:
            raise AssertionError(
                f"{agent.name} had {before}, has {descriptor_counts(agent)}, "
                f"{abandoned_connections(agent)} abandoned connections: "
                f"{agent.descriptors()}") from error

    @staticmethod
    def _fits(now, before, connections, files):
        return (now["socket"] <= before["socket"] + connections
                and now["other"] <= before["other"] + files)
