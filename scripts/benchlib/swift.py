"""A real S3 server: OpenStack Swift with its S3 interface, on one folder. And a client that puts objects there.

usage: swift.py HOST:PORT put BUCKET KEY FILE   (the bucket is made where it is missing)
"""

import datetime
import hashlib
import hmac
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

ACCESS_KEY, SECRET_KEY = "test:tester", "a-secret-that-stays-here"
REGION = "us-east-1"

_COMMON = """[DEFAULT]
bind_ip = {host}
bind_port = {port}
user = root
swift_dir = {etc}
devices = {folder}/devices
mount_check = false
workers = 0
log_level = WARNING
"""
_SERVER = """[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
_PROXY = """[pipeline:main]
pipeline = catch_errors cache listing_formats s3api tempauth copy slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:1
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
location = {region}
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = {secret} .admin
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
"""


# With Debian's own Python, which has Swift's modules.
_LIST_ONLY = """
import glob, sys
from swift.common.utils import Timestamp
from swift.container.backend import ContainerBroker
devices, bucket = sys.argv[1:]
keys = sys.stdin.read().split()
for path in glob.glob(devices + "/d1/containers/*/*/*/*.db"):
    broker = ContainerBroker(path)
    if broker.get_info()["container"] == bucket:
        for key in keys:
            broker.put_object(key, Timestamp.now().internal, 1, "text/plain", "0" * 32)
        broker.get_info()  # merges what is pending
        sys.exit(0)
sys.exit("no bucket " + bucket)
"""


class S3Client:
    def __init__(self, host):
        self.host = host
        self.url = f"http://{host}"

    def _call(self, method, path, body=b""):
        """AWS Signature Version 4, written down a second time, in another language."""
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        digest = hashlib.sha256(body).hexdigest()
        headers = {"host": self.host, "x-amz-content-sha256": digest, "x-amz-date": now}
        names = ";".join(sorted(headers))
        canonical = "\n".join([method, path, "", *(f"{k}:{headers[k]}" for k in sorted(headers)),
                               "", names, digest])
        scope = f"{now[:8]}/{REGION}/s3/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", now, scope,
                          hashlib.sha256(canonical.encode()).hexdigest()])
        key = ("AWS4" + SECRET_KEY).encode()
        for part in (now[:8], REGION, "s3", "aws4_request"):
            key = hmac.new(key, part.encode(), "sha256").digest()
        signature = hmac.new(key, text.encode(), "sha256").hexdigest()
        headers["Authorization"] = (f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, "
                                    f"SignedHeaders={names}, Signature={signature}")
        request = urllib.request.Request(self.url + path, data=body, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=30):
            pass

    def make_bucket(self, bucket):
        self._call("PUT", f"/{bucket}")

    def put(self, bucket, key, data):
        self._call("PUT", f"/{bucket}/{urllib.parse.quote(key)}", data)


class S3Server(S3Client):
    """Ends with the supervisor. `ports`: four that are free. `node`: a Node of a Network, else loopback."""

    def __init__(self, programs, folder, ports, node=None):
        address = node.address if node else "127.0.0.1"
        super().__init__(f"{address}:{ports[0]}")
        etc = folder / "etc"
        self._devices = folder / "devices"
        (folder / "devices" / "d1").mkdir(parents=True)
        etc.mkdir()
        (etc / "swift.conf").write_text(
            "[swift-hash]\nswift_hash_path_suffix = a\nswift_hash_path_prefix = b\n"
            "[storage-policy:0]\nname = one\ndefault = yes\n", encoding="ascii")
        proxy, *others = ports
        for kind, port in zip(("object", "container", "account"), others):
            self._make_ring(etc, kind, address, port)
            config = etc / f"{kind}.conf"
            config.write_text(_COMMON.format(port=port, etc=etc, folder=folder, host=address) +
                              _SERVER.format(kind=kind), encoding="ascii")
            programs.start(f"swift-{kind}", [f"swift-{kind}-server", config], node=node).wait_for_port(
                    port, address, node=node)
        config = etc / "proxy.conf"
        config.write_text(_COMMON.format(port=proxy, etc=etc, folder=folder, host=address) +
                          _PROXY.format(region=REGION, secret=SECRET_KEY), encoding="ascii")
        self.process = programs.start("swift-proxy", ["swift-proxy-server", config], node=node)
        self.process.wait_for_port(proxy, address, node=node)

    @staticmethod
    def _make_ring(etc, kind, address, port):
        builder = etc / f"{kind}.builder"
        for words in (["create", "4", "1", "1"], ["add", f"r1z1-{address}:{port}/d1", "1"],
                      ["rebalance"]):
            subprocess.run(["swift-ring-builder", builder, *words], check=True,
                           stdout=subprocess.DEVNULL)

    def list_only(self, bucket, keys):
        """Puts keys into the bucket's listing alone: thousands of objects would take minutes."""
        done = subprocess.run(["/usr/bin/python3", "-c", _LIST_ONLY, self._devices, bucket],
                              input="\n".join(keys), text=True, capture_output=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)


if __name__ == "__main__":
    _, _where, _verb, _bucket, _key, _file = sys.argv
    _client = S3Client(_where)
    try:
        _client.make_bucket(_bucket)
    except urllib.error.HTTPError as _error:
        if _error.code != 409:  # it is there
            raise
    with open(_file, "rb") as _data:
        _client.put(_bucket, _key, _data.read())
