#!/usr/bin/env python3
"""Each rule of scripts/check_layers.py finds a tree that breaks it and lets a good one pass."""

import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "scripts"))
import check_layers  # noqa: E402


class CheckLayersTest(unittest.TestCase):
    def offences(self, files):
        """What the checker says about a tree of {path: text}."""
        with tempfile.TemporaryDirectory() as root:
            for path, text in files.items():
                os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
                with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                    file.write(text)
            return check_layers.check(root)

    def assert_one(self, files, *words):
        found = self.offences(files)
        self.assertEqual(len(found), 1, found)
        for word in words:
            self.assertIn(word, found[0])

    def test_the_table_is_in_order(self):
        self.assertEqual(check_layers.check_table(), [])

    def test_a_tree_that_keeps_the_rules_passes(self):
        self.assertEqual(self.offences({
            "core/base/result.h": "#include <string>\n",
            "core/content/digest.h": '#include "core/base/result.h"\n',
            "core/content/digest.cc": '#include "core/content/digest.h"\n#include <openssl/evp.h>\n',
            "agent/main.cc": '#include "core/content/digest.h"\n',
            "tests/core/content/digest_test.cc":
                '#include "core/content/digest.h"\n#include <gtest/gtest.h>\n',
        }), [])

    def test_a_lower_folder_may_not_include_a_higher_one(self):
        self.assert_one({"core/content/digest.h": "",
                         "core/base/log.cc": 'int x;\n#include "core/content/digest.h"\n'},
                        "core/base/log.cc:2:", "may not include core/content")

    def test_a_component_may_not_include_another(self):
        self.assert_one({"agent/agent.h": "", "tracker/main.cc": '#include "agent/agent.h"\n'},
                        "tracker may not include agent")

    def test_the_simulator_may_not_reach_for_io(self):
        self.assert_one({"core/store/blob_store.h": "",
                         "tests/sim/fleet.cc": '#include "core/store/blob_store.h"\n'},
                        "tests/sim may not include core/store")

    def test_quoted_includes_start_at_the_root(self):
        self.assert_one({"core/base/a.h": "", "core/base/a.cc": '#include "a.h"\n'},
                        "not a file of this tree")

    def test_third_party_headers_keep_to_their_rooms(self):
        for header, good, bad in (
                ("spdlog/spdlog.h", "core/base", "agent"),
                ("openssl/ssl.h", "core/http", "tracker"),
                ("immintrin.h", "core/content", "core/store"),
                ("boost/asio/co_spawn.hpp", "core/async", "core/daemon"),
                ("boost/asio/post.hpp", "agent/lane", "core/agent_client"),
                ("boost/beast/http.hpp", "core/http", "agent/lane"),
                ("nlohmann/json.hpp", "core/api", "core/swarm"),
                ("yaml-cpp/yaml.h", "core/daemon", "agent"),
                ("curl/curl.h", "agent/origin", "agent"),
                ("sqlite3.h", "tracker/catalogue", "tracker"),
                ("libtorrent/session.hpp", "agent/bittorrent", "agent/lane"),
                ("grpcpp/grpcpp.h", "snapshotter/grpc", "snapshotter"),
                ("fuse_lowlevel.h", "snapshotter/fuse", "snapshotter/layer"),
                ("cuda.h", "loader/device", "loader"),
                ("gtest/gtest.h", "tests/agent", "agent"),
                ("benchmark/benchmark.h", "tests/bench", "tests/agent")):
            self.assertEqual(self.offences({f"{good}/x.cc": f"#include <{header}>\n"}), [], header)
            self.assert_one({f"{bad}/x.cc": f"#include <{header}>\n"}, header, "only for")

    def test_umbrella_headers_are_banned_everywhere(self):
        found = self.offences({"core/async/x.cc": "#include <boost/asio.hpp>\n"})
        self.assertTrue(any("umbrella" in line for line in found), found)

    def test_detached_is_banned_but_may_be_spoken_of(self):
        self.assert_one({"agent/x.cc": "co_spawn(io, f(), asio::detached);\n"}, "TaskGroup")
        self.assertEqual(self.offences({"agent/x.cc": "f();  // never asio::detached\n"}), [])

    def test_decisions_have_neither_clock_nor_entropy_nor_io(self):
        for line in ("auto now = std::chrono::steady_clock::now();", "auto r = random_u64();",
                     "#include <fstream>", "#include <sys/socket.h>", "#include <mutex>"):
            self.assert_one({"core/swarm/picker.cc": line + "\n"}, "only decides")

    def test_tests_do_not_sleep(self):
        self.assert_one({"tests/agent/x_test.cc": "std::this_thread::sleep_for(10ms);\n"}, "wait")

    def test_folders_may_not_include_in_a_circle(self):
        self.assert_one({"agent/lane/a.h": '#include "agent/origin/b.h"\n',
                         "agent/origin/b.h": "",
                         "agent/origin/c.cc": '#include "agent/lane/a.h"\n'},
                        "folders include one another", "agent/lane", "agent/origin")

    def test_a_component_has_its_vocabulary_and_its_root_in_one_folder(self):
        self.assertEqual(self.offences({"agent/transfer.h": "",
                                        "agent/lane/a.h": '#include "agent/transfer.h"\n',
                                        "agent/agent.cc": '#include "agent/lane/a.h"\n'}), [])
        self.assert_one({"agent/transfer.h": "",
                         "agent/transfer.cc": '#include "agent/lane/a.h"\n',
                         "agent/lane/a.h": '#include "agent/transfer.h"\n'},
                        "folders include one another", "agent/transfer")

    def test_headers_may_not_include_in_a_circle(self):
        self.assert_one({"core/base/a.h": '#include "core/base/b.h"\n',
                         "core/base/b.h": '#include "core/base/a.h"\n'},
                        "headers include one another")

    def test_every_folder_has_a_row(self):
        self.assert_one({"core/misc/a.h": "", "core/misc/b.h": ""}, "core/misc has no row")


if __name__ == "__main__":
    unittest.main()
