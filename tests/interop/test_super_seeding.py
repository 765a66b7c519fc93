"""Our super-seed and three leeches of libtorrent: all complete, about one copy leaves us."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.engine_client import EngineSeed
from tests.support.libtorrent_client import LibtorrentClient
from tests.support.netns import Host
from tests.support.payload import make_payload
from tests.support.processes import free_port

pytestmark = pytest.mark.interop

LEECHES = 3
TOTAL_BYTES = 6_000_000
UPLOAD_LIMIT = "3M"


def copies_sent(left: Host, right: Host, folder: Path, *options: str) -> float:
    """Let the leeches fetch everything; return how many copies our seed sent."""
    payload = make_payload(folder, "data.bin", {"data.bin": TOTAL_BYTES}, piece_bytes=32 * 1024)
    with ExitStack() as stack:
        leeches = [
            stack.enter_context(
                LibtorrentClient(
                    right, folder / str(n), port=free_port(), address=right.address(2 + n)
                )
            )
            for n in range(LEECHES)
        ]
        addresses = [leech.address for leech in leeches]
        for number, leech in enumerate(leeches):
            leech.add(payload, folder / str(number) / "saved", peers=addresses[:number])
        stack.enter_context(
            EngineSeed(
                left,
                folder / "seed",
                [payload],
                port=free_port(),
                peers=addresses,
                extra=["--max-upload-limit", UPLOAD_LIMIT, *options],
            )
        )
        for number, leech in enumerate(leeches):
            leech.wait_complete(payload, timeout_s=80.0)
            assert payload.is_complete_in(folder / str(number) / "saved")
        status = [leech.status(payload) for leech in leeches]
    came = sum(int(each["downloaded_bytes"]) for each in status)
    between_leeches = sum(int(each["uploaded_bytes"]) for each in status)
    return (came - between_leeches) / TOTAL_BYTES


def test_bep16_libtorrent_leeches_complete_with_little_more_than_one_copy(
    hosts: tuple[Host, Host], folder: Path
) -> None:
    left, right = hosts
    copies = copies_sent(left, right, folder / "super", "--super-seeding")
    usual = copies_sent(left, right, folder / "usual")
    print(f"copies sent: {copies:.2f} as a super-seed, {usual:.2f} as an ordinary seed")
    # A block that is on its way to a leech that has it by now is counted by its sender alone.
    assert 0.98 <= copies < 1.4
    assert copies < usual + 0.05  # now and then an ordinary seed sends no more than one copy, too
