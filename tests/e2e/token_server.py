"""A token service for docker-registry's `auth: token`: Docker's "Token authentication", with a password or an identity
token. Its key is its own; openssl signs."""

import base64
import http.server
import json
import secrets
import subprocess
import threading
import time
import urllib.parse

ISSUER, SERVICE = "test-issuer", "test-registry"
# docker-registry takes a token for so long after its end.
_LEEWAY_S = 60


def _base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TokenServer:
    """Gives tokens to `login` ("user:password") and to `identity`, on loopback. Ends with its ExitStack.

    Set `lives_s` to say how long the registry takes the next tokens; what is said to who asks is always five minutes.
    """

    def __init__(self, folder, login, identity):
        folder.mkdir(parents=True)
        self._key, self.certificate = folder / "key.pem", folder / "certificate.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tokens",
                        "-keyout", self._key, "-out", self.certificate], check=True, capture_output=True)
        self._x5c = "".join(line for line in self.certificate.read_text(encoding="ascii").splitlines()
                            if not line.startswith("-"))
        self.lives_s = 300
        self.asked = []  # (how it was proved, scope), in order
        self.given = []  # tokens, in order
        self.on_ask = lambda: None  # called before each answer
        self._login = login
        self._identity = identity
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_GET(self):
                query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
                proof = self.headers.get("Authorization", "")
                right = "Basic " + base64.b64encode(server._login.encode()).decode()
                server._answer(self, "password", proof == right, query, "token")

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                form = urllib.parse.parse_qs(body)
                right = (form.get("grant_type") == ["refresh_token"]
                         and form.get("refresh_token") == [server._identity])
                server._answer(self, "identity", right, form, "access_token")

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.realm = f"http://127.0.0.1:{self._server.server_address[1]}/token"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def mint(self, repository, actions, lives_s=300):
        """A token for one repository that the registry takes for `lives_s` seconds from now."""
        now = int(time.time())
        head = {"typ": "JWT", "alg": "RS256", "x5c": [self._x5c]}
        claims = {"iss": ISSUER, "sub": "test", "aud": SERVICE, "exp": now + lives_s - _LEEWAY_S,
                  "nbf": now - 2 * _LEEWAY_S, "iat": now, "jti": secrets.token_hex(8),
                  "access": [{"type": "repository", "name": repository, "actions": actions}]}
        text = ".".join(_base64url(json.dumps(part).encode()) for part in (head, claims))
        signed = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self._key], input=text.encode(),
                                capture_output=True, check=True)
        return f"{text}.{_base64url(signed.stdout)}"

    def _answer(self, handler, how, right, asked, name):
        scope = asked.get("scope", [""])[0]
        self.asked.append((how, scope))
        self.on_ask()
        kind, _, rest = scope.partition(":")
        repository, _, actions = rest.rpartition(":")
        right = right and asked.get("service") == [SERVICE] and kind == "repository"
        if right:
            # Whoever logs in here may read and nothing else.
            granted = [action for action in actions.split(",") if action == "pull"]
            token = self.mint(repository, granted, self.lives_s)
            self.given.append(token)
            body = json.dumps({name: token, "expires_in": 300}).encode()
        else:
            body = b'{"details":"incorrect username or password"}'
        handler.send_response(200 if right else 401)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
