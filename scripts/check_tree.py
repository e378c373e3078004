#!/usr/bin/env python3
"""Checks what no compiler sees: that lists are complete, that documents are true, that files stay small.

usage: scripts/check_tree.py

Fails with one line per offence:
  - a source is not named in the CMakeLists.txt of its folder (or one above), so it is not built,
  - a fuzzer has no seed corpus, or a corpus no fuzzer,
  - ARCHITECTURE.md names a path that does not exist or misses a folder, or is too long,
  - a link between our documents leads nowhere,
  - a file is longer than MAX_LINES,
  - a word of WORDS stands somewhere, or a NOLINT without a reason.
"""

import os
import re
import subprocess
import sys

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
SOURCE_DIRS = ("core", "agent", "tracker", "snapshotter", "loader", "cli", "tests")

MAX_LINES = 600
# path: why it may be longer
LONG_FILES = {}
MAX_ARCHITECTURE_LINES = 300

# An open end is an entry in docs/limits.md, where it is read by those whom it concerns.
WORDS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|\b[Ss]tub(s|bed)?\b")
WORDS_EXCEPTED = ("scripts/check_tree.py", "CONTRIBUTING.md")
BARE_NOLINT = re.compile(r"NOLINT(NEXTLINE|BEGIN)?(?!END)(\([\w.,-]+\): \w)?")

TEXT = (".h", ".cc", ".cu", ".py", ".sh", ".md", ".yaml", ".yml", ".txt", ".cmake", ".json")


def tree_files():
    """Every file that git tracks or would add, relative to the root."""
    done = subprocess.run(["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard"], check=True,
                          capture_output=True, text=True)
    return sorted(f for f in set(done.stdout.splitlines())
                  if os.path.isfile(os.path.join(ROOT, f)))


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def is_text(path):
    name = os.path.basename(path)
    return (path.endswith(TEXT) or name.startswith("Dockerfile")
            or (path.startswith("scripts/") and "." not in name)) and "/corpus/" not in path


def unlisted_sources(files):
    """Sources that no CMakeLists.txt names."""
    lists = {os.path.dirname(f): re.sub(r"#.*", "", read(f))
             for f in files if os.path.basename(f) == "CMakeLists.txt"}
    for path in files:
        if not path.startswith(tuple(d + "/" for d in SOURCE_DIRS)):
            continue
        if not path.endswith((".cc", ".cu")):
            continue
        folder = os.path.dirname(path)
        named = False
        while folder and not named:
            relative = re.escape(os.path.relpath(path, folder))
            named = re.search(rf"(?<![\w/.-]){relative}(?![\w/.-])", lists.get(folder, ""))
            folder = os.path.dirname(folder)
        if not named:
            yield f"{path}: no CMakeLists.txt names it, so it is not built"


def fuzz_corpora(files):
    fuzzers = {os.path.basename(f)[:-3] for f in files if re.match(r"tests/fuzz/\w+_fuzz\.cc$", f)}
    corpora = {f.split("/")[3] for f in files if f.startswith("tests/fuzz/corpus/")
               and f.count("/") > 3}
    for name in sorted(fuzzers - corpora):
        yield f"tests/fuzz/{name}.cc: no seed in tests/fuzz/corpus/{name}"
    for name in sorted(corpora - fuzzers):
        yield f"tests/fuzz/corpus/{name}: no fuzzer tests/fuzz/{name}.cc"


def folders_to_document(files):
    """Top-level folders, each folder of sources, the first level below tests, docs and manifests."""
    folders = set()
    for path in files:
        parts = path.split("/")[:-1]
        if not parts or parts[0].startswith("."):
            continue
        folders.add(parts[0])
        if parts[0] in ("tests", "docs", "manifests"):
            folders.add("/".join(parts[:2]))
        elif parts[0] in SOURCE_DIRS and path.endswith((".h", ".cc", ".cu")):
            folders.add("/".join(parts))
    return folders


def architecture(files):
    path = "ARCHITECTURE.md"
    if path not in files:
        yield f"{path}: missing"
        return
    text = read(path)
    lines = text.count("\n")
    if lines > MAX_ARCHITECTURE_LINES:
        yield f"{path}: {lines} lines, at most {MAX_ARCHITECTURE_LINES}"
    named = set(re.findall(r"`([\w.][\w./-]*)`", text))
    tops = {f.split("/")[0] for f in files}
    for name in sorted(named):
        if name.split("/")[0] in tops and "/" in name:
            if not os.path.exists(os.path.join(ROOT, name)):
                yield f"{path}: `{name}` does not exist"
    listed = {name.rstrip("/") for name in named}
    for folder in sorted(folders_to_document(files)):
        if folder not in listed:
            yield f"{path}: does not name the folder `{folder}/`"


def broken_links(files):
    for path in files:
        if not path.endswith(".md"):
            continue
        text = re.sub(r"```.*?```", "", read(path), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:|#", target):
                continue
            there = os.path.join(ROOT, os.path.dirname(path), target.split("#")[0])
            if not os.path.exists(there):
                yield f"{path}: link to {target}, which does not exist"


def lines_and_words(files):
    for path in files:
        if not is_text(path):
            continue
        lines = read(path).splitlines()
        if len(lines) > MAX_LINES and path not in LONG_FILES:
            yield f"{path}: {len(lines)} lines; split it, or say why not in LONG_FILES"
        for number, line in enumerate(lines, 1):
            if path not in WORDS_EXCEPTED:
                word = WORDS.search(line)
                if word:
                    yield f"{path}:{number}: '{word.group(0)}': finish it, or write it into docs/limits.md"
                nolint = BARE_NOLINT.search(line)
                if nolint and not nolint.group(2) and "NOLINTEND" not in line:
                    yield f"{path}:{number}: write NOLINT(check): why"
    for path in sorted(LONG_FILES):
        if path not in files or read(path).count("\n") <= MAX_LINES:
            yield f"LONG_FILES: {path} needs no exception"


def main():
    if len(sys.argv) > 1:
        print(__doc__)
        return 0 if sys.argv[1] in ("--help", "-h") else 2
    files = tree_files()
    offences = [*unlisted_sources(files), *fuzz_corpora(files), *architecture(files),
                *broken_links(files), *lines_and_words(files)]
    for offence in offences:
        print(offence)
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main())
