"""uTP with Transmission: the network lets no TCP through to whoever is dialled (BEP 29)."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.capture import Capture, capturing
from tests.support.engine_client import EngineLeech, EngineProcess, EngineSeed, EngineTracker
from tests.support.netns import Host
from tests.support.payload import Payload
from tests.support.processes import free_port, require_program
from tests.support.transmission_client import TransmissionClient
from torrent_engine.protocol.utp.packet import DATA, MASK_16, STATE, decode_packet

pytestmark = pytest.mark.interop

PATIENCE_S = 180.0
UTP_ON = {"utp-enabled": True}
LONG_BYTES = 900  # on average; what is taken without a trial are 548


@contextmanager
def shut_to_tcp(host: Host, port: int) -> Iterator[None]:
    """Drop what comes over TCP to a port of a host; over UDP it is reached."""
    nft = require_program("nft", "nftables")
    table = f"te_{port}"
    chain = f"inet {table} input"
    commands = (
        f"add table inet {table}",
        f"add chain {chain} {{ type filter hook input priority 0; }}",
        f"add rule {chain} tcp dport {port} drop",
    )
    _run(host.command([nft, "; ".join(commands)]))
    try:
        yield
    finally:
        _run(host.command([nft, "delete", "table", "inet", table]))


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=20)


def transports(engine: EngineProcess) -> set[object]:
    return {event["transport"] for event in engine.events("peer.connected")}


def test_bep29_we_leech_from_transmission(
    hosts: tuple[Host, Host], payloads: Sequence[Payload], folder: Path
) -> None:
    (left, right), payload, port = hosts, payloads[0], free_port()
    with ExitStack() as programs:
        seed = programs.enter_context(
            TransmissionClient(
                right, folder / "tr", port=port, address=right.address(6), changes=UTP_ON
            )
        )
        programs.enter_context(shut_to_tcp(right, port))
        seed.add(payload, payload.source_dir)
        seed.wait_complete(payload, PATIENCE_S)
        leech = programs.enter_context(
            EngineLeech(
                left, folder / "us", [payload.torrent], port=free_port(), peers=[seed.address]
            )
        )
        leech.wait_complete(PATIENCE_S)
        assert payload.is_complete_in(leech.save_dir)
        assert transports(leech) == {"utp"}


def packets_taken(capture: Capture, port: int) -> int:
    """Return how many packets of ours were acknowledged, by the numbers that a peer sent."""
    packets = [
        decode_packet(each.payload)
        for each in capture.packets
        if each.is_udp and each.target[1] == port and each.payload[:1] != b"d"
    ]
    numbers = [each.acknowledged for each in packets if each.type in {DATA, STATE}]
    return (max(numbers, key=lambda n: (n - numbers[0]) & MASK_16) - numbers[0]) & MASK_16


def test_bep29_transmission_dials_us_and_leeches(
    hosts: tuple[Host, Host], payloads: Sequence[Payload], folder: Path
) -> None:
    """Its uTP is libutp, which takes longer packets only if it understands how they are tried."""
    (left, right), port = hosts, free_port()
    with ExitStack() as programs:
        tracker = programs.enter_context(
            EngineTracker(left, folder / "tracker", port=free_port(), address=left.address(1))
        )
        tracker.wait_listening()
        payload = payloads[0].announced_to(tracker.http_url)
        programs.enter_context(shut_to_tcp(left, port))
        utp_only = ["--transport", "utp"]  # it dials whom the tracker names meanwhile
        seed = programs.enter_context(
            EngineSeed(left, folder / "us", [payload], port=port, extra=utp_only)
        )
        seed.wait_event("session.started")
        leech = programs.enter_context(
            TransmissionClient(
                right, folder / "tr", port=free_port(), address=right.address(7), changes=UTP_ON
            )
        )
        capture = programs.enter_context(capturing(right))
        leech.add(payload, folder / "they-saved")
        leech.wait_complete(payload, PATIENCE_S)
        assert payload.is_complete_in(folder / "they-saved")
        seed.wait_event("peer.connected")
        assert transports(seed) == {"utp"}
        assert 0 < packets_taken(capture, port) < payload.total_bytes / LONG_BYTES
