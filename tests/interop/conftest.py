"""Where the other programs run, what is transferred, and when."""

import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.interop.scenarios import Running, Scenario, all_running
from tests.support.netns import LOOPBACK, Host, namespaces
from tests.support.payload import Payload, make_payload
from tests.support.processes import missing

HERE = Path(__file__).parent
TESTS = HERE.parent
MEANWHILE = {"policy", "protocol"}  # pure: nothing that they share with the transfers can go short


SLOWEST = (
    "test_holepunch.py",
    "test_dht_programs.py",
    "test_pex.py",
    "test_metadata_serving.py",
    "test_transfers.py",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put what waits most of the time where others can work meanwhile.

    Alone, the transfers run while other tests do, and are asked for last. Workers side by side take
    a file each: files that wait for other programs and files that do not come in turn.
    """
    if _is_worker(config):
        places = _places_in_turn({item.path: None for item in items})
        items.sort(key=lambda item: places[item.path])
    else:
        items.sort(key=_turn)


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _places_in_turn(files: Iterable[Path]) -> dict[Path, float]:
    """Return where each file comes: those of this folder at 0, 1, 2, the slowest first."""
    waiting: list[Path] = []
    busy: list[Path] = []
    for path in files:
        (waiting if path.parent == HERE else busy).append(path)
    waiting.sort(key=lambda path: (path.name not in SLOWEST, path.name))
    places = {path: float(place) for place, path in enumerate(waiting)}
    return places | {path: place + 0.5 for place, path in enumerate(busy)}


def _turn(item: pytest.Item) -> int:
    folder = item.path.relative_to(TESTS).parts[0]
    if folder == "interop":
        return 3 if _is_transfer(item) else 1
    return 2 if folder in MEANWHILE else 0


def _is_transfer(item: pytest.Item) -> bool:
    return "transfers" in getattr(item, "fixturenames", ())


@pytest.fixture(scope="session", autouse=True)
def transfers_begin(request: pytest.FixtureRequest) -> None:
    """Start the transfers, if they are wanted, with the first test of this folder.

    Not in a worker: it does not know which of the tests are its own.
    """
    if not _is_worker(request.config) and any(map(_is_transfer, request.session.items)):
        request.getfixturevalue("transfers")


@pytest.fixture(scope="session")
def transfers(
    hosts: tuple[Host, Host],
    payloads: Sequence[Payload],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Running]:
    """All scenarios, started at the same time."""

    def scenario() -> Scenario:
        folder = tmp_path_factory.mktemp("scenario")
        folder.chmod(0o755)
        return Scenario(hosts, folder, payloads)

    with all_running(scenario) as running:
        yield running


@pytest.fixture
def own_hosts() -> Iterator[tuple[Host, Host]]:
    """Two joined hosts of one test: whatever is seen on the left one, its process sent it."""
    with ExitStack() as stack:
        try:
            left_and_right = stack.enter_context(namespaces())
        except (OSError, subprocess.CalledProcessError):
            missing("network namespaces cannot be made")
        yield left_and_right


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
