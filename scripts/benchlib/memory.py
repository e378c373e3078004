"""Files in memory to measure with, and memory that stays this machine's own meanwhile."""

import contextlib
import glob
import os
import shutil
import subprocess
import tempfile

from benchlib.report import BenchFailure

# Free pages of at least this order (2^N pages) are told to the hypervisor, which takes them away.
_ORDER = "/sys/module/page_reporting/parameters/page_reporting_order"
_ABOVE_ALL = "11"
_STEP = 64 << 20


def available_memory():
    """Bytes that programs could take now (proc(5): MemAvailable)."""
    with open("/proc/meminfo", encoding="ascii") as file:
        values = dict(line.split(":") for line in file)
    return int(values["MemAvailable"].split()[0]) << 10


@contextlib.contextmanager
def memory_files(name, options):
    """The path of a file system in memory of its own, mounted with `options` (tmpfs(5)), until the block ends.

    What an earlier run left behind, killed before it could unmount, goes first. Needs root: BenchFailure if it
    cannot be mounted.
    """
    prefix = os.path.join(tempfile.gettempdir(), f"shoal-{name}-")
    for leftover in glob.glob(f"{glob.escape(prefix)}*"):
        if not os.path.exists(f"/proc/{leftover[len(prefix):].split('-')[0]}"):
            subprocess.run(["umount", leftover], check=False, stderr=subprocess.DEVNULL)
            shutil.rmtree(leftover, ignore_errors=True)
    folder = tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, f"shoal-{name}", folder], check=False,
                             capture_output=True, text=True)
    if mounted.returncode != 0:
        os.rmdir(folder)
        why = mounted.stderr.partition("\n")[0]
        raise BenchFailure(f"no file system in memory could be mounted with '{options}' ({why}): run this as root, "
                           f"and in a container that may mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)
        os.rmdir(folder)


@contextlib.contextmanager
def steady_memory(size, folder="/dev/shm"):
    """`size` bytes of memory are this machine's, and stay so when they are freed, until the block ends.

    A virtual machine may give free memory back to its hypervisor, page by page; who touches it next pays for
    faults there, up to ten times what the write itself costs. In a benchmark that would be whoever comes first.
    Only root can tell it not to. Without root, or where there is no such setting, memory is touched once and may be
    taken away again.
    """
    before = None
    with contextlib.suppress(OSError), open(_ORDER, "r+", encoding="ascii") as order:
        value = order.read().strip()
        order.seek(0)
        order.write(_ABOVE_ALL)
        order.flush()
        before = value
    try:
        _touch(size, folder)
        yield
    finally:
        if before is not None:
            with open(_ORDER, "w", encoding="ascii") as order:
                order.write(before)


def _touch(size, folder):
    fd = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600)
    try:
        zeros = bytes(_STEP)
        for _ in range(0, size, _STEP):
            os.write(fd, zeros)
    finally:
        os.close(fd)
