"""Where the other programs run, and what is transferred."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.netns import LOOPBACK, Host, namespaces
from tests.support.payload import Payload, make_payload


@pytest.fixture(scope="session")
def hosts() -> Iterator[tuple[Host, Host]]:
    """Two joined network namespaces where we may make them, loopback twice otherwise.

    Programs that run at once take different address numbers, for the sake of loopback.
    """
    pair = namespaces()
    try:
        left_and_right = pair.__enter__()
    except (OSError, subprocess.CalledProcessError):
        yield LOOPBACK, LOOPBACK
        return
    try:
        yield left_and_right
    finally:
        pair.__exit__(None, None, None)


@pytest.fixture(scope="session")
def payloads(tmp_path_factory: pytest.TempPathFactory) -> tuple[Payload, ...]:
    """One file; several, with empty and tiny ones; a total one byte over a piece boundary."""
    folder = tmp_path_factory.mktemp("payloads")
    several = {
        "notes/read me.txt": 100_003,
        "empty": 0,
        "data/big.bin": 1_500_007,
        "data/nested/one-byte": 1,
        "ünï.txt": 16_384,
    }
    return (
        make_payload(folder, "single.bin", {"single.bin": 3_000_001}),
        make_payload(folder, "several", several),
        make_payload(folder, "odd", {"odd.bin": 8 * 32_768 + 1}, piece_bytes=32_768),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder that every user may enter."""
    tmp_path.chmod(0o755)
    return tmp_path
