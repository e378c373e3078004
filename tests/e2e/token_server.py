"""A token service for docker-registry's `auth: token`: Docker's "Token authentication", with a password or an identity
token. Its key is its own; openssl signs."""

import base64
import json
import secrets
import subprocess
import time
import urllib.parse

from loopback_server import LoopbackServer

ISSUER, SERVICE = "test-issuer", "test-registry"
# docker-registry takes a token for so long after its end.
_LEEWAY_S = 60


def _base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TokenServer(LoopbackServer):
    """Gives tokens to `login` ("user:password") and to `identity`, on loopback. Ends with its ExitStack.

    Set `lives_s` to say how long the registry takes the next tokens; what is said to who asks is always five minutes.
    """

    def __init__(self, folder, login, identity):
        super().__init__(self._get, self._post)
        self.realm = f"http://127.0.0.1:{self.port}/token"
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

    def _get(self, request):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(request.path).query)
        proof = request.headers.get("Authorization", "")
        right = "Basic " + base64.b64encode(self._login.encode()).decode()
        self._answer(request, "password", proof == right, query, "token")

    def _post(self, request):
        form = urllib.parse.parse_qs(request.rfile.read(int(request.headers["Content-Length"])).decode())
        right = (form.get("grant_type") == ["refresh_token"]
                 and form.get("refresh_token") == [self._identity])
        self._answer(request, "identity", right, form, "access_token")

    def _answer(self, request, how, right, asked, name):
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
        request.reply(200 if right else 401, {"Content-Type": "application/json"}, body)
