"""A real container registry (docker-registry) and what is pushed to it."""

import base64
import crypt
import hashlib
import json
import re
import urllib.error
import urllib.parse
import urllib.request

from token_server import ISSUER, SERVICE


class Registry:
    """Listens on loopback; with `login` ("user:password") it asks for it, with `tokens` (a TokenServer) for a token of
    its. Ends with the supervisor."""

    def __init__(self, programs, folder, port, login=None, tokens=None):
        self.address = f"127.0.0.1:{port}"
        self.login = login
        self.tokens = tokens
        folder.mkdir(parents=True)
        auth = ""
        if login:
            user, _, password = login.partition(":")
            hashed = crypt.crypt(password, crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16))
            (folder / "htpasswd").write_text(f"{user}:{hashed}\n", encoding="ascii")
            auth = f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}\n"
        if tokens:
            auth = (f"auth: {{token: {{realm: '{tokens.realm}', service: {SERVICE}, issuer: {ISSUER}, "
                    f"rootcertbundle: {tokens.certificate}}}}}\n")
        config = folder / "registry.yml"
        config.write_text(
            "version: 0.1\nlog: {level: info, accesslog: {disabled: false}}\n"
            f"storage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
            f"http: {{addr: {self.address}}}\n{auth}", encoding="ascii")
        self.process = programs.start("registry", ["docker-registry", "serve", config])
        self.process.wait_for_port(port)

    def _call(self, method, repository, target, body=b"", headers=None):
        url = urllib.parse.urljoin(f"http://{self.address}/v2/{repository}/", target)
        request = urllib.request.Request(url, data=body, method=method, headers=headers or {})
        if self.login:
            token = base64.b64encode(self.login.encode()).decode()
            request.add_header("Authorization", f"Basic {token}")
        if self.tokens:
            token = self.tokens.mint(repository, ["pull", "push"])
            request.add_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.headers

    def takes(self, repository, tag, token):
        """Whether a token still opens that manifest."""
        request = urllib.request.Request(
            f"http://{self.address}/v2/{repository}/manifests/{tag}",
            headers={"Authorization": f"Bearer {token}",
                     "Accept": "application/vnd.oci.image.manifest.v1+json"})
        try:
            with urllib.request.urlopen(request, timeout=30):
                return True
        except urllib.error.HTTPError as error:
            if error.code != 401:
                raise
            return False

    def blob_bytes(self):
        """Bytes of blobs handed out so far, by its access log."""
        lines = self.process.log_tail(100_000).splitlines()
        found = (re.search(r'"GET /v2/\S+/blobs/\S+ HTTP/1.1" 20[06] (\d+)', line) for line in lines)
        return sum(int(match[1]) for match in found if match)

    def push_blob(self, repository, data):
        """Its digest."""
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        location = self._call("POST", repository, "blobs/uploads/")["Location"]
        separator = "&" if "?" in location else "?"
        self._call("PUT", repository, f"{location}{separator}digest={digest}", data,
                   {"Content-Type": "application/octet-stream"})
        return digest

    def push_model(self, repository, tag, files):
        """A ModelPack artifact of {path: bytes}; its manifest's digest."""
        config = b"{}"
        layers = [{"mediaType": "application/vnd.cncf.model.weight.v1.raw",
                   "digest": self.push_blob(repository, data), "size": len(data),
                   "annotations": {"org.cncf.model.filepath": path}}
                  for path, data in files.items()]
        manifest = json.dumps({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": "application/vnd.cncf.model.manifest.v1+json",
            "config": {"mediaType": "application/vnd.cncf.model.config.v1+json",
                       "digest": self.push_blob(repository, config), "size": len(config)},
            "layers": layers}).encode()
        self._call("PUT", repository, f"manifests/{tag}", manifest,
                   {"Content-Type": "application/vnd.oci.image.manifest.v1+json"})
        return "sha256:" + hashlib.sha256(manifest).hexdigest()
