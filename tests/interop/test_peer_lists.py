"""Our line in the peer lists of other programs: name, version, encryption, transport, direction."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest

from tests.support.aria2_client import Aria2Client
from tests.support.deluge_client import DelugeClient
from tests.support.engine_client import EngineLeech, EngineSeed
from tests.support.libtorrent_client import LibtorrentClient
from tests.support.netns import Host
from tests.support.payload import Payload, make_payload
from tests.support.processes import free_port, wait_until
from tests.support.qbittorrent_client import QBittorrentClient
from tests.support.rtorrent_client import RTorrentClient
from tests.support.transmission_client import TransmissionClient
from torrent_engine.base.ids import CLIENT_NAME, CLIENT_PREFIX

pytestmark = pytest.mark.interop

WAIT_S = 180.0
SHORT_NAME = CLIENT_PREFIX.decode()[:7]
SLOWLY = ("--max-download-limit", "100K")
LINKS: dict[str, tuple[tuple[str, ...], dict[str, bool]]] = {
    "plain TCP": (
        ("--transport", "tcp", "--encryption", "disabled"),
        {"rc4": False, "utp": False},
    ),
    "RC4 over TCP": (
        ("--transport", "tcp", "--encryption", "required", "--encryption-level", "rc4"),
        {"rc4": True, "utp": False},
    ),
    "uTP": (("--transport", "utp", "--encryption", "disabled"), {"rc4": False, "utp": True}),
}


def line_of(client: LibtorrentClient | TransmissionClient, payload: Payload) -> Mapping[str, Any]:
    """Return the only line of a peer list, when what it calls us is final.

    libtorrent takes the name from the peer id until the extension handshake comes; Transmission
    knows no others.
    """
    found: list[Mapping[str, Any]] = []

    def is_named() -> bool:
        found[:] = client.peers(payload)
        names = [each.get("client") or each.get("clientName") or "" for each in found]
        return len(names) == 1 and names[0].startswith((CLIENT_NAME, SHORT_NAME))

    wait_until(is_named, timeout_s=WAIT_S, what="one peer in the list, with its name")
    return found[0]


@pytest.mark.parametrize("link", LINKS)
def test_bep10_libtorrent_shows_who_dialled_it_and_how(
    hosts: tuple[Host, Host], folder: Path, link: str
) -> None:
    left, right = hosts
    options, flags = LINKS[link]
    made = make_payload(folder, "shown.bin", {"shown.bin": 20_000_000})
    port = free_port()
    with LibtorrentClient(right, folder / "seed", port=port, enable_incoming_utp=True) as seed:
        seed.add(made, made.source_dir)
        seed.wait_complete(made)
        extra, port = (*SLOWLY, *options), free_port()
        with EngineLeech(
            left, folder / "leech", [made.torrent], port=port, peers=[seed.address], extra=extra
        ):
            line = line_of(seed, made)
    assert {name: line[name] for name in ("client", *flags, "incoming")} == {
        "client": CLIENT_NAME,
        "incoming": True,
        **flags,
    }


def test_bep10_libtorrent_shows_whom_it_dialled(hosts: tuple[Host, Host], folder: Path) -> None:
    left, right = hosts
    made = make_payload(folder, "shown.bin", {"shown.bin": 20_000_000})
    port = free_port()
    with (
        EngineSeed(left, folder / "seed", [made], port=port) as seed,
        LibtorrentClient(right, folder / "leech", port=free_port()) as leech,
    ):
        seed.wait_event("session.started")
        us = (left.address(), port)
        leech.add(made, folder / "saved", peers=[us], download_limit=100_000)
        line = line_of(leech, made)
    assert (line["client"], line["incoming"]) == (CLIENT_NAME, False)
    assert tuple(line["address"]) == us


@pytest.mark.parametrize("link", LINKS)
def test_bep10_transmission_shows_who_dialled_it_and_how(
    hosts: tuple[Host, Host], folder: Path, link: str
) -> None:
    left, right = hosts
    options, flags = LINKS[link]
    made = make_payload(folder, "shown.bin", {"shown.bin": 20_000_000})
    changes = {"utp-enabled": True, "speed-limit-up": 100, "speed-limit-up-enabled": True}
    with TransmissionClient(
        right, folder / "seed", port=free_port(), address=right.address(2), changes=changes
    ) as seed:
        seed.add(made, made.source_dir)
        seed.wait_complete(made)
        extra, port = (*SLOWLY, *options), free_port()
        with EngineLeech(
            left, folder / "leech", [made.torrent], port=port, peers=[seed.address], extra=extra
        ):
            line = line_of(seed, made)
    assert (line["isEncrypted"], line["isUTP"]) == (flags["rc4"], flags["utp"])
    assert line["isIncoming"]
    assert line["clientName"].startswith(SHORT_NAME)


SILENT_TRACKER = "http://127.0.0.1:9/announce"  # rtorrent takes no torrent without a tracker


def shown_while_leeching(
    host: Host,
    folder: Path,
    made: Payload,
    client: Any,
    link: str,
    lines: Callable[[], Sequence[Any]],
) -> Any:
    """Return the only line of the peer list of a seed while we download from it over a link."""
    extra, port = (*SLOWLY, *LINKS[link][0]), free_port()
    with EngineLeech(
        host, folder / link, [made.torrent], port=port, peers=[client.address], extra=extra
    ) as leech:
        leech.wait_event("piece.completed", timeout_s=WAIT_S)
        shown = lines()
    assert len(shown) == 1, shown
    wait_until(lambda: not lines(), timeout_s=WAIT_S, what="nobody in the list when we left")
    return shown[0]


def test_bep10_qbittorrent_shows_who_dialled_it_and_how(
    hosts: tuple[Host, Host], folder: Path
) -> None:
    left, right = hosts
    made = make_payload(folder, "shown.bin", {"shown.bin": 20_000_000})
    both = {"bittorrent_protocol": 0}
    with QBittorrentClient(right, folder / "seed", port=free_port(), changes=both) as seed:
        seed.add(made, made.source_dir)
        seed.wait_complete(made)

        def lines() -> list[Any]:
            return list(seed.peers(made).values())

        for link, (_, flags) in LINKS.items():
            line = shown_while_leeching(left, folder, made, seed, link, lines)
            letters = set(line["flags"].split())
            assert line["client"] == CLIENT_NAME
            assert line["peer_id_client"] == CLIENT_PREFIX.decode()
            assert line["connection"] == ("\u03bcTP" if flags["utp"] else "BT")
            assert ("E" in letters, "P" in letters) == (flags["rc4"], flags["utp"])
            assert "I" in letters


def test_bep10_qbittorrent_shows_whom_it_dialled(hosts: tuple[Host, Host], folder: Path) -> None:
    left, right = hosts
    made = make_payload(folder, "shown.bin", {"shown.bin": 20_000_000})
    port = free_port()
    with (
        EngineSeed(left, folder / "seed", [made], port=port) as seed,
        QBittorrentClient(right, folder / "leech", port=free_port()) as leech,
    ):
        seed.wait_event("session.started")
        us = (left.address(), port)
        leech.add(made, folder / "saved", peers=[us], dlLimit="100000")
        shown: list[Any] = []

        def is_named() -> bool:
            shown[:] = leech.peers(made).values()
            return len(shown) == 1 and shown[0]["client"] == CLIENT_NAME

        wait_until(is_named, timeout_s=WAIT_S, what="one peer in the list, with its name")
    assert (shown[0]["ip"], shown[0]["port"], shown[0]["connection"]) == (*us, "BT")
    assert "I" not in shown[0]["flags"].split()


def test_bep20_rtorrent_shows_who_dialled_it_and_how(
    hosts: tuple[Host, Host], folder: Path
) -> None:
    """It knows programs by a list of its own, and names all others so; the version is ours."""
    left, right = hosts
    made = make_payload(folder, "shown.bin", {"shown.bin": 20_000_000}).announced_to(SILENT_TRACKER)
    with RTorrentClient(right, folder / "seed", port=free_port()) as seed:
        seed.add(made, made.source_dir)
        seed.wait_complete(made)
        for link in ("plain TCP", "RC4 over TCP"):
            line = shown_while_leeching(left, folder, made, seed, link, lambda: seed.peers(made))
            assert line[1:] == ["Unknown 0.1.0.0", int(LINKS[link][1]["rc4"]), 1]


def test_bep20_aria2_shows_the_peer_id_of_who_dialled_it(
    hosts: tuple[Host, Host], folder: Path
) -> None:
    """It shows neither names nor how a link is made."""
    left, right = hosts
    made = make_payload(folder, "shown.bin", {"shown.bin": 20_000_000})
    address = right.address(3)
    with Aria2Client(right, folder / "seed", port=free_port(), address=address) as seed:
        seed.add(made, made.source_dir)
        seed.wait_complete(made)
        for link in ("plain TCP", "RC4 over TCP"):
            line = shown_while_leeching(left, folder, made, seed, link, lambda: seed.peers(made))
            assert unquote_to_bytes(line["peerId"]).startswith(CLIENT_PREFIX)
            assert line["seeder"] == "false"


def test_bep10_deluge_shows_who_dialled_it(hosts: tuple[Host, Host], folder: Path) -> None:
    """It shows the name, not how a link is made."""
    left, right = hosts
    made = make_payload(folder, "shown.bin", {"shown.bin": 20_000_000})
    with DelugeClient(right, folder / "seed", port=free_port()) as seed:
        seed.add(made, made.source_dir)
        seed.wait_complete(made)
        line = shown_while_leeching(left, folder, made, seed, "uTP", lambda: seed.peers(made))
    assert line["client"] == CLIENT_NAME
