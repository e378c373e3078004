"""A server with the Hugging Face Hub's paths and headers, and another one where it keeps large files."""

import hashlib
import json
import re
import threading

from loopback_server import LoopbackServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer:
    """The repository `repo` with `files` ({path: bytes}); those that end in .safetensors are kept with LFS.

    token: who brings another one is told that the repository is gated, who brings none that there is no such
    repository. sent: body bytes by path. seen: the headers of all requests to the other server.
    """

    def __init__(self, repo, files, token):
        self.repo, self.files, self.token = repo, files, token
        self.sent = {path: 0 for path in files}
        self.declared = {}  # path: the bytes whose digest the listing tells instead
        self.seen = []
        self._lock = threading.Lock()
        self._hub = LoopbackServer(self._answer_hub)
        self._store = LoopbackServer(self._answer_store)
        self.url = f"http://127.0.0.1:{self._hub.port}"
        # Another host by its name, though the same machine.
        self._store_url = f"http://localhost:{self._store.port}"

    def __enter__(self):
        self._hub.__enter__()
        self._store.__enter__()
        return self

    def __exit__(self, *_):
        self._store.__exit__()
        self._hub.__exit__()

    def _answer_hub(self, request):
        given = request.headers.get("Authorization")
        if given is None:
            return request.reply(401, {"X-Error-Code": "RepoNotFound"})
        if given != f"Bearer {self.token}":
            return request.reply(403, {"X-Error-Code": "GatedRepo"})
        api = f"/api/models/{self.repo}"
        if request.path == f"{api}/revision/main":
            return request.reply(200, {}, json.dumps({"sha": COMMIT}).encode())
        if request.path.startswith(f"{api}/revision/"):
            return request.reply(404, {"X-Error-Code": "RevisionNotFound"})
        if request.path.startswith(f"{api}/tree/{COMMIT}?"):
            return self._answer_tree(request)
        prefix = f"/{self.repo}/resolve/{COMMIT}/"
        path = request.path[len(prefix):] if request.path.startswith(prefix) else None
        if path not in self.files:
            return request.reply(404, {"X-Error-Code": "EntryNotFound"})
        data = self.files[path]
        if not path.endswith(".safetensors"):
            etag = f'"{self._git_oid(data)}"'
            return self._ranges(request, path, {"ETag": etag, "X-Repo-Commit": COMMIT})
        return request.reply(302, {"Location": f"{self._store_url}/{path}?signature=secret",
                                   "X-Linked-Size": str(len(data)), "X-Repo-Commit": COMMIT,
                                   "X-Linked-Etag": f'"{hashlib.sha256(data).hexdigest()}"'})

    @staticmethod
    def _git_oid(data):
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

    def _answer_tree(self, request):
        """The files, two to a page."""
        start = int((re.search(r"cursor=(\d+)", request.path) or [0, 0])[1])
        entries = []
        for path in sorted(self.files)[start:start + 2]:
            data = self.files[path]
            entry = {"type": "file", "path": path, "size": len(data), "oid": self._git_oid(data)}
            if path.endswith(".safetensors"):
                entry["lfs"] = {"oid": hashlib.sha256(self.declared.get(path, data)).hexdigest(),
                                "size": len(data), "pointerSize": 134}
            entries.append(entry)
        headers = {}
        if start + 2 < len(self.files):
            base = request.path.split("&cursor")[0]
            headers["Link"] = f'<{self.url}{base}&cursor={start + 2}>; rel="next"'
        return request.reply(200, headers, json.dumps(entries).encode())

    def _answer_store(self, request):
        with self._lock:
            self.seen.append(dict(request.headers))
        path, _, query = request.path[1:].partition("?")
        if query != "signature=secret":
            return request.reply(403, {})
        return self._ranges(request, path, {"ETag": '"of-the-store"'})

    def _ranges(self, request, path, headers):
        data = self.files[path]
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
        if not match:
            return request.reply(400, {})
        first, last = int(match[1]), min(int(match[2]), len(data) - 1)
        body = data[first:last + 1]
        with self._lock:
            self.sent[path] += len(body)
        return request.reply(206, {**headers, "Content-Range": f"bytes {first}-{last}/{len(data)}"},
                             body)
