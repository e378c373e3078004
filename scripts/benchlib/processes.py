"""Programs of a benchmark: started, waited for, measured and ended by their process id."""

import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time

from benchlib.report import BenchFailure

_TICKS = os.sysconf("SC_CLK_TCK")
_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_PORTS = (10240, 32768)  # below the kernel's range for outgoing connections
_given = set()  # whose users may not have started yet


def _die_with_parent():
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _stat(pid):
    """(parent, user + system seconds of itself and of the children it has waited for), or None."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[1]), sum(int(f) for f in fields[11:15]) / _TICKS


def cpu_seconds(pid):
    """CPU seconds that a live process and all its descendants have used so far, to 10 ms."""
    stats = {int(name): _stat(int(name)) for name in os.listdir("/proc") if name.isdigit()}
    total, todo = 0.0, [pid]
    while todo:
        current = todo.pop()
        if stats.get(current):
            total += stats[current][1]
            todo.extend(p for p, s in stats.items() if s and s[0] == current)
    return total


def rss_anon(pid):
    """Bytes of anonymous memory that a live process holds (what it cannot give back by itself)."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    raise BenchFailure(f"process {pid} has no RssAnon: it has ended")


def free_ports(count=1, host="127.0.0.1"):
    """TCP ports that nobody listens on, none of them given before, and none that the kernel gives to an
    outgoing connection before their user has started."""
    ports = []
    left = [port for port in range(*_PORTS) if port not in _given]
    for port in random.sample(left, len(left)):
        if len(ports) == count:
            break
        with socket.socket() as s:
            try:
                s.bind((host, port))
            except OSError:
                continue
        ports.append(port)
    _given.update(ports)
    return ports


def wait_until(what, condition, timeout, interval=0.02):
    """Returns the first true value of condition(); fails after `timeout` seconds, naming `what`."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise BenchFailure(f"{what}: not within {timeout:g} s")
        time.sleep(interval)


class Process:
    """One program. Ends with this interpreter, even if that is killed. Made by Supervisor.start."""

    def __init__(self, name, argv, log, node=None, env=None, cwd=None):
        self.name = name
        self.log = log
        self._usage = None
        words = [str(word) for word in argv]
        with open(log, "ab") as output:
            try:
                self._popen = subprocess.Popen(
                    node.wrap(words) if node else words, stdin=subprocess.DEVNULL, stdout=output,
                    stderr=subprocess.STDOUT, cwd=cwd, env={**os.environ, **(env or {})},
                    preexec_fn=_die_with_parent)  # `ip netns exec` keeps both the pid and this
            except OSError as error:
                raise BenchFailure(f"cannot start {name}: {error}") from error
        self.pid = self._popen.pid

    def running(self):
        return self._reap(os.WNOHANG)

    def _reap(self, flags):
        """Whether it still runs; remembers what it cost when it has ended."""
        if self._popen.returncode is not None:
            return False
        pid, status, usage = os.wait4(self.pid, flags)
        if pid == 0:
            return True
        self._popen.returncode = os.waitstatus_to_exitcode(status)
        self._usage = usage
        return False

    @property
    def returncode(self):
        """As in subprocess; None while it runs."""
        self.running()
        return self._popen.returncode

    def cpu_seconds(self):
        """Of itself and its descendants, also after it has ended (then: of those it waited for)."""
        if self.running():
            return cpu_seconds(self.pid)
        return self._usage.ru_utime + self._usage.ru_stime

    def wait(self, timeout):
        """Its exit status; fails if it takes longer than `timeout` seconds."""
        wait_until(f"{self.name} (process {self.pid}) ends", lambda: not self.running(), timeout)
        return self._popen.returncode

    def check(self, timeout):
        """As wait(), and fails with the end of its log unless the status is 0."""
        if self.wait(timeout) != 0:
            raise BenchFailure(f"{self.name} ended with {self.returncode}:\n{self.log_tail()}")

    def wait_for_port(self, port, host="127.0.0.1", timeout=10, node=None):
        """Until it accepts connections; fails at once if it ends before."""
        def accepts():
            if not self.running():
                raise BenchFailure(f"{self.name} ended with {self.returncode}:\n{self.log_tail()}")
            if node:
                return node.accepts(host, port)
            with socket.socket() as s:
                s.settimeout(1)
                return s.connect_ex((host, port)) == 0
        wait_until(f"{self.name} listens on {host}:{port}", accepts, timeout)

    def stop(self, timeout=10):
        """Asks it to end, insists after `timeout` seconds. Returns its exit status."""
        if self.running():
            os.kill(self.pid, signal.SIGTERM)
            try:
                return self.wait(timeout)
            except BenchFailure:
                print(f"{self.name} does not end by itself: killed", file=sys.stderr)
        return self.kill()

    def kill(self):
        """As a power cut would. Returns its exit status."""
        if self.running():
            os.kill(self.pid, signal.SIGKILL)
            self._reap(0)
        return self._popen.returncode

    def log_tail(self, lines=20):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-lines:])


class Supervisor:
    """Owns the programs of one measurement: ends them in reverse order when the block is left."""

    def __init__(self, log_dir):
        self.log_dir = str(log_dir)
        self.processes = []
        os.makedirs(self.log_dir, exist_ok=True)

    def start(self, name, argv, node=None, env=None, cwd=None):
        """Starts a program, in the network namespace of `node` if given; its output goes to NAME.log."""
        process = Process(name, argv, os.path.join(self.log_dir, f"{name}.log"), node, env, cwd)
        self.processes.append(process)
        return process

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is not None and issubclass(kind, BenchFailure):
            for process in self.processes:
                if process.returncode not in (None, 0):
                    print(f"--- {process.name}, status {process.returncode}:\n"
                          f"{process.log_tail()}", file=sys.stderr)
        self.stop()

    def stop(self):
        """Ends everything: all are asked at once, then each gets 10 s."""
        for process in reversed(self.processes):
            if process.running():
                os.kill(process.pid, signal.SIGTERM)
        for process in reversed(self.processes):
            process.stop()
        self.processes.clear()
