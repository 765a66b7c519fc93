"""MSE with Transmission and aria2 that take nothing but RC4; we are as we come, plain first."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.aria2_client import Aria2Client
from tests.support.engine_client import EngineLeech, EngineProcess, EngineSeed
from tests.support.fixed_tracker import naming
from tests.support.netns import Host
from tests.support.payload import Payload, make_payload
from tests.support.processes import free_port, wait_until
from tests.support.transmission_client import TransmissionClient

pytestmark = pytest.mark.interop

WAIT_S = 180.0  # Transmission thinks of whom to unchoke each ten seconds only
TRANSMISSION_REQUIRES = {"encryption": 2}
ARIA2_REQUIRES = ("--bt-require-crypto=true", "--bt-min-crypto-level=arc4")
KINDS = ["transmission", "aria2"]


@contextmanager
def insisting(kind: str, host: Host, folder: Path) -> Iterator[TransmissionClient | Aria2Client]:
    """Run a program that wants its links encrypted."""
    port, address = free_port(), host.address(2)
    client: TransmissionClient | Aria2Client
    if kind == "transmission":
        client = TransmissionClient(
            host, folder / kind, port=port, address=address, changes=TRANSMISSION_REQUIRES
        )
    else:
        client = Aria2Client(host, folder / kind, port=port, address=address, extra=ARIA2_REQUIRES)
    with client:
        yield client


def links(process: EngineProcess) -> set[tuple[object, object]]:
    """Return how our links were encrypted, and whether they were incoming."""
    events = process.events("peer.connected")
    return {(event["encryption"], event["incoming"]) for event in events}


@pytest.mark.parametrize("kind", KINDS)
def test_mse_program_that_requires_rc4_is_dialled_for_a_torrent_and_dials_for_another(
    kind: str, hosts: tuple[Host, Host], folder: Path
) -> None:
    left, right = hosts
    theirs = make_payload(folder, "theirs.bin", {"theirs.bin": 3_000_017})
    ours = make_payload(folder, "ours.bin", {"ours.bin": 3_000_017})
    port, saved = free_port(), folder / "saved"
    with ExitStack() as programs:
        seed = programs.enter_context(EngineSeed(left, folder / "seed", [ours], port=port))
        seed.wait_event("session.started")
        us = (left.address(1), port)
        url = programs.enter_context(naming(right, us, address=right.address(3)))
        other = programs.enter_context(insisting(kind, right, folder))
        other.add(ours.announced_to(url), saved)
        other.add(theirs, theirs.source_dir)
        other.wait_complete(theirs, WAIT_S)
        leech = programs.enter_context(leech_of(theirs, left, folder, other.address))
        leech.wait_complete(WAIT_S)
        other.wait_complete(ours, WAIT_S)
        wait_until(
            lambda: ours.is_complete_in(saved), timeout_s=WAIT_S, what="everything is written"
        )
        assert theirs.is_complete_in(leech.save_dir)
        assert links(leech) == {("rc4", False)}
        assert links(seed) == {("rc4", True)}


def leech_of(payload: Payload, host: Host, folder: Path, peer: tuple[str, int]) -> EngineLeech:
    torrents = [payload.torrent]
    return EngineLeech(host, folder / "leech", torrents, port=free_port(), peers=[peer])
