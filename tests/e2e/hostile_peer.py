"""A peer that registers like an agent, says that it has everything, and then misbehaves.

It speaks the lane (docs/formats/lane.md, have.md) and the tracker's API (tracker-api.md) on sockets
of its own, without any code of the agent.
"""

import json
import os
import re
import socket
import struct
import threading
import urllib.error
import urllib.request

_FIRST_PIECE = 64 * 1024
_MAX_PIECES = 65_536


def pieces_of(size):
    length = _FIRST_PIECE
    while (size + length - 1) // length > _MAX_PIECES:
        length *= 2
    return (size + length - 1) // length


def _head(status, length, fields=()):
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {length}",
             "Content-Type: application/octet-stream", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


# What it does with a request for bytes: called with the socket, the range [first, last], the right
# bytes of the blob, and an event that is set when the peer stops. True: the connection goes on.

def wrong_bytes(sock, first, last, data, stop):
    body = bytearray(data[first:last + 1])
    body[len(body) // 2] ^= 0x40
    sock.sendall(_head("206 Partial Content", len(body),
                       [f"Content-Range: bytes {first}-{last}/{len(data)}"]) + body)
    return True


def short_body(sock, first, last, data, stop):
    body = data[first:last + 1]
    sock.sendall(_head("206 Partial Content", len(body),
                       [f"Content-Range: bytes {first}-{last}/{len(data)}"])
                 + body[:len(body) // 2 + 7])
    return False


def garbage_header(sock, first, last, data, stop):
    sock.sendall(b"\x16\x03\x01\x00\xff lane? \x00\x01 no\r\n: :\r\n\r\n" + os.urandom(512))
    return True


def endless_header(sock, first, last, data, stop):
    sock.sendall(b"HTTP/1.1 206 Partial Content\r\n")
    while not stop.is_set():
        sock.sendall(b"X-Filler: " + b"x" * 4000 + b"\r\n")
    return False


def never_answers(sock, first, last, data, stop):
    stop.wait(60)
    return False


def whole_blob(sock, first, last, data, stop):
    sock.sendall(_head("200 OK", len(data)) + data)
    return True


def another_range(sock, first, last, data, stop):
    body = data[:last - first + 1]
    sock.sendall(_head("206 Partial Content", len(body),
                       [f"Content-Range: bytes {first + 1}-{last + 1}/{len(data)}"]) + body)
    return True


def huge_length(sock, first, last, data, stop):
    sock.sendall(_head("206 Partial Content", 1 << 62,
                       [f"Content-Range: bytes {first}-{last}/{len(data)}"]) + data[first:last + 1])
    return False


def oversize_error(sock, first, last, data, stop):
    sock.sendall(_head("500 Oops", 1 << 40) + b"e" * 65_536)
    return False


class HostilePeer:
    """Ends with the ExitStack that it was entered in.

    blobs: {"sha256:…": bytes}. serve: one of the functions above. have: the bytes of every have
    answer, None for an honest "I have all of it".
    """

    def __init__(self, tracker, name, blobs, serve, have=None):
        self.tracker = tracker
        self.name = name
        self.blobs = blobs
        self.serve = serve
        self.have = have
        self.epoch = os.urandom(8).hex()
        self.asked = 0  # requests for bytes
        self._stop = threading.Event()
        self._threads = []
        self._sockets = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self):
        self._start(self._accept)
        self._post("register", {"epoch": self.epoch, "advertise": self.address})
        self._beat(1)
        self._start(self._beats)
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for sock in self._sockets:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        for thread in self._threads:
            thread.join(10)

    def _start(self, work, *args):
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    # --- the tracker's API

    def _post(self, what, message):
        request = urllib.request.Request(
            f"{self.tracker}/v1/nodes/{self.name}/{what}", json.dumps(message).encode(),
            {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    def _beat(self, seq):
        blobs = [{"digest": digest, "size": len(data), "pieces_have": pieces_of(len(data)),
                  "state": "complete"} for digest, data in self.blobs.items()]
        self._post("heartbeat", {"epoch": self.epoch, "seq": seq, "full": True, "blobs": blobs})

    def _beats(self):
        seq = 2
        while not self._stop.wait(0.5):
            try:
                self._beat(seq)
            except (OSError, urllib.error.URLError):
                continue
            seq += 1

    # --- the lane

    def _accept(self):
        while not self._stop.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._sockets.add(sock)
            self._start(self._connection, sock)

    def _connection(self, sock):
        try:
            with sock:
                self._requests(sock)
        except OSError:
            pass  # the agent, or __exit__, has cut it
        finally:
            with self._lock:
                self._sockets.discard(sock)

    def _requests(self, sock):
        buffer = b""
        while not self._stop.is_set():
            while b"\r\n\r\n" not in buffer:
                more = sock.recv(65_536)
                if not more:
                    return
                buffer += more
            head, buffer = buffer.split(b"\r\n\r\n", 1)
            if not self._answer(sock, head.decode("latin-1")):
                return

    def _answer(self, sock, head):
        target = head.split(" ", 2)[1]
        if target == "/v1/identity":
            body = json.dumps({"node": self.name, "epoch": self.epoch}).encode()
            sock.sendall(_head("200 OK", len(body)) + body)
            return True
        if target.startswith("/v1/have"):
            body = self.have if self.have is not None else self._have(target)
            sock.sendall(_head("200 OK", len(body)) + body)
            return True
        wanted = re.match(r"/v1/blobs/(sha256(?::|%3A)[0-9a-f]{64})$", target)
        span = re.search(r"\r\nRange: bytes=(\d+)-(\d+)", head)
        data = self.blobs.get(wanted.group(1).replace("%3A", ":")) if wanted else None
        if data is None or span is None:
            sock.sendall(_head("404 Not Found", 0))
            return True
        self.asked += 1
        return self.serve(sock, int(span.group(1)), int(span.group(2)), data, self._stop)

    def _have(self, target):
        """All pieces of each blob that is asked for the first time; else empty, after a while."""
        known = {digest.split(":")[1][:16]: data for digest, data in self.blobs.items()}
        entries = []
        for item in re.findall(r"([0-9a-f]{16})\.(\d+)", target):
            key, seen = item
            if key in known and seen == "0":
                entries.append(struct.pack("<QQBI", int(key, 16), 1, 2, pieces_of(len(known[key]))))
        if not entries:
            self._stop.wait(1)
        return b"SHAV" + struct.pack("<BI", 1, len(entries)) + b"".join(entries)
