"""The temporary node that the queries of ``torrent-engine dht`` are asked with."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import anyio

from torrent_engine.base.config import DhtConfig, SharedConfig
from torrent_engine.base.ids import InfoHash
from torrent_engine.cli.options.common import CommandOptions
from torrent_engine.cli.output.exit_codes import CliError, ExitCode
from torrent_engine.cli.tasks import arguments
from torrent_engine.net.dht.bootstrap import routers_for
from torrent_engine.net.dht.driver import OnEvent
from torrent_engine.net.dht.service import DhtService, StartLookup, open_dht
from torrent_engine.net.sockets.datagrams import open_datagrams
from torrent_engine.protocol.dht.events import DhtEvent, LookupEnded
from torrent_engine.service import loop, sources

QUERY_TIMEOUT_S: Final = 3.0  # ours: whoever waits at a terminal does not wait for dead nodes

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Summary:
    """The ends of a lookup in all networks, together."""

    ends: tuple[DhtEvent, ...] = ()
    is_complete: bool = True
    """False where the time was over before."""

    @property
    def stored_at(self) -> list[str]:
        """Who took what was given to it, as ``host:port``."""
        return [str(node.address) for end in self._lookups for node in end.stored_at]

    @property
    def refusals(self) -> list[str]:
        """Who did not, and why."""
        return [f"{each.node}: {each.message}" for end in self._lookups for each in end.refusals]

    @property
    def found_nothing(self) -> ExitCode:
        """The exit code where nothing came."""
        return ExitCode.NOT_FOUND if self.is_complete else ExitCode.TIMED_OUT

    def line(self) -> str:
        """Return how many answered."""
        counts = self.counts()
        return f"{counts['nodes_answered']} of {counts['nodes_asked']} nodes answered" + (
            "" if self.is_complete else " until the time was over"
        )

    def counts(self) -> dict[str, int]:
        """Return the same for a program."""
        return {
            "nodes_asked": sum(end.queried for end in self._lookups),
            "nodes_answered": sum(end.responded for end in self._lookups),
        }

    @property
    def _lookups(self) -> list[LookupEnded]:
        return [event for event in self.ends if isinstance(event, LookupEnded)]


@dataclass(frozen=True, slots=True)
class Access:
    """A node that may be asked."""

    service: DhtService
    families: Collection[bool]
    """Networks that it is in: False is IPv4, True is IPv6."""
    deadline_s: float
    """On the clock of the event loop; what is not known then is given up."""

    async def look_up(
        self,
        start: StartLookup,
        on_event: OnEvent | None = None,
        *,
        families: Collection[bool] | None = None,
    ) -> Summary:
        """Ask in all networks, or in some."""
        chosen = self.families if families is None else families
        with anyio.CancelScope(deadline=self.deadline_s):
            return Summary(tuple(await self.service.look_up(start, on_event, families=chosen)))
        return Summary(is_complete=False)


def listen_hosts(options: CommandOptions) -> tuple[str, ...]:
    """Return the addresses of --listen, or all."""
    hosts: tuple[str, ...] = options["listen_hosts"] or SharedConfig().listen_hosts
    return hosts


def dht_config(options: CommandOptions, *, read_only: bool) -> DhtConfig:
    """Return the configuration that the options ask for."""
    config = DhtConfig(read_only=read_only)
    bootstrap = tuple((host, port) for host, port in options["bootstrap"])
    return replace(config, bootstrap=bootstrap) if bootstrap else config


@asynccontextmanager
async def temporary_node(options: CommandOptions) -> AsyncIterator[DhtService]:
    """Run a node that only asks."""
    hosts = listen_hosts(options)
    config = replace(dht_config(options, read_only=True), query_timeout_s=QUERY_TIMEOUT_S)
    async with (
        open_datagrams(hosts, options["port"]) as datagrams,
        open_dht(config, datagrams, routers=routers_for(config, hosts)) as service,
    ):
        yield service


def ask(
    options: CommandOptions,
    query: Callable[[Access], Awaitable[Result]],
    *,
    needs_network: bool = True,
) -> Result:
    """Enter the DHT and ask; raises CliError where no node of it answers in time.

    Without ``needs_network`` the query names its own nodes.
    """

    async def run() -> Result:
        deadline_s = anyio.current_time() + options["timeout_s"]
        if needs_network:
            _check_routers(options)
        async with temporary_node(options) as service:
            families = await _enter(service, deadline_s) if needs_network else (False, True)
            return await query(Access(service, families, deadline_s))

    return loop.run(run)


def _check_routers(options: CommandOptions) -> None:
    if not routers_for(dht_config(options, read_only=True), listen_hosts(options)):
        raise CliError("public nodes do not answer a loopback address; name one with --bootstrap")


async def _enter(service: DhtService, deadline_s: float) -> Collection[bool]:
    with anyio.CancelScope(deadline=deadline_s):
        return await service.wait_ready()
    raise CliError("no node of the DHT answered in time", ExitCode.TIMED_OUT)


def info_hash_of(source: str, max_bytes: int) -> InfoHash:
    """Return the info-hash of a link or a .torrent.

    Raises CliError for a private torrent, which is no business of the DHT (BEP 27).
    """
    if sources.is_magnet(source):
        return sources.parse_magnet(source).info_hash
    metainfo = arguments.load_now(source, max_bytes)
    if metainfo.is_private:
        raise CliError(f"{source}: is private; only its trackers may be asked")
    return metainfo.info_hash
