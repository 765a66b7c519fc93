"""A daemon process that a module's tests share, and Debian's beside it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.transmission.interop.oracle import Oracle
from tests.daemon.transmission.interop.remote import RemoteDaemon
from tests.support.processes import wait_until


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemoteDaemon]:
    with RemoteDaemon(tmp_path_factory.mktemp("daemon")) as daemon:
        daemon.wait_ready()
        yield daemon


@pytest.fixture
def daemon(shared: RemoteDaemon) -> Iterator[RemoteDaemon]:
    """The daemon of the module, without torrents."""
    shared.wait_ready()
    yield shared
    shared.wait_ready()
    shared.ask("torrent-remove")


@pytest.fixture
def other_folder(shared: RemoteDaemon) -> Path:
    """A folder below that of downloads."""
    folder = shared.downloads / "other"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    with Oracle(tmp_path_factory.mktemp("oracle")) as program:
        wait_until(program.answers, timeout_s=60, what="transmission-daemon answers")
        yield program
