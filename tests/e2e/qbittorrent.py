"""qBittorrent without its window, on loopback, driven by its web interface."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request

from e2e_case import free_ports, wait_until

# What it finds peers by is the torrent's tracker and nothing else; all ends share one address.
_CONFIG = """\
[LegalNotice]
Accepted=true

[BitTorrent]
Session\\DHTEnabled=false
Session\\LSDEnabled=false
Session\\PeXEnabled=false
Session\\BTProtocol=TCP
Session\\Port={port}
Session\\MultiConnectionsPerIp=true
Session\\QueueingSystemEnabled=false
Session\\DefaultSavePath={folder}

[Network]
PortForwardingEnabled=false

[Preferences]
General\\Locale=en
WebUI\\Address=127.0.0.1
WebUI\\Port={web}
WebUI\\LocalHostAuth=false
WebUI\\UseUPnP=false
"""


class QBittorrent:
    """Started with an empty profile below `directory`; `programs` (a Supervisor) ends it."""

    def __init__(self, programs, directory):
        self.folder = directory / "downloads"
        self.folder.mkdir(parents=True)
        port, self.web = free_ports(2)
        profile = directory / "profile"
        config = profile / "qBittorrent" / "config"
        config.mkdir(parents=True)
        (config / "qBittorrent.conf").write_text(
            _CONFIG.format(port=port, web=self.web, folder=self.folder), encoding="utf-8")
        self.process = programs.start(
            f"qbittorrent-{time.monotonic_ns()}", ["qbittorrent-nox", f"--profile={profile}"],
            env={"HOME": str(directory)})
        wait_until("qBittorrent to listen", self._answers, 30)

    def _answers(self):
        if not self.process.running():
            raise RuntimeError(f"qBittorrent ended:\n{self.process.log_tail()}")
        try:
            return self._call("app/version").startswith(b"v")
        except (OSError, urllib.error.URLError):
            return False

    def _call(self, path, fields=None, files=None):
        data, headers = None, {}
        if files:
            edge = "shoal-e2e-edge"
            data = b"".join(
                f"--{edge}\r\nContent-Disposition: form-data; name=\"torrents\"; "
                f"filename=\"{name}\"\r\nContent-Type: application/x-bittorrent\r\n\r\n".encode()
                + content + b"\r\n" for name, content in files.items()) + f"--{edge}--\r\n".encode()
            headers["Content-Type"] = f"multipart/form-data; boundary={edge}"
        elif fields:
            data = urllib.parse.urlencode(fields).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.web}/api/v2/{path}", data, headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()

    def add_magnet(self, link):
        self._call("torrents/add", {"urls": link})

    def add_file(self, path):
        self._call("torrents/add", files={"model.torrent": path.read_bytes()})

    def torrents(self):
        """What it says of each of its torrents: progress, state, completed, …"""
        return json.loads(self._call("torrents/info"))
