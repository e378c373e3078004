#!/usr/bin/env python3
"""Runs clang-tidy (the short list of .clang-tidy) over the sources in the compilation database.

usage: scripts/check_tidy.py [--changed REF] [--jobs N] [PATH…]

  --changed REF  only sources that differ from git revision REF, or include a header that does
  PATH           only sources below these folders or files

Needs build/release configured (scripts/build). A source that was clean is not looked at again until
it, a header of ours that it includes, its compile command, the configuration or clang-tidy changes:
build/tidy-cache remembers by content, so the cache cannot be stale and may be carried between builds.
"""

import argparse
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
DATABASE = os.path.join(ROOT, "build/release/compile_commands.json")
CACHE = os.path.join(ROOT, "build/tidy-cache")
CLANG_TIDY = "clang-tidy-19"
# The database is g++'s; these are what the build itself adds for Clang (cmake/ShoalToolchain.cmake).
CLANG_ARGS = ["-DBOOST_ASIO_HAS_CO_AWAIT", "-DBOOST_ASIO_HAS_STD_COROUTINE", "-Wno-error",
              "-Wno-unknown-warning-option"]
INCLUDE = re.compile(rb'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)


@lru_cache(maxsize=None)
def own_includes(path):
    """(content hash, headers of ours included directly) of a file in the tree."""
    with open(os.path.join(ROOT, path), "rb") as file:
        data = file.read()
    headers = [h.decode() for h in INCLUDE.findall(data)]
    return (hashlib.sha256(data).hexdigest(),
            [h for h in headers if os.path.isfile(os.path.join(ROOT, h))])


def closure(path):
    """The file and every header of ours that it reaches."""
    seen, todo = set(), [path]
    while todo:
        current = todo.pop()
        if current not in seen:
            seen.add(current)
            todo.extend(own_includes(current)[1])
    return sorted(seen)


def cache_key(path, command, tool):
    state = hashlib.sha256()
    for part in [tool, command, *CLANG_ARGS]:
        state.update(part.encode() + b"\0")
    for name in closure(path):
        state.update(f"{name} {own_includes(name)[0]}\0".encode())
    return state.hexdigest()


def tidy(path):
    """(path, clean, output)"""
    words = [CLANG_TIDY, "--quiet", "-p", os.path.dirname(DATABASE)]
    words += [f"--extra-arg={arg}" for arg in CLANG_ARGS]
    done = subprocess.run(words + [os.path.join(ROOT, path)], capture_output=True, text=True,
                          check=False)
    # Standard error holds only "N warnings generated" unless the file cannot be parsed at all.
    output = done.stdout if done.stdout.strip() else done.stderr
    return path, done.returncode == 0, output


def changed_files(reference):
    done = subprocess.run(["git", "-C", ROOT, "diff", "--name-only", reference], check=True,
                          capture_output=True, text=True)
    return set(done.stdout.split("\n"))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changed", metavar="REF")
    parser.add_argument("--jobs", type=int, default=int(os.environ.get("SHOAL_JOBS")
                                                        or os.cpu_count()))
    parser.add_argument("paths", nargs="*")
    args = parser.parse_args()

    if not os.path.isfile(DATABASE):
        sys.exit("check_tidy.py: build/release is not configured: run scripts/build first")
    with open(DATABASE, encoding="utf-8") as file:
        commands = {os.path.relpath(e["file"], ROOT): e["command"] for e in json.load(file)}
    with open(os.path.join(ROOT, ".clang-tidy"), encoding="utf-8") as file:
        config = file.read()
    version = subprocess.run([CLANG_TIDY, "--version"], check=True, capture_output=True, text=True)

    paths = sorted(p for p in commands
                   if not p.startswith(("build/", "..")) and os.path.isfile(os.path.join(ROOT, p)))
    if args.paths:
        wanted = [os.path.relpath(p, ROOT) for p in args.paths]
        paths = [p for p in paths if any(p == w or p.startswith(w + "/") for w in wanted)]
    if args.changed:
        changed = changed_files(args.changed)
        paths = [p for p in paths if changed.intersection(closure(p))]

    os.makedirs(CACHE, exist_ok=True)
    # The build folder's name must not matter, or no cache could be carried elsewhere.
    tool = version.stdout + config
    markers = {p: os.path.join(CACHE, cache_key(p, " ".join(shlex.split(commands[p]))
                                                .replace(ROOT, ""), tool)) for p in paths}
    todo = [p for p in paths if not os.path.exists(markers[p])]
    failed = 0
    with ThreadPoolExecutor(args.jobs) as pool:
        for path, clean, output in pool.map(tidy, todo):
            if clean:
                with open(markers[path], "w", encoding="utf-8"):
                    pass
            else:
                failed += 1
                print(output.replace(ROOT + "/", "").rstrip(), flush=True)
    print(f"clang-tidy: {len(paths)} sources, {len(paths) - len(todo)} known to be clean, "
          f"{failed} with errors", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
