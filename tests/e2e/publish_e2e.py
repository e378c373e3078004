#!/usr/bin/env python3
"""What must not be published is refused by name and reason, and leaves nothing behind."""

import os
import signal
import socket
import subprocess
import time
import unittest

from e2e_case import FleetCase


class PublishTest(FleetCase):
    def setUp(self):
        super().setUp()
        self.one = self.fleet(1)
        self.agent = self.one["n1"]
        self.source = self.model({"a.safetensors": 3_000_000, "sub/config.json": 200})

    def assert_refused(self, *reasons, status=1, wrap=()):
        """Publishing fails, tells each of `reasons`, and nothing is left in catalogue and store."""
        command = [*wrap, *self.agent.command("publish", self.source, "--as", "m/bad:1")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, status, done.stderr)
        for reason in reasons:
            self.assertIn(reason, done.stderr)
        self.assert_nothing_left()
        return done

    def assert_nothing_left(self):
        self.assertEqual(self.agent.json("ls")["references"], [])
        self.wait_for("the store to be empty", self.stored, lambda blobs: blobs == [], 10)

    def stored(self):
        return [path.name for path in (self.agent.directory / "blobs").glob("*/*/*")]

    def test_what_is_refused_does_not_stay_refused(self):
        (self.source / "link").symlink_to("/etc/passwd")
        self.assert_refused("'link'", "leads out of the directory")
        (self.source / "link").unlink()
        self.agent.run("publish", self.source, "--as", "m/good:1")
        self.agent.run("verify", "m/good:1")
        self.assertEqual(len(self.stored()), 4)  # two files, manifest, config

    def test_files_with_the_same_bytes_are_stored_once(self):
        data = os.urandom(2_000_000)
        for number in range(24):
            (self.source / f"same-{number:02}.bin").write_bytes(data)
        done = self.agent.json("publish", self.source, "--as", "m/same:1")
        self.assertEqual(len(done["files"]), 26)
        self.agent.run("verify", "m/same:1")
        self.assertEqual(len(self.stored()), 5)

    def test_an_empty_directory(self):
        for path in sorted(self.source.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        self.assert_refused("model has no files: there is nothing to publish")

    def test_links_out_of_the_tree(self):
        (self.source / "sub" / "up").symlink_to("../../model-of-others")
        (self.source / "abs").symlink_to("/etc/passwd")
        self.assert_refused("'sub/up'", "'abs' is a link that leads out of the directory")

    def test_a_link_to_nowhere_and_one_to_itself(self):
        (self.source / "gone").symlink_to("not-there")
        (self.source / "loop").symlink_to("loop")
        self.assert_refused("'gone' is a link that cannot be followed", "'loop' is a link that cannot")

    def test_a_fifo_a_socket_and_a_device(self):
        os.mkfifo(self.source / "pipe")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.source / "sock"))
            os.mknod(self.source / "dev", 0o600 | 0o020000, os.makedev(1, 3))
            self.assert_refused(*(f"'{name}' is neither a file, a directory nor a link"
                                  for name in ("pipe", "sock", "dev")))

    def test_names_that_a_model_cannot_have(self):
        (self.source / "new\nline").write_bytes(b"x")
        self.assert_refused("new\\x0aline", "has a name that a model cannot have")
        (self.source / "new\nline").unlink()
        raw = os.fsencode(self.source) + b"/\xff\xfe"
        with open(raw, "wb") as file:
            file.write(b"x")
        self.assert_refused("has a name that a model cannot have")

    def test_names_that_look_like_a_way_out_are_names(self):
        (self.source / "..weights").write_bytes(b"x")
        (self.source / "...").write_bytes(b"y")
        self.agent.run("publish", self.source, "--as", "m/dots:1")
        self.agent.run("pull", "m/dots:1", "-o", self.work / "out")
        self.assertEqual((self.work / "out" / "..weights").read_bytes(), b"x")

    def test_a_path_of_more_than_4096_bytes(self):
        folder = os.open(self.source, os.O_RDONLY)
        for _ in range(21):
            os.mkdir("d" * 200, dir_fd=folder)
            deeper = os.open("d" * 200, os.O_RDONLY, dir_fd=folder)
            os.close(folder)
            folder = deeper
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
        os.close(folder)
        self.assert_refused("dddddd")

    def test_an_unreadable_file_takes_back_what_was_read_before_it(self):
        # Four are read at a time: the last one is opened when others are done.
        for i in range(6):
            (self.source / f"b{i}").write_bytes(os.urandom(100_000))
        (self.source / "z.safetensors").write_bytes(b"secret")
        (self.source / "z.safetensors").chmod(0)
        self.assert_refused("z.safetensors", "Permission denied",
                            wrap=["setpriv", "--bounding-set=-dac_override,-dac_read_search",
                                  "--inh-caps=-all"])

    def test_a_file_that_changes_while_it_is_read(self):
        path = self.source / "a.safetensors"
        path.write_bytes(os.urandom(300_000_000))
        publishing = subprocess.Popen(self.agent.command("publish", self.source, "--as", "m/bad:1"),
                                      stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        with open(path, "r+b") as file:
            while publishing.poll() is None:
                file.seek(-1, os.SEEK_END)
                file.write(os.urandom(1))
                file.flush()
                time.sleep(0.005)
        said = publishing.stderr.read()
        publishing.stderr.close()
        self.assertEqual(publishing.returncode, 1, said)
        self.assertIn("a.safetensors", said)
        self.assertIn("changed while", said)
        self.assert_nothing_left()

    def test_a_publisher_that_is_killed_can_publish_again(self):
        (self.source / "a.safetensors").write_bytes(os.urandom(200_000_000))
        publishing = subprocess.Popen(self.agent.command("publish", self.source, "--as", "m/k:1"),
                                      stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.wait_for("the agent to read", lambda: self.stored() or
                      list((self.agent.directory / "tmp").iterdir()), bool, 20)
        publishing.send_signal(signal.SIGKILL)
        publishing.wait()
        self.assertEqual(self.agent.json("ls")["references"], [])
        self.agent.run("publish", self.source, "--as", "m/k:1")
        self.assert_whole(self.agent, "m/k:1", self.source)


if __name__ == "__main__":
    unittest.main(verbosity=2)
