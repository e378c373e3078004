"""Memory that stays this machine's own while something is measured."""

import contextlib
import os

# Free pages of at least this order (2^N pages) are told to the hypervisor, which takes them away.
_ORDER = "/sys/module/page_reporting/parameters/page_reporting_order"
_ABOVE_ALL = "11"
_STEP = 64 << 20


@contextlib.contextmanager
def steady_memory(size, folder="/dev/shm"):
    """`size` bytes of memory are this machine's, and stay so when they are freed, until the block ends.

    A virtual machine may give free memory back to its hypervisor, page by page; who touches it next pays for
    faults there, up to ten times what the write itself costs. In a benchmark that would be whoever comes first.
    Needs root for the second half; without the setting, or without root, memory is touched once and no more.
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
