"""A fleet of real programs: a tracker and agents, started, asked and stopped by a test or benchmark."""

import datetime
import http.client
import json
import os
import re
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

from benchlib.processes import free_ports, wait_until
from benchlib.report import BenchFailure

ROOT = Path(__file__).resolve().parent.parent.parent
BIN = ROOT / "build" / "release" / "bin"


def read_metrics(address):
    """All samples of an admin listener by name and labels."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as page:
        lines = page.read().decode().splitlines()
    return {name: float(value) for name, value in
            (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))}


class Certificates:
    """A cluster's CA in a directory, and certificates of its nodes and its tracker.

    hosts: addresses and names under which the programs are reached.
    """

    def __init__(self, directory, days=None, new_ca=True, hosts="127.0.0.1"):
        self.directory = Path(directory)
        self.hosts = hosts
        self.days = ["--days", str(days)] if days else []
        self.directory.mkdir(parents=True, exist_ok=True)
        if new_ca:
            self._make("ca")

    def _make(self, *words, env=None):
        subprocess.run([str(BIN / "shoal"), "cert", *map(str, words), "--out", str(self.directory)],
                       check=True, capture_output=True, text=True,
                       env={**os.environ, **(env or {})})

    def issue(self, name, days=None, env=None):
        """Makes NAME.crt and NAME.key; env: for the command that does it (a faked clock)."""
        what = ["tracker"] if name == "tracker" else ["node", name]
        valid = ["--days", str(days)] if days else self.days
        self._make(*what, "--names", self.hosts, *valid, env=env)

    def reissue(self, name):
        """Replaces both files, each in one step, as a certificate manager does."""
        fresh = Certificates(self.directory / f"fresh-{time.monotonic_ns()}", new_ca=False)
        for part in ("ca.crt", "ca.key"):
            (fresh.directory / part).symlink_to(self.directory / part)
        fresh.issue(name)
        for part in (f"{name}.crt", f"{name}.key"):
            os.rename(fresh.directory / part, self.directory / part)

    def flags(self, name):
        """Settings for the program that is `name` ("tracker" or a node's id); made when missing."""
        if not (self.directory / f"{name}.crt").exists():
            self.issue(name)
        return ["--tls-cert", self.directory / f"{name}.crt",
                "--tls-key", self.directory / f"{name}.key", "--tls-ca", self.directory / "ca.crt"]


class _LocalConnection(http.client.HTTPConnection):
    """HTTP on a unix socket."""

    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self._path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Agent:
    """One shoal-agent. `where` is a benchlib Node (a network namespace), a loopback address of its
    own, or None for free ports of 127.0.0.1."""

    def __init__(self, fleet, name, where):
        self.fleet = fleet
        self.name = name
        self.node = None if isinstance(where, str) else where
        self.host = where if isinstance(where, str) else where.address if where else "127.0.0.1"
        self.lane, self.admin = (6970, 6971) if where else free_ports(2)
        self.mirror = None  # its OCI mirror's port; off unless open_mirror() was called
        self.directory = fleet.directory / name
        self.runtime = fleet.runtime / name
        self.socket = fleet.runtime / f"{name}.sock"
        self.process = None

    def start(self, *more, advertise=True, env=None, wrap=()):
        """Starts, or starts again. The store stays from one life to the next.

        env: more environment. wrap: words before the program's own (as of `setpriv` or `unshare`).
        """
        address = f"{self.host}:{self.lane}"
        trust = self.fleet.tls.flags(self.name) if self.fleet.tls else ["--insecure"]
        argv = [
            *wrap, BIN / "shoal-agent", *trust, "--tracker", self.fleet.url, "--node-id", self.name,
            "--store", self.directory, "--runtime", self.runtime, "--socket", self.socket,
            "--lane-listen", address, *(["--advertise", address] if advertise else []),
            "--admin-listen", f"{self.host}:{self.admin}", "--free-space-floor", "1",
            "--mirror-listen", f"127.0.0.1:{self.mirror}" if self.mirror else "off",
            *self.fleet.agent_flags, *more,
        ]
        self.process = self.fleet.programs.start(
            f"{self.name}-{time.monotonic_ns()}", [str(word) for word in argv], node=self.node,
            env=env)
        return self

    def open_mirror(self):
        """Before start(): with an OCI mirror on a free port."""
        self.mirror = free_ports(1)[0]

    def wait_ready(self, timeout=30):
        # By the local socket, which is reached from every network namespace.
        wait_until(f"{self.name} to be registered", lambda: self._connected(), timeout)
        return self

    def _connected(self):
        if not self.process.running():
            raise RuntimeError(f"{self.name} ended:\n{self.process.log_tail()}")
        try:
            return self.get("/v1/status")["tracker"]["connected"]
        except (OSError, http.client.HTTPException, ValueError, KeyError):
            return False

    def get(self, path, timeout=5):
        """The JSON answer to a GET on the agent's local socket: cheaper than running the command."""
        return self._local("GET", path, None, timeout)

    def post(self, path, message, timeout=5):
        """The JSON answer to a POST of a JSON message on the agent's local socket."""
        return self._local("POST", path, json.dumps(message), timeout)

    def _local(self, method, path, body, timeout):
        connection = _LocalConnection(self.socket, timeout)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        if response.status >= 300:
            raise BenchFailure(f"{self.name}: {method} {path}: {answer}")
        return answer

    def pull_ended(self, reference):
        """When its pull of `reference` was complete, in seconds since 1970; None while it is not.

        From its log: looking there costs the running agents nothing.
        """
        with open(self.process.log, encoding="utf-8", errors="replace") as log:
            for line in log:
                if " pull ended " not in line or f"reference={reference} " not in line:
                    continue
                state = re.search(r" state=(\S+)", line).group(1)
                if state != "complete":
                    raise BenchFailure(f"{self.name}: the pull of {reference} has {state}: {line}")
                moment = datetime.datetime.fromisoformat(line.split()[0].replace("Z", "+00:00"))
                return moment.timestamp()
        return None

    def command(self, *words):
        """The argument vector of the shoal command against this agent."""
        return [str(BIN / "shoal"), "--agent", str(self.socket), *map(str, words)]

    def run(self, *words, timeout=120, check=True):
        """Runs the shoal command against this agent."""
        return subprocess.run(self.command(*words), capture_output=True, text=True, timeout=timeout,
                              check=check)

    def log(self):
        """Everything that this life of the agent has logged."""
        return self.process.log_tail(1_000_000)

    def descriptors(self):
        """What the process has open: a dict from descriptor to what it is."""
        folder = f"/proc/{self.process.pid}/fd"
        found = {}
        for name in os.listdir(folder):
            try:
                found[int(name)] = os.readlink(f"{folder}/{name}")
            except FileNotFoundError:  # closed meanwhile
                pass
        return found

    def json(self, *words, timeout=120, check=True):
        """The JSON object that the command prints as its last line."""
        return json.loads(self.run("--json", *words, timeout=timeout, check=check)
                          .stdout.strip().splitlines()[-1])

    def metrics(self):
        """All samples of /metrics by name and labels. Only without a network namespace."""
        return read_metrics(f"{self.host}:{self.admin}")


class Fleet:
    """A tracker and its agents on loopback or in network namespaces.

    `programs` is a Supervisor, which stops everything. `tracker_node` (a Node or None) and the values
    of `agents` (see Agent) say where each runs. tls: Certificates; None: plain.
    """

    def __init__(self, programs, directory, runtime, agents, tracker_node=None, agent_flags=(),
                 tracker_flags=(), tls=None):
        self.programs = programs
        self.tls = tls
        self.directory = Path(directory)
        self.runtime = Path(runtime)
        self.runtime.mkdir(parents=True, exist_ok=True)
        self.agent_flags = agent_flags
        self.tracker_flags = tracker_flags
        self.tracker_node = tracker_node
        self.tracker_host = tracker_node.address if tracker_node else "127.0.0.1"
        self.tracker_port, self.tracker_admin = (6969, 6968) if tracker_node else free_ports(2)
        self.url = f"{'https' if tls else 'http'}://{self.tracker_host}:{self.tracker_port}"
        self.tracker = None
        self.agents = {
            name: Agent(self, name, where) for name, where in agents.items()
        }

    def __getitem__(self, name):
        return self.agents[name]

    def start_tracker(self, env=None):
        trust = self.tls.flags("tracker") if self.tls else ["--insecure"]
        self.tracker = self.programs.start(
            f"tracker-{time.monotonic_ns()}",
            [str(BIN / "shoal-tracker"), *map(str, trust),
             "--listen", f"{self.tracker_host}:{self.tracker_port}",
             "--admin-listen", f"{self.tracker_host}:{self.tracker_admin}",
             "--data", str(self.directory / "tracker"), *map(str, self.tracker_flags)],
            node=self.tracker_node, env=env)
        self.tracker.wait_for_port(self.tracker_port, self.tracker_host, node=self.tracker_node)

    def wait_tracker_ready(self, timeout=15):
        """Until the tracker grants leases, which it does not in its first heartbeat."""
        probe = ["curl", "-sf", "-o", "/dev/null",
                 f"http://{self.tracker_host}:{self.tracker_admin}/readyz"]
        node = self.tracker_node
        wait_until("the tracker to be ready", lambda: subprocess.run(
            node.wrap(probe) if node else probe, check=False).returncode == 0, timeout, 0.1)

    def tracker_metrics(self):
        return read_metrics(f"{self.tracker_host}:{self.tracker_admin}")

    def start(self):
        self.start_tracker()
        for agent in self.agents.values():
            agent.start()
        for agent in self.agents.values():
            agent.wait_ready()
        return self
