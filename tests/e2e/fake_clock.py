"""A wall clock of one program that a test can step; its monotonic clock stays the machine's."""

import glob
import os


class FakeClock:
    """Give env() to the programs that shall live by it. Needs Debian's package faketime."""

    def __init__(self, file, offset_s=0):
        self._file = str(file)
        self.step_to(offset_s)

    def step_to(self, offset_s):
        """The clock is the machine's and so many seconds from now on."""
        with open(self._file + ".new", "w", encoding="ascii") as file:
            file.write(f"{offset_s:+d}\n")
        os.rename(self._file + ".new", self._file)

    def env(self):
        library = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
        if not library:
            raise RuntimeError("libfaketime is missing: run scripts/setup")
        return {"LD_PRELOAD": library[0], "FAKETIME_TIMESTAMP_FILE": self._file,
                "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
