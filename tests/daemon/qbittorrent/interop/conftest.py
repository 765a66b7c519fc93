"""A daemon process that the tests of a module share, and the library that talks to it."""

from collections.abc import Iterator

import pytest

from tests.support.daemon_process import DaemonProcess

qbittorrentapi = pytest.importorskip("qbittorrentapi")
from qbittorrentapi import Client  # noqa: E402


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    settings = ["qbittorrent.enabled=true", "network.dht=false", "network.lsd=false"]
    folder = tmp_path_factory.mktemp("daemon")
    with DaemonProcess(folder, settings=settings) as program:
        program.wait_ready()
        yield program


@pytest.fixture(scope="module")
def logged_in(daemon: DaemonProcess) -> Iterator[Client]:
    client = Client(
        host=f"http://127.0.0.1:{daemon.port}",
        username="torrent",
        password=daemon.token,
        FORCE_SCHEME_FROM_HOST=True,
    )
    with client:
        yield client


@pytest.fixture
def client(daemon: DaemonProcess, logged_in: Client) -> Iterator[Client]:
    """The library's client, of a daemon without torrents."""
    yield logged_in
    daemon.wait_ready()
    logged_in.torrents_delete(delete_files=True, torrent_hashes="all")
