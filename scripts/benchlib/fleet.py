"""A fleet of real programs: a tracker and agents, started, asked and stopped by a test or benchmark."""

import datetime
import http.client
import json
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
        self.directory = fleet.directory / name
        self.runtime = fleet.runtime / name
        self.socket = fleet.runtime / f"{name}.sock"
        self.process = None

    def start(self, *more, advertise=True):
        """Starts, or starts again. The store stays from one life to the next."""
        address = f"{self.host}:{self.lane}"
        argv = [
            BIN / "shoal-agent", "--tracker", self.fleet.url, "--node-id", self.name,
            *self.fleet.trust_flags(self.name),
            "--store", self.directory, "--runtime", self.runtime, "--socket", self.socket,
            "--lane-listen", address, *(["--advertise", address] if advertise else []),
            "--admin-listen", f"{self.host}:{self.admin}", "--free-space-floor", "1",
            *self.fleet.agent_flags, *more,
        ]
        self.process = self.fleet.programs.start(
            f"{self.name}-{time.monotonic_ns()}", [str(word) for word in argv], node=self.node)
        return self

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

    def run(self, *words, timeout=120, check=True):
        """The shoal command against this agent."""
        return subprocess.run([str(BIN / "shoal"), "--agent", str(self.socket), *map(str, words)],
                              capture_output=True, text=True, timeout=timeout, check=check)

    def json(self, *words, timeout=120, check=True):
        """The JSON object that the command prints as its last line."""
        return json.loads(self.run("--json", *words, timeout=timeout, check=check)
                          .stdout.strip().splitlines()[-1])

    def metrics(self):
        """All samples of /metrics by name and labels. Only without a network namespace."""
        with urllib.request.urlopen(f"http://{self.host}:{self.admin}/metrics", timeout=5) as page:
            lines = page.read().decode().splitlines()
        return {name: float(value) for name, value in
                (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))}


class Fleet:
    """A tracker and its agents on loopback or in network namespaces.

    `programs` is a Supervisor, which stops everything. `tracker_node` (a Node or None) and the values
    of `agents` (see Agent) say where each runs. With `tls` they have certificates of a CA
    made here, else all speak plain HTTP.
    """

    def __init__(self, programs, directory, runtime, agents, tracker_node=None, agent_flags=(),
                 tls=False):
        self.programs = programs
        self.directory = Path(directory)
        self.runtime = Path(runtime)
        self.runtime.mkdir(parents=True, exist_ok=True)
        self.agent_flags = agent_flags
        self.tracker_node = tracker_node
        self.tracker_host = tracker_node.address if tracker_node else "127.0.0.1"
        self.tracker_port, self.tracker_admin = (6969, 6968) if tracker_node else free_ports(2)
        self.url = f"{'https' if tls else 'http'}://{self.tracker_host}:{self.tracker_port}"
        self._pki = self.directory / "pki" if tls else None
        if tls:
            self._make_certificates(agents)
        self.tracker = None
        self.agents = {
            name: Agent(self, name, where) for name, where in agents.items()
        }

    def __getitem__(self, name):
        return self.agents[name]

    def _make_certificates(self, agents):
        if (self._pki / "ca.crt").exists():  # an earlier fleet in this directory made them
            return
        for words in (["ca"], ["tracker", "--names", self.tracker_host],
                      *(["node", name] for name in agents)):
            subprocess.run([BIN / "shoal", "cert", *words, "--out", self._pki, "--quiet"],
                           check=True, capture_output=True)

    def trust_flags(self, name):
        """The flags by which `name` ("tracker" or an agent) trusts and is trusted."""
        if not self._pki:
            return ["--insecure"]
        return ["--tls-cert", self._pki / f"{name}.crt", "--tls-key", self._pki / f"{name}.key",
                "--tls-ca", self._pki / "ca.crt"]

    def start_tracker(self):
        self.tracker = self.programs.start(
            f"tracker-{time.monotonic_ns()}",
            [str(BIN / "shoal-tracker"), *self.trust_flags("tracker"),
             "--listen", f"{self.tracker_host}:{self.tracker_port}",
             "--admin-listen", f"{self.tracker_host}:{self.tracker_admin}",
             "--data", str(self.directory / "tracker")], node=self.tracker_node)
        self.tracker.wait_for_port(self.tracker_port, self.tracker_host, node=self.tracker_node)

    def wait_tracker_ready(self, timeout=15):
        """Until the tracker grants leases, which it does not in its first heartbeat."""
        probe = ["curl", "-sf", "-o", "/dev/null",
                 f"http://{self.tracker_host}:{self.tracker_admin}/readyz"]
        node = self.tracker_node
        wait_until("the tracker to be ready", lambda: subprocess.run(
            node.wrap(probe) if node else probe, check=False).returncode == 0, timeout, 0.1)

    def start(self):
        self.start_tracker()
        for agent in self.agents.values():
            agent.start()
        for agent in self.agents.values():
            agent.wait_ready()
        return self
