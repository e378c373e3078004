#!/usr/bin/python3
"""A BitTorrent client on loopback, on libtorrent as Debian packages it.

usage: bittorrent_client.py [--port N] [--peer HOST:PORT]… check|get|seed WHAT FOLDER

  check  hashes what is in FOLDER and ends
  get    downloads into FOLDER and ends when it has everything
  seed   the same, and then stays until it is ended by a signal

WHAT is a .torrent file or a magnet link. Finds peers only by the trackers of WHAT and by --peer.
Prints a JSON object per line: {"event":"ready"} once it listens; {"event":"checked"} and
{"event":"complete"} with info_hash, name, pieces, pieces_have and progress (0 to 1);
{"event":"tracker"} with url, peers (how many it named) or error; {"event":"error"} with error.
Ends with 1 after an error.

Started by its first line: the package is for Debian's own Python.
"""

import argparse
import json
import sys

import libtorrent as lt


def say(event, **what):
    print(json.dumps({"event": event, **what}), flush=True)


def standing(status):
    return {"info_hash": str(status.info_hashes.v2), "name": status.name,
            "pieces": len(status.pieces), "pieces_have": sum(status.pieces),
            "progress": status.progress}


def parameters(what, folder):
    if what.startswith("magnet:"):
        wanted = lt.parse_magnet_uri(what)
    else:
        wanted = lt.add_torrent_params()
        wanted.ti = lt.torrent_info(what)
    wanted.save_path = folder
    wanted.flags &= ~(lt.torrent_flags.paused | lt.torrent_flags.auto_managed)
    return wanted


def session(port):
    return lt.session({
        "listen_interfaces": f"127.0.0.1:{port}", "enable_dht": False, "enable_lsd": False,
        "enable_upnp": False, "enable_natpmp": False, "allow_multiple_connections_per_ip": True,
        # Both ends are this machine; uTP is paced for links that others use too.
        "enable_incoming_utp": False, "enable_outgoing_utp": False,
        "alert_mask": lt.alert.category_t.error_notification
        | lt.alert.category_t.status_notification | lt.alert.category_t.tracker_notification})


def follow(ours, handle, mode):
    """Tells what happens until there is nothing more to wait for; the exit status."""
    complete = False
    while True:
        ours.wait_for_alert(200)
        for alert in ours.pop_alerts():
            if isinstance(alert, lt.torrent_checked_alert):
                say("checked", **standing(handle.status()))
                if mode == "check":
                    return 0
            elif isinstance(alert, lt.tracker_reply_alert):
                say("tracker", url=alert.url, peers=alert.num_peers)
            elif isinstance(alert, lt.tracker_error_alert):
                say("tracker", url=alert.url, error=alert.error_message())
            elif isinstance(alert, (lt.torrent_error_alert, lt.file_error_alert,
                                    lt.metadata_failed_alert, lt.listen_failed_alert)):
                say("error", error=alert.message())
                return 1
        status = handle.status()
        if not complete and mode != "check" and status.is_seeding:
            complete = True
            say("complete", **standing(status))
            if mode == "get":
                return 0


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--peer", action="append", default=[])
    parser.add_argument("mode", choices=["check", "get", "seed"])
    parser.add_argument("what")
    parser.add_argument("folder")
    given = parser.parse_args()
    ours = session(given.port)
    handle = ours.add_torrent(parameters(given.what, given.folder))
    say("ready")
    for peer in given.peer:
        host, port = peer.rsplit(":", 1)
        handle.connect_peer((host, int(port)))
    return follow(ours, handle, given.mode)


if __name__ == "__main__":
    sys.exit(main())
