#!/usr/bin/env python3
"""Each rule of scripts/check_tree.py finds a tree that breaks it and lets a good one pass."""

import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "scripts"))
import check_tree  # noqa: E402

# In two halves, or this file would break the rule that it tests.
OPEN_END = "TO" + "DO"
BARE = "NO" + "LINT"


class CheckTreeTest(unittest.TestCase):
    def found(self, rule, files):
        """What a rule says about a tree of {path: text}."""
        with tempfile.TemporaryDirectory() as root:
            for path, text in files.items():
                os.makedirs(os.path.dirname(os.path.join(root, path)) or root, exist_ok=True)
                with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                    file.write(text)
            before, check_tree.ROOT = check_tree.ROOT, root
            try:
                return list(rule(sorted(files)))
            finally:
                check_tree.ROOT = before

    def assert_one(self, rule, files, *words):
        found = self.found(rule, files)
        self.assertEqual(len(found), 1, found)
        for word in words:
            self.assertIn(word, found[0])

    def test_a_source_must_be_built(self):
        good = {"core/base/CMakeLists.txt": "shoal_library(base SOURCES a.cc\n  b.cc)\n",
                "core/base/a.cc": "", "core/base/b.cc": "",
                "agent/CMakeLists.txt": "shoal_library(lane SOURCES lane/x.cc)\n",
                "agent/lane/x.cc": ""}
        self.assertEqual(self.found(check_tree.unlisted_sources, good), [])
        self.assert_one(check_tree.unlisted_sources, {**good, "core/base/c.cc": ""},
                        "core/base/c.cc")

    def test_a_source_is_not_listed_by_a_comment_or_by_a_longer_name(self):
        for text in ("# a.cc\n", "shoal_library(base SOURCES aa.cc)\n", "SOURCES other/a.cc\n"):
            self.assert_one(check_tree.unlisted_sources,
                            {"core/base/CMakeLists.txt": text, "core/base/a.cc": ""}, "a.cc")

    def test_fuzzers_and_corpora_come_in_pairs(self):
        good = {"tests/fuzz/a_fuzz.cc": "", "tests/fuzz/corpus/a_fuzz/seed": "x"}
        self.assertEqual(self.found(check_tree.fuzz_corpora, good), [])
        self.assert_one(check_tree.fuzz_corpora, {**good, "tests/fuzz/b_fuzz.cc": ""}, "no seed")
        self.assert_one(check_tree.fuzz_corpora, {**good, "tests/fuzz/corpus/c_fuzz/x": "x"},
                        "no fuzzer")

    def test_the_code_map_is_complete_and_true(self):
        good = {"ARCHITECTURE.md": "`core/` `core/base/` `core/base/a.h` `docs/` `docs/adr/`\n",
                "core/base/a.h": "", "docs/adr/1.md": ""}
        self.assertEqual(self.found(check_tree.architecture, good), [])
        self.assert_one(check_tree.architecture, {**good, "core/store/b.h": ""},
                        "does not name the folder `core/store/`")
        self.assert_one(check_tree.architecture,
                        {**good, "ARCHITECTURE.md": good["ARCHITECTURE.md"] + "`core/gone.h`\n"},
                        "`core/gone.h` does not exist")
        self.assert_one(check_tree.architecture,
                        {**good, "ARCHITECTURE.md": good["ARCHITECTURE.md"] + "\n" * 300},
                        "at most 300")
        self.assert_one(check_tree.architecture, {}, "missing")

    def test_links_lead_somewhere(self):
        good = {"README.md": "[a](docs/a.md#part) [b](https://example.org/) [c](#here)\n"
                             "```\n[not](a link)\n```\n", "docs/a.md": "[up](../README.md)"}
        self.assertEqual(self.found(check_tree.broken_links, good), [])
        self.assert_one(check_tree.broken_links, {"README.md": "[x](docs/none.md)"}, "docs/none.md")

    def test_files_stay_small_and_finished(self):
        rule = check_tree.lines_and_words
        self.assertEqual(self.found(rule, {"core/a.cc": "x\n" * 600}), [])
        self.assert_one(rule, {"core/a.cc": "x\n" * 601}, "601 lines")
        self.assert_one(rule, {"core/a.cc": f"int x;\n// {OPEN_END}: finish\n"}, "core/a.cc:2")
        self.assertEqual(self.found(rule, {"core/a.cc": f"f();  // {BARE}(x-y): because\n"}), [])
        self.assert_one(rule, {"core/a.cc": f"f();  // {BARE}\n"}, "write NOLINT(check): why")
        self.assert_one(rule, {"core/a.cc": f"f();  // {BARE}(x-y)\n"}, "write NOLINT(check): why")


if __name__ == "__main__":
    unittest.main()
