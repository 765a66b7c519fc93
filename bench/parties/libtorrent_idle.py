"""libtorrent_idle.py MODE FOLDER PORT REST_S SETTLE_S: many torrents without peers in a session."""

import os
import time
from pathlib import Path

import libtorrent

from bench.parties.idle import Arguments, Clock, collected_rss_kib, rss_kib, tell

SETTINGS = {
    "alert_mask": libtorrent.alert.category_t.status_notification
    | libtorrent.alert.category_t.tracker_notification
    | libtorrent.alert.category_t.storage_notification,
    "alert_queue_size": 200_000,
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
}
MANUAL = libtorrent.torrent_flags.auto_managed | libtorrent.torrent_flags.paused


class Torrents:
    """A session, what it holds, and how often its trackers answered."""

    def __init__(self, arguments: Arguments) -> None:
        listen = {"listen_interfaces": f"127.0.0.1:{arguments.port}"}
        self.session = libtorrent.session({**SETTINGS, **listen})
        self.arguments = arguments
        self.state = arguments.folder / "libtorrent-state"
        self.handles: list[libtorrent.torrent_handle] = []
        self.announced = 0

    def add(self, parameters: libtorrent.add_torrent_params) -> None:
        """Start one; none is queued."""
        parameters.flags &= ~MANUAL
        self.handles.append(self.session.add_torrent(parameters))

    def add_all(self, torrents: list[str]) -> None:
        """Load and start them."""
        for torrent in torrents:
            parameters = libtorrent.add_torrent_params()
            parameters.ti = libtorrent.torrent_info(torrent)
            parameters.save_path = self.arguments.save_path
            self.add(parameters)

    def restore_all(self) -> None:
        """Start everything from the resume data of the last run."""
        for path in sorted(self.state.iterdir()):
            self.add(libtorrent.read_resume_data(path.read_bytes()))

    def save_all(self) -> None:
        """Write resume data with the metadata in it, a file a torrent."""
        self.state.mkdir(exist_ok=True)
        for handle in self.handles:
            handle.save_resume_data(libtorrent.torrent_handle.save_info_dict)
        left = len(self.handles)
        while left:
            for alert in self.alerts():
                if isinstance(alert, libtorrent.save_resume_data_alert):
                    self.write(alert)
                    left -= 1
                elif isinstance(alert, libtorrent.save_resume_data_failed_alert):
                    left -= 1

    def write(self, alert: libtorrent.save_resume_data_alert) -> None:
        """Write one file."""
        data = libtorrent.write_resume_data_buf(alert.params)
        name = str(alert.handle.info_hash())
        Path(self.state, name).write_bytes(data)

    def alerts(self) -> list[libtorrent.alert]:
        """Wait for alerts and take them."""
        self.session.wait_for_alert(200)
        alerts: list[libtorrent.alert] = self.session.pop_alerts()
        self.announced += sum(isinstance(each, libtorrent.tracker_reply_alert) for each in alerts)
        return alerts

    def rest(self, seconds: float) -> None:
        """Wait, and take alerts once a second."""
        end_s = time.perf_counter() + seconds
        while time.perf_counter() < end_s:
            time.sleep(1.0)
            self.alerts()


def main() -> None:
    arguments = Arguments()
    clock = Clock()
    torrents = Torrents(arguments)
    if arguments.restores:
        torrents.restore_all()
        tell("restored", count=len(torrents.handles), rss_kib=rss_kib(), **clock.figures())
    else:
        torrents.add_all(arguments.torrents[:1])
        settle(torrents)
        tell("empty", rss_kib=collected_rss_kib(), **clock.figures())
        clock = Clock()
        torrents.add_all(arguments.torrents[1:])
        tell("added", count=len(torrents.handles), rss_kib=rss_kib(), **clock.figures())
        torrents.save_all()
        tell("saved", rss_kib=rss_kib(), **clock.figures())
    settle(torrents)
    resting, heard = Clock(), torrents.announced
    torrents.rest(arguments.rest_s)
    announced = torrents.announced - heard
    tell("rested", announces=announced, rss_kib=collected_rss_kib(), **resting.figures())
    tell("end", **Clock().figures())
    os._exit(0)


def settle(torrents: Torrents) -> None:
    """Wait until each was announced once; tell how many were in time."""
    clock = Clock()
    end_s = clock.began_s + torrents.arguments.settle_s
    while torrents.announced < len(torrents.handles) and time.perf_counter() < end_s:
        torrents.alerts()
    figures = clock.figures()
    tell("settled", announced=torrents.announced, rss_kib=collected_rss_kib(), **figures)


if __name__ == "__main__":
    main()
