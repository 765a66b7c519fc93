"""Leeching from, seeding to and meeting libtorrent, Transmission and aria2, with real trackers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import pytest

from tests.interop.scenarios import CLIENTS, Scenario
from tests.support.netns import Host
from tests.support.payload import Payload

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

KINDS = [client.label for client in CLIENTS]
SWARMS = [("opentracker", "http"), ("opentracker", "udp"), ("our-tracker", "udp")]
RESULT_TIMEOUT_S = 100.0

Running = Mapping[tuple[str, ...], Future[None]]


@pytest.fixture(scope="module")
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

    jobs: dict[tuple[str, ...], Callable[[], None]] = {}
    for kind in KINDS:
        jobs["leech", kind] = partial(scenario().leech_from, kind)
        jobs["seed", kind] = partial(scenario().seed_to, kind)
    for swarm in SWARMS:
        jobs[swarm] = partial(scenario().swarm, *swarm)
    with ThreadPoolExecutor(len(jobs)) as threads:
        yield {name: threads.submit(job) for name, job in jobs.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_bep3_we_leech_three_torrents_at_once_from(transfers: Running, kind: str) -> None:
    transfers["leech", kind].result(RESULT_TIMEOUT_S)


@pytest.mark.parametrize("kind", KINDS)
def test_bep3_we_seed_three_torrents_found_through_our_tracker_to(
    transfers: Running, kind: str
) -> None:
    transfers["seed", kind].result(RESULT_TIMEOUT_S)


@pytest.mark.parametrize(("tracker", "scheme"), SWARMS)
def test_bep3_and_bep15_four_clients_meet_through(
    transfers: Running, tracker: str, scheme: str
) -> None:
    transfers[tracker, scheme].result(RESULT_TIMEOUT_S)
