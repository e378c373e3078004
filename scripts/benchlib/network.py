"""Nodes in network namespaces, each behind a link of a given rate, joined by a bridge.

The bridge lives in a namespace of its own, so nothing of the machine's network is touched or reachable.
Needs root.
"""

import json
import os
import re
import subprocess

from benchlib.report import BenchFailure, parse_rate

_NETNS = "/run/netns"

# The wires are simulated by the processors that the nodes need too: so what crosses them does it in large
# units, as between network cards that cut packets themselves. BBR sends in many small bursts, each a timer
# interrupt; Reno, which Debian's CUBIC equals at these delays, is the other one that a namespace may choose.
_TCP = {"tcp_congestion_control": "reno", "tcp_min_tso_segs": 32}


def _run(*words):
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchFailure(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _namespaces():
    return os.listdir(_NETNS) if os.path.isdir(_NETNS) else []


class Node:
    """One namespace with one interface, eth0."""

    def __init__(self, name, namespace, address):
        self.name = name
        self.namespace = namespace
        self.address = address

    def wrap(self, argv):
        """The command line that runs `argv` in this node."""
        return ["ip", "netns", "exec", self.namespace, *argv]

    def run(self, *argv, timeout=60):
        """Runs a command in this node; its output, or BenchFailure."""
        done = subprocess.run(self.wrap(argv), capture_output=True, text=True, timeout=timeout,
                              check=False)
        if done.returncode != 0:
            raise BenchFailure(f"{self.name}: {' '.join(argv)}: {done.stderr.strip()}")
        return done.stdout

    def accepts(self, host, port):
        """Whether a TCP connection from this node is accepted there."""
        probe = f"exec 3<>/dev/tcp/{host}/{port}"
        return subprocess.run(self.wrap(["timeout", "1", "bash", "-c", probe]), check=False,
                              stderr=subprocess.DEVNULL).returncode == 0

    def sent_bytes(self):
        """Bytes that left this node, with all headers."""
        return self._statistics()["tx"]["bytes"]

    def received_bytes(self):
        return self._statistics()["rx"]["bytes"]

    def _statistics(self):
        return json.loads(_run("ip", "-n", self.namespace, "-s", "-j", "link", "show",
                               "eth0"))[0]["stats64"]


class Network:
    """`with Network(["origin", "n0", "n1"], rate="200mbit") as net: net["n0"].address`

    rate is each link's, in each direction, and may be {node: rate}; None is without limit. Namespaces are
    called shoal-PID-NODE, so concurrent runs do not meet, and what a killed run has left behind is
    removed by the next one. Every program in the nodes must have ended before the block is left.
    """

    def __init__(self, nodes, rate=None, subnet="10.77"):
        self._names = list(nodes)
        self._rates = {n: rate.get(n) if isinstance(rate, dict) else rate for n in self._names}
        self._subnet = subnet
        self._prefix = f"shoal-{os.getpid()}-"
        self._switch = self._prefix + "switch"
        self._nodes = {}

    def __getitem__(self, name):
        return self._nodes[name]

    def __iter__(self):
        return iter(self._nodes.values())

    def __enter__(self):
        if os.geteuid() != 0:
            raise BenchFailure("network namespaces need root")
        for name in self._names:
            if not re.fullmatch(r"[a-z][a-z0-9-]{0,11}", name) or name == "switch":
                raise BenchFailure(f"'{name}' is not a node name: at most 12 of a-z 0-9 -")
        self._sweep()
        try:
            _run("ip", "netns", "add", self._switch)
            _run("ip", "-n", self._switch, "link", "add", "br0", "type", "bridge")
            _run("ip", "-n", self._switch, "link", "set", "br0", "up")
            self._bypass_packet_filter()
            for index, name in enumerate(self._names):
                self._add(name, index + 1)
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_):
        self._remove()

    def _bypass_packet_filter(self):
        """A switch filters nothing: where the kernel shows bridged packets to iptables, it costs time."""
        path = "/proc/sys/net/bridge/bridge-nf-call-iptables"
        _run("ip", "netns", "exec", self._switch, "sh", "-c",
             f"if [ -e {path} ]; then echo 0 > {path}; fi")

    def _add(self, name, number):
        namespace = self._prefix + name
        port = f"p-{name}"
        node = Node(name, namespace, f"{self._subnet}.{number // 250}.{number % 250 + 1}")
        _run("ip", "netns", "add", namespace)
        _run("ip", "-n", namespace, "link", "add", "eth0", "type", "veth", "peer", "name", port,
             "netns", self._switch)
        _run("ip", "-n", namespace, "addr", "add", f"{node.address}/16", "dev", "eth0")
        _run("ip", "-n", namespace, "link", "set", "lo", "up")
        _run("ip", "-n", namespace, "link", "set", "eth0", "up")
        _run("ip", "-n", self._switch, "link", "set", port, "master", "br0", "up")
        for setting, value in _TCP.items():
            node.run("sh", "-c", f"echo {value} > /proc/sys/net/ipv4/{setting}")
        self._nodes[name] = node
        self.set_rate(name, self._rates[name])

    def set_rate(self, name, rate):
        """Gives a node's link another rate, also while it is used. None takes the limit away."""
        # What leaves at eth0 is the node's upload; what leaves the switch towards it, its download.
        for namespace, device in ((self._nodes[name].namespace, "eth0"),
                                  (self._switch, f"p-{name}")):
            tc = ["tc", "-n", namespace]
            subprocess.run([*tc, "qdisc", "del", "dev", device, "root"], check=False,
                           capture_output=True)
            if rate is None:
                continue
            bits = int(parse_rate(rate) * 8)
            # 4 ms of the rate, at least one GSO packet: short bursts, few timer interrupts.
            burst = max(65536, bits // 8 // 250)
            # 50 ms of queue: TCP fills the link, and a full queue drops instead of growing without end.
            queue = max(100, bits // 8 // 20 // 1500)
            _run(*tc, "qdisc", "add", "dev", device, "root", "handle", "1:", "htb", "default", "1")
            _run(*tc, "class", "add", "dev", device, "parent", "1:", "classid", "1:1", "htb", "rate",
                 f"{bits}bit", "ceil", f"{bits}bit", "burst", str(burst), "cburst", str(burst),
                 "quantum", "60000")
            _run(*tc, "qdisc", "add", "dev", device, "parent", "1:1", "pfifo", "limit", str(queue))

    def set_up(self, name, up):
        """Pulls a node's cable, or plugs it in."""
        _run("ip", "-n", self._switch, "link", "set", f"p-{name}", "up" if up else "down")

    def _remove(self):
        for namespace in _namespaces():
            if namespace.startswith(self._prefix):
                subprocess.run(["ip", "netns", "del", namespace], check=False)
        self._nodes.clear()

    @staticmethod
    def _sweep():
        """Removes what runs left that were killed: their process id is in the name."""
        for namespace in _namespaces():
            match = re.match(r"shoal-(\d+)-", namespace)
            if match and not os.path.exists(f"/proc/{match.group(1)}"):
                subprocess.run(["ip", "netns", "del", namespace], check=False)
