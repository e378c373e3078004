#!/usr/bin/env python3
"""What an S3 service answers on bad days: tokens that have expired, and requests to come less often.

The service's answers are scripted, as no server here gives them; a real one is in s3_origin_e2e.py.
"""

import hashlib
import os
import re
import threading
import unittest
from unittest import mock

from e2e_case import FleetCase
from loopback_server import LoopbackServer

_SIZES = {"config.json": 300, "model.safetensors": 5_000_000}
_ERROR = ('<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{text}</Message>'
          "</Error>")


class ScriptedBucket(LoopbackServer):
    """One bucket, "models", with `files` below "m/". `refuse`: what answers a request that is for an
    object, or None: called with the request's number, it returns None or (status, code, text)."""

    def __init__(self, files):
        super().__init__(self._get)
        self.files = files
        self.refuse = lambda number: None
        self.list_refusal = None
        self.reads = 0
        self.refused = 0
        self.tokens = set()
        self._lock = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def _get(self, handler):
        path, _, query = handler.path.partition("?")
        with self._lock:
            self.tokens.add(handler.headers.get("x-amz-security-token"))
            listing = "list-type=2" in query
            if listing:
                refusal = self.list_refusal
            else:
                self.reads += 1
                refusal = self.refuse(self.reads)
                self.refused += refusal is not None
        if refusal:
            status, code, text = refusal
            return handler.reply(status, {"Content-Type": "application/xml"},
                                 _ERROR.format(code=code, text=text).encode())
        if listing:
            return handler.reply(200, {"Content-Type": "application/xml"}, self._listing())
        data = self.files[path.removeprefix("/models/m/")]
        etag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
        first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers["Range"]).groups())
        return handler.reply(206, {"Content-Range": f"bytes {first}-{last}/{len(data)}", "ETag": etag},
                             data[first:last + 1])

    def _listing(self):
        objects = "".join(
            f"<Contents><Key>m/{name}</Key><Size>{len(data)}</Size><ETag>&quot;"
            f"{hashlib.md5(data, usedforsecurity=False).hexdigest()}&quot;</ETag></Contents>"
            for name, data in sorted(self.files.items()))
        return ('<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>models</Name>'
                f"<IsTruncated>false</IsTruncated>{objects}</ListBucketResult>").encode()


class S3BadDaysTest(FleetCase):
    def setUp(self):
        super().setUp()
        self.dir = self.model(_SIZES)
        self.bucket = self.stack.enter_context(ScriptedBucket(
            {name: (self.dir / name).read_bytes() for name in _SIZES}))
        environment = {"AWS_ENDPOINT_URL": self.bucket.url, "AWS_ACCESS_KEY_ID": "test",
                       "AWS_SECRET_ACCESS_KEY": "a-secret-that-stays-here",
                       "AWS_SESSION_TOKEN": "a-token-that-stays-here"}
        self.stack.enter_context(mock.patch.dict(os.environ, environment))
        self.nodes = self.fleet(2)

    def assert_told(self, failed, text):
        self.assertNotEqual(failed.returncode, 0)
        self.assertIn(text, failed.stderr)
        for secret in ("a-secret-that-stays-here", "a-token-that-stays-here"):
            self.assertNotIn(secret, failed.stderr + self.nodes["n1"].log())

    def test_a_service_that_asks_to_come_less_often_is_read_all_the_same(self):
        # Every third read, and the first two.
        self.bucket.refuse = lambda number: (
            (503, "SlowDown", "Please reduce your request rate.")
            if number <= 2 or number % 3 == 0 else None)
        self.nodes["n1"].run("publish", "s3://models/m", "--as", "m/b:1")
        self.nodes["n2"].run("prefetch", "m/b:1", "--wait", "--timeout", "60s")
        for node in ("n1", "n2"):
            self.assert_whole(self.nodes[node], "m/b:1", self.dir)
        self.assertGreaterEqual(self.bucket.refused, 3)
        # It came back later, not at once and again and again.
        self.assertLess(self.bucket.reads, 200)

    def test_a_token_that_has_expired_is_explained(self):
        self.bucket.list_refusal = (400, "ExpiredToken", "The provided token has expired.")
        self.assert_told(self.nodes["n1"].run("publish", "s3://models/m", "--as", "m/b:2",
                                              check=False), "ExpiredToken")

    def test_a_token_that_expires_while_it_is_read_ends_the_publication_with_the_reason(self):
        self.bucket.refuse = lambda number: (
            (400, "ExpiredToken", "The provided token has expired.") if number > 1 else None)
        failed = self.nodes["n1"].run("publish", "s3://models/m", "--as", "m/b:3", check=False)
        self.assert_told(failed, "ExpiredToken")
        self.assertIn("model.safetensors", failed.stderr)
        # With a token that is good the same goes on.
        self.bucket.refuse = lambda number: None
        self.nodes["n1"].run("publish", "s3://models/m", "--as", "m/b:3")
        self.assert_whole(self.nodes["n1"], "m/b:3", self.dir)
        self.assertEqual(self.bucket.tokens, {"a-token-that-stays-here"})


if __name__ == "__main__":
    unittest.main()
