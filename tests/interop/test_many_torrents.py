"""Three torrents at once from three programs, in one process that is killed and started again."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.interop.scenarios import CLIENTS, KINDS, OtherClient
from tests.support.engine_client import Address
from tests.support.manager_client import ManagerProcess, Status
from tests.support.netns import Host
from tests.support.payload import Payload, make_payload
from tests.support.processes import free_port, wait_until

pytestmark = pytest.mark.interop

WAIT_S = 180.0  # Transmission thinks of whom to unchoke each ten seconds only
PIECE_BYTES = 32 * 1024
LIMIT_BYTES_PER_S = 400_000
SOME_PIECES = 8
FILES: Mapping[str, Sequence[int] | None] = {
    "libtorrent": None,
    "transmission": [1, 0],
    "aria2": [1, 4],
}
KEPT = ("state", "is_paused_by_user", "priority", "files")
Seeds = Mapping[str, tuple[Payload, Address]]


@pytest.fixture
def seeds(hosts: tuple[Host, Host], folder: Path) -> Iterator[Seeds]:
    """One torrent of each program."""
    found: dict[str, tuple[Payload, Address]] = {}
    with ExitStack() as programs:
        for number, (label, client) in enumerate(zip(KINDS, CLIENTS, strict=True), start=2):
            name = f"of-{label}"
            files = {"one.bin": 3_000_001, "two.bin": 1_000_003}
            payload = make_payload(folder / label, name, files, piece_bytes=PIECE_BYTES)
            where, address = folder / label / "client", hosts[1].address(number)
            seed: OtherClient = client(hosts[1], where, port=free_port(), address=address)
            programs.enter_context(seed)
            seed.add(payload, payload.source_dir)
            found[label] = (payload, seed.address)
            seed.wait_complete(payload)
        yield found


def wait_all(ours: ManagerProcess, state: str) -> None:
    """Wait until all torrents are in a state."""
    wait_until(
        lambda: all(each["state"] == state for each in ours.all()),
        timeout_s=WAIT_S,
        what=f"all are {state}",
    )


def add_all(ours: ManagerProcess, seeds: Seeds) -> None:
    """Add them, slow enough that they are under way for a while, and wait until all are."""
    ours.ask("limit", bytes_per_s=LIMIT_BYTES_PER_S)
    for priority, kind in enumerate(KINDS):
        payload, address = seeds[kind]
        ours.add(payload, address, priority=priority, files=FILES[kind])
    wait_until(
        lambda: all(each["pieces_have"] >= SOME_PIECES for each in ours.all()),
        timeout_s=WAIT_S,
        what="some pieces of each",
    )


def bits(status: Status) -> int:
    """Return the verified pieces as a number."""
    return int(status["have"] or "0", 16)


def taken_up(ours: ManagerProcess) -> Sequence[Status]:
    """Return how all stand once none looks at its files any more."""
    wait_until(
        lambda: all(each["state"] != "checking" for each in ours.all()),
        timeout_s=WAIT_S,
        what="all are taken up",
    )
    return ours.all()


def is_as_before(now: Sequence[Status], before: Sequence[Status]) -> bool:
    """Say if torrents are in the same order, as they were, with all their pieces."""
    assert [each["name"] for each in now] == [each["name"] for each in before]
    assert [[each[key] for key in KEPT] for each in now] == [
        [each[key] for key in KEPT] for each in before
    ]
    return all(bits(new) & bits(old) == bits(old) for new, old in zip(now, before, strict=True))


def fetched_no_more_than_was_missing(now: Sequence[Status], before: Sequence[Status]) -> bool:
    """Say if no verified piece came again; a skipped file shares a piece with its neighbour."""
    for new, old in zip(now, before, strict=True):
        missing_bytes = old["wanted_bytes"] - old["completed_bytes"]
        shared_bytes = PIECE_BYTES if old["files"] and 0 in old["files"] else 0
        assert new["downloaded_bytes"] <= missing_bytes + shared_bytes, new["name"]
    return True


def is_saved(ours: ManagerProcess, payload: Payload, *, but: str | None = None) -> bool:
    """Say if all files of a torrent are there and right, but one that is not there at all."""
    source = payload.source_dir / payload.name
    for path in source.iterdir():
        saved = ours.save_dir / payload.name / path.name
        if path.name == but:
            if saved.exists():
                return False
        elif not saved.is_file() or saved.read_bytes() != path.read_bytes():
            return False
    return True


def begin_and_kill(ours: ManagerProcess, seeds: Seeds) -> Sequence[Status]:
    """Pause the first of three downloads, the others go on; return how all stood at the kill."""
    first, second, _ = (seeds[kind][0] for kind in KINDS)
    add_all(ours, seeds)
    ours.ask("pause", info_hash=first.info_hash.hex())
    paused = ours.status(first)
    moving = ours.status(second)["pieces_have"]
    wait_until(
        lambda: ours.status(second)["pieces_have"] > moving,
        timeout_s=WAIT_S,
        what="the others go on",
    )
    assert ours.status(first)["pieces_have"] == paused["pieces_have"]
    assert (paused["state"], paused["is_paused_by_user"]) == ("paused", True)
    return killed(ours)


def killed(ours: ManagerProcess) -> Sequence[Status]:
    """Kill the process a moment after the last change; return how all stood."""
    ours.ask("flush")
    before = ours.all()
    ours.kill()
    return before


def go_on_to_the_end(ours: ManagerProcess, first: Payload) -> None:
    """Let all come to their end, the paused one after it is resumed."""
    paused = ours.status(first)
    ours.ask("limit", bytes_per_s=0)
    wait_until(
        lambda: [each["state"] for each in ours.all()] == ["paused", "seeding", "seeding"],
        timeout_s=WAIT_S,
        what="what was not paused is complete",
    )
    assert bits(ours.status(first)) == bits(paused)
    ours.ask("resume", info_hash=first.info_hash.hex())
    wait_all(ours, "seeding")


def test_f4_three_torrents_of_three_programs_outlive_pause_removal_and_kill_9(
    hosts: tuple[Host, Host], folder: Path, seeds: Seeds
) -> None:
    ours_in = folder / "ours"
    first, second, third = (seeds[kind][0] for kind in KINDS)
    with ManagerProcess(hosts[0], ours_in) as ours:
        before = begin_and_kill(ours, seeds)

    with ManagerProcess(hosts[0], ours_in) as ours:
        again = taken_up(ours)
        assert is_as_before(again, before)
        go_on_to_the_end(ours, first)
        assert fetched_no_more_than_was_missing(ours.all(), before)
        assert is_saved(ours, first)
        assert is_saved(ours, second, but="two.bin")
        assert is_saved(ours, third)
        ours.ask("remove", info_hash=third.info_hash.hex(), delete_files=True)
        assert not (ours.save_dir / third.name).exists()
        before = killed(ours)

    with ManagerProcess(hosts[0], ours_in) as ours:
        again = taken_up(ours)
        assert [each["name"] for each in again] == [first.name, second.name]
        assert is_as_before(again, before)
        assert [each["downloaded_bytes"] for each in again] == [0, 0]
        ours.ask("remove", info_hash=first.info_hash.hex(), delete_files=False)
        assert is_saved(ours, first)  # its files stay
        assert [each["name"] for each in ours.all()] == [second.name]
