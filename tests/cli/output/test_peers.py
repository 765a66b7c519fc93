"""What the peers of a torrent look like."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.cli import fakes
from torrent_engine.base.config import ConnectionEncryption, SessionConfig, TransportProtocol
from torrent_engine.base.ids import PeerAddress
from torrent_engine.cli.output import views
from torrent_engine.cli.output.peers import peer_lines
from torrent_engine.cli.output.render import Reporter
from torrent_engine.cli.tasks.torrent_task import TaskOptions, TorrentTask
from torrent_engine.engine.stats import PeerStats


def peer(
    number: int = 1,
    *,
    transport: TransportProtocol = TransportProtocol.TCP,
    encryption: ConnectionEncryption = ConnectionEncryption.NONE,
    rate: float = 0.0,
    client: str = "",
    is_incoming: bool = False,
    is_seed: bool = False,
) -> PeerStats:
    return PeerStats(
        address=PeerAddress("192.0.2.1", number),
        client=client,
        source="tracker",
        is_incoming=is_incoming,
        transport=transport,
        encryption=encryption,
        is_seed=is_seed,
        am_interested=False,
        am_choking=True,
        peer_interested=False,
        peer_choking=True,
        is_snubbed=False,
        downloaded_bytes=0,
        uploaded_bytes=0,
        download_bytes_per_s=rate,
        upload_bytes_per_s=0.0,
        outstanding_requests=0,
    )


def test_a_line_says_how_a_peer_is_connected_and_what_it_does() -> None:
    (line,) = peer_lines([peer(rate=2048.0, client="Other 1.2", is_seed=True)])
    assert line == "192.0.2.1:1 -> TCP plain, down 2.0 KiB/s, up 0 B/s, seed, Other 1.2"


@pytest.mark.parametrize(
    ("transport", "encryption", "is_incoming", "expected"),
    [
        (TransportProtocol.TCP, ConnectionEncryption.RC4, False, "-> TCP MSE RC4,"),
        (TransportProtocol.UTP, ConnectionEncryption.NONE, True, "<- uTP plain,"),
        (TransportProtocol.UTP, ConnectionEncryption.PLAINTEXT, True, "<- uTP MSE plain,"),
    ],
)
def test_each_kind_of_link_has_its_words(
    transport: TransportProtocol,
    encryption: ConnectionEncryption,
    expected: str,
    *,
    is_incoming: bool,
) -> None:
    (line,) = peer_lines(
        [peer(transport=transport, encryption=encryption, is_incoming=is_incoming)]
    )
    assert expected in line


def test_the_fastest_come_first_and_the_others_are_counted() -> None:
    lines = peer_lines([peer(number, rate=number * 1000.0) for number in range(1, 15)])
    assert [line.split(" ")[0] for line in lines[:2]] == ["192.0.2.1:14", "192.0.2.1:13"]
    assert lines[-1] == "and 4 more"
    assert len(lines) == 11


def test_the_name_of_a_program_cannot_control_the_terminal() -> None:
    (line,) = peer_lines([peer(client="\x1b[31mred" + "x" * 100)])
    assert "\x1b" not in line
    assert line.endswith("...")
    assert len(line) < 100


def rows(count: int, peers: int) -> list[views.Row]:
    lines = peer_lines([peer(number + 1) for number in range(peers)])
    return [
        views.Row(f"{key}", f"torrent {key}", 0.5, ("fact",), peers=lines) for key in range(count)
    ]


def drawn(shown: list[views.Row], height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=80, height=height, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(views.live_view(shown, width=80, height=height, ascii_only=True))
    return capture.get().splitlines()


@pytest.mark.parametrize("height", [3, 6, 10, 24])
@pytest.mark.parametrize("count", [1, 3, 9])
def test_torrents_with_their_peers_fit_into_the_terminal(height: int, count: int) -> None:
    lines = drawn(rows(count, 5), height)
    assert "torrent 0" in lines[0]
    assert len(lines) <= max(height - 1, 3)


def test_peers_stand_below_their_torrent() -> None:
    lines = drawn(rows(2, 2), 24)
    assert [line.startswith("    192.0.2.1:") for line in lines] == [False, False, True, True] * 2


def test_a_log_has_them_below_the_line_of_the_torrent() -> None:
    (row,) = rows(1, 2)
    first, *others = views.plain_line(row).splitlines()
    assert first == "torrent 0: fact"
    assert [line.split(" ->")[0] for line in others] == ["  192.0.2.1:1", "  192.0.2.1:2"]


class FakeSession:
    """A torrent with one peer."""

    info_hash, name, metainfo = bytes(20), "one", None

    def stats(self) -> Any:
        return fakes.FakeStats()

    def peers(self) -> list[PeerStats]:
        return [peer()]

    def trackers(self) -> list[Any]:
        return []


@pytest.mark.parametrize("shows_peers", [True, False])
def test_peers_are_shown_where_they_are_asked_for(tmp_path: Path, *, shows_peers: bool) -> None:
    options = TaskOptions(tmp_path, lambda _: SessionConfig(), shows_peers=shows_peers)
    job = TorrentTask("one", options, Reporter())
    assert job.row.peers == ()  # nothing is loaded yet
    job.session = FakeSession()  # type: ignore[assignment]
    assert len(job.row.peers) == shows_peers
