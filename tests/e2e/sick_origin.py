"""An HTTP origin that is well until a test gives it a fault."""

import hashlib
import re
import socket
import struct
import threading
import time

from loopback_server import LoopbackServer

_CHUNK = 16 * 1024
_NO = b"no\n"


class SickOrigin(LoopbackServer):
    """Serves `files` ({"/model/w.bin": bytes}) by ranges, with ETags. Ends with its ExitStack.

    Set a fault at any time; None (or False) heals it:
      status        (code, {header: value}) for every request
      reset_after   a body is cut by a reset after so many bytes
      bytes_per_s   no connection is faster
      ignore_range  answers 200 with the whole file
      silent        takes requests and never answers
      no_etag       neither ETag nor Last-Modified is told
    replace() changes a file as an operator would.
    """

    def __init__(self, files):
        super().__init__(self._get)
        self.url = f"http://127.0.0.1:{self.port}"
        self.files = {path: (data, self._etag(data, 0)) for path, data in files.items()}
        self.status = None
        self.reset_after = None
        self.bytes_per_s = None
        self.ignore_range = False
        self.silent = False
        self.no_etag = False
        self.requests = []  # (time, path)
        self.conditions = []  # of each request its If-Match, or None
        self.sent = 0  # bytes of bodies of good answers
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._connections = set()

    def __exit__(self, *args):
        self._stop.set()
        super().__exit__(*args)

    @staticmethod
    def _etag(data, change):
        return f'"{hashlib.sha256(data).hexdigest()[:16]}-{change}"'

    def replace(self, path, data, change):
        """change: a number that goes into the ETag, as a modification time would."""
        self.files[path] = (data, self._etag(data, change))

    def requests_since(self, when):
        with self._lock:
            return sum(1 for at, _ in self.requests if at >= when)

    def close_connections(self):
        """As a server does with connections that nobody has used for a while."""
        with self._lock:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # closed by the other side

    def _get(self, handler):
        with self._lock:
            self._connections.add(handler.connection)
            self.requests.append((time.monotonic(), handler.path))
            self.conditions.append(handler.headers.get("If-Match"))
        try:
            if self.silent:
                self._stop.wait(60)
                handler.close_connection = True
                return
            self._answer(handler)
        except OSError:
            handler.close_connection = True  # the agent went away

    def _answer(self, handler):
        if self.status is not None:
            code, fields = self.status
            return handler.reply(code, fields, _NO)
        if handler.path not in self.files:
            return handler.reply(404, {}, _NO)
        data, etag = self.files[handler.path]
        if not self.no_etag and handler.headers.get("If-Match", etag) != etag:
            return handler.reply(412, {}, _NO)
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers.get("Range", ""))
        if span and not self.ignore_range:
            first, last = int(span.group(1)), min(int(span.group(2)), len(data) - 1)
            if first > last:
                return handler.reply(416, {"Content-Range": f"bytes */{len(data)}"}, _NO)
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
            data = data[first:last + 1]
        else:
            handler.send_response(200)
        if not self.no_etag:
            handler.send_header("ETag", etag)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        self._body(handler, data)

    def _body(self, handler, data):
        done = 0
        while done < len(data):
            if self.reset_after is not None and done >= self.reset_after:
                # With this the kernel sends a reset in place of an orderly end.
                handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                              struct.pack("ii", 1, 0))
                handler.close_connection = True
                handler.connection.close()
                return
            chunk = data[done:done + _CHUNK]
            handler.wfile.write(chunk)
            done += len(chunk)
            with self._lock:
                self.sent += len(chunk)
            if self.bytes_per_s:
                self._stop.wait(len(chunk) / self.bytes_per_s)
