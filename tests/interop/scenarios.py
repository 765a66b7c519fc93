"""Whole transfers with other programs, each a method that returns what is not there at its end.

They wait far more than they work (Transmission answers every ten seconds), so the tests run all of
them at once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from tests.support.aria2_client import Aria2Client
from tests.support.engine_client import EngineLeech, EngineSeed, EngineTracker
from tests.support.libtorrent_client import LibtorrentClient
from tests.support.netns import Host
from tests.support.opentracker import OpenTracker
from tests.support.payload import Payload
from tests.support.processes import free_port
from tests.support.transmission_client import TransmissionClient

OtherClient = LibtorrentClient | TransmissionClient | Aria2Client
CLIENTS = (LibtorrentClient, TransmissionClient, Aria2Client)
KINDS = [client.label for client in CLIENTS]
SWARMS = [("opentracker", "http"), ("opentracker", "udp"), ("our-tracker", "udp")]
Missing = list[str]
"""Names of payloads that are not there, or not right."""
Running = Mapping[tuple[str, ...], Future[Missing]]
LEECH_TIMEOUT_S = 100.0


class Scenario:
    """One transfer of three torrents at once, with the programs that take part in it.

    We are on the left host, the other leeches on the right one.
    """

    def __init__(self, hosts: tuple[Host, Host], folder: Path, payloads: Sequence[Payload]) -> None:
        self.left, self.right = hosts
        self.folder = folder
        self.payloads = payloads
        self.programs = ExitStack()

    def leech_from(self, kind: str) -> Missing:
        """The other program seeds; we are told its address."""
        with self.programs:
            seed = self._other(kind, self.right, number=2)
            for payload in self.payloads:
                seed.add(payload, payload.source_dir)
            for payload in self.payloads:
                seed.wait_complete(payload)
            leech = self._engine_leech(self.payloads, "--peer", ":".join(map(str, seed.address)))
            # Transmission thinks of whom to unchoke each ten seconds only.
            leech.wait_complete(timeout_s=LEECH_TIMEOUT_S)
            return self._missing(leech.save_dir)

    def seed_to(self, kind: str) -> Missing:
        """We seed; the other program finds us through our own tracker, over HTTP."""
        with self.programs:
            announced = self._announced(self._engine_tracker().http_url)
            self._engine_seed(announced)
            leech = self._other(kind, self.right, number=2)
            self._leech_all(leech, announced)
            return self._missing_at(leech, announced)

    def swarm(self, tracker: str, scheme: str) -> Missing:
        """A libtorrent seed, and leeches of all kinds, who know nothing but a tracker."""
        with self.programs:
            trackers = self._opentracker() if tracker == "opentracker" else self._engine_tracker()
            url = trackers.udp_url if scheme == "udp" else trackers.http_url
            announced = self._announced(url)
            seed = self._other("libtorrent", self.left, number=2)
            for payload in announced:
                seed.add(payload, payload.source_dir)
            others = [
                self._other(kind, self.right, number=number)
                for number, kind in enumerate(("transmission", "aria2"), start=2)
            ]
            for other in others:
                self._leech_all(other, announced)
            leech = self._engine_leech(announced)
            leech.wait_complete()
            missing = self._missing(leech.save_dir)
            for other in others:
                missing += self._missing_at(other, announced)
            return missing

    def _announced(self, url: str) -> list[Payload]:
        return [payload.announced_to(url) for payload in self.payloads]

    def _leech_all(self, other: OtherClient, announced: Sequence[Payload]) -> None:
        for payload in announced:
            other.add(payload, self._saved_by(other))

    def _missing_at(self, other: OtherClient, announced: Sequence[Payload]) -> Missing:
        for payload in announced:
            other.wait_complete(payload)
        # Transmission makes no file for what has no bytes.
        return self._missing(self._saved_by(other), with_empty=other.label != "transmission")

    def _saved_by(self, other: OtherClient) -> Path:
        return self.folder / f"saved-by-{other.label}"

    def _missing(self, save_dir: Path, *, with_empty: bool = True) -> Missing:
        return [
            payload.name
            for payload in self.payloads
            if not payload.is_complete_in(save_dir, with_empty=with_empty)
        ]

    def _other(self, kind: str, host: Host, *, number: int) -> OtherClient:
        address, where = host.address(number), self.folder / f"{kind}-{number}"
        if kind == "aria2":
            client: OtherClient = Aria2Client(
                host, where, port=free_port(), address=address, udp_trackers=True
            )
        elif kind == "transmission":
            client = TransmissionClient(host, where, port=free_port(), address=address)
        else:
            client = LibtorrentClient(host, where, port=free_port(), address=address)
        self.programs.enter_context(client)
        return client

    def _engine_leech(self, payloads: Sequence[Payload], *extra: str) -> EngineLeech:
        torrents = [payload.torrent for payload in payloads]
        return self.programs.enter_context(
            EngineLeech(self.left, self.folder / "leech", torrents, port=free_port(), extra=extra)
        )

    def _engine_seed(self, payloads: Sequence[Payload]) -> None:
        seed = EngineSeed(self.left, self.folder / "seed", payloads, port=free_port())
        self.programs.enter_context(seed).wait_event("session.started", count=len(payloads))

    def _engine_tracker(self) -> EngineTracker:
        tracker = self.programs.enter_context(
            EngineTracker(
                self.left, self.folder / "tracker", port=free_port(), address=self.left.address(1)
            )
        )
        tracker.wait_listening()
        return tracker

    def _opentracker(self) -> OpenTracker:
        return self.programs.enter_context(
            OpenTracker(
                self.left,
                self.folder / "tracker",
                [payload.info_hash for payload in self.payloads],
                port=free_port(),
                address=self.left.address(4),
            )
        )


@contextmanager
def all_running(make: Callable[[], Scenario]) -> Iterator[Running]:
    """Run every scenario, each a new one, at the same time."""
    jobs: dict[tuple[str, ...], Callable[[], Missing]] = {}
    for kind in KINDS:
        jobs["leech", kind] = partial(make().leech_from, kind)
        jobs["seed", kind] = partial(make().seed_to, kind)
    for swarm in SWARMS:
        jobs[swarm] = partial(make().swarm, *swarm)
    with ThreadPoolExecutor(len(jobs)) as threads:
        yield {name: threads.submit(job) for name, job in jobs.items()}
