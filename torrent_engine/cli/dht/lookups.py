"""``torrent-engine dht ping``, ``get-peers``, ``announce`` and ``sample``."""

import os
from typing import Final

from torrent_engine.base.errors import NetworkError
from torrent_engine.base.ids import InfoHash, NodeId, PeerAddress
from torrent_engine.cli.dht.access import Access, Summary, ask, info_hash_of
from torrent_engine.cli.options.common import CommandOptions
from torrent_engine.cli.output import render
from torrent_engine.cli.output.exit_codes import CliError, ExitCode
from torrent_engine.cli.output.text import safe
from torrent_engine.net.dht.driver import OnEvent
from torrent_engine.net.dht.service import StartLookup
from torrent_engine.net.sockets.resolver import resolve
from torrent_engine.protocol.dht.events import (
    DhtEvent,
    PeersFound,
    PingEnded,
    SamplesFound,
    ScrapeFound,
)
from torrent_engine.protocol.dht.krpc import NODE_ID_BYTES

MS_PER_S: Final = 1_000
_ONE_AND_MANY: Final = {"seeds": ("seed", "seeds"), "leeches": ("leech", "leeches")}


def ping(options: CommandOptions) -> ExitCode:
    """Ping each node; the code is that of the first that does not answer."""

    async def query(access: Access) -> list[PingEnded | str]:
        return [await _ping(access, *node) for node in options["nodes"]]

    answers = ask(options, query, needs_network=False)
    if options["as_json"]:
        nodes = zip(options["nodes"], answers, strict=True)
        render.print_json([_ping_record(str(node), answer) for node, answer in nodes])
        failed = [answer for answer in answers if isinstance(answer, str)]
        return ExitCode.TIMED_OUT if failed else ExitCode.OK
    return _print_pings(answers)


async def _ping(access: Access, host: str, port: int) -> PingEnded | str:
    """Return the answer of the first address that has one, else what went wrong."""
    shown = PeerAddress(host, port)
    try:
        addresses = [PeerAddress(each, port) for each in await resolve(host, port)]
    except NetworkError as error:
        return str(error)
    for address in addresses:
        summary = await access.look_up(_ping_of(address), families=[":" in address.host])
        for end in summary.ends:
            if isinstance(end, PingEnded) and end.node_id is not None:
                return end
    return f"{shown}: does not answer"


def _ping_of(address: PeerAddress) -> StartLookup:
    return lambda node, now: node.ping(address, now=now)


def _print_pings(answers: list[PingEnded | str]) -> ExitCode:
    code = ExitCode.OK
    for answer in answers:
        if isinstance(answer, str):
            code = ExitCode.TIMED_OUT
            render.print_error(answer)
        else:
            fields = _ping_record("", answer)
            client = f", {fields['client']}" if fields["client"] else ""
            line = f"{fields['address']}  {fields['id']}  {fields['round_trip_ms']} ms{client}"
            render.print_line(safe(line))
    return code


def _ping_record(node: str, answer: PingEnded | str) -> dict[str, object]:
    if isinstance(answer, str):
        return {"node": node, "error": answer}
    return {
        "node": node,
        "address": str(answer.address),
        "id": (answer.node_id or b"").hex(),
        "round_trip_ms": round((answer.round_trip_s or 0.0) * MS_PER_S, 1),
        "client": client_name(answer.client),
    }


def client_name(version: bytes) -> str:
    """Return the "v" of a message as text: two letters and two bytes of a version, by custom."""
    letters, numbers = version[:2], version[2:]
    if letters.isalpha() and len(numbers) == 2:
        return f"{letters.decode()} {numbers[0]}.{numbers[1]}"
    return version.hex()


def get_peers(options: CommandOptions) -> ExitCode:
    """Look for the peers of a torrent."""
    info_hash = info_hash_of(options["info_hash"], options["max_torrent_size"])
    peers: dict[str, None] = {}
    scrapes: list[ScrapeFound] = []

    def on_event(event: DhtEvent) -> None:
        if isinstance(event, PeersFound):
            peers.update(dict.fromkeys(map(str, event.peers)))
        elif isinstance(event, ScrapeFound):
            scrapes.append(event)

    async def query(access: Access) -> Summary:
        no_seed, scrape = options["no_seeds"], options["scrape"]
        return await access.look_up(
            lambda node, now: node.get_peers(info_hash, no_seed=no_seed, scrape=scrape, now=now),
            on_event,
        )

    summary = ask(options, query)
    estimate = _estimate(scrapes) if options["scrape"] else {}
    if options["as_json"]:
        fields = {"info_hash": info_hash.hex(), "peers": list(peers)}
        render.print_json({**fields, **estimate, **summary.counts()})
    else:
        counts = [counted(count, *_ONE_AND_MANY[name]) for name, count in estimate.items()]
        found = counted(len(peers), "peer")
        render.print_lines([*peers, ", ".join([found, *counts, summary.line()])])
    return ExitCode.OK if peers else summary.found_nothing


def counted(count: int, noun: str, many: str = "") -> str:
    """Return a number of things: "1 peer", "2 peers"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {many or noun + 's'}"


def _estimate(scrapes: list[ScrapeFound]) -> dict[str, int]:
    """Return about how many there are; a peer in both networks counts in both."""
    return {
        "seeds": round(sum(scrape.seeds for scrape in scrapes)),
        "leeches": round(sum(scrape.leeches for scrape in scrapes)),
    }


def announce(options: CommandOptions) -> ExitCode:
    """Announce a peer at our address."""
    info_hash, port = (
        info_hash_of(options["info_hash"], options["max_torrent_size"]),
        options["peer_port"],
    )

    async def query(access: Access) -> Summary:
        is_seed = options["is_seed"]
        return await access.look_up(
            lambda node, now: node.announce(info_hash, port, is_seed=is_seed, now=now)
        )

    summary = ask(options, query)
    return print_stored(options, summary, {"info_hash": info_hash.hex(), "port": port})


def print_stored(options: CommandOptions, summary: Summary, fields: dict[str, object]) -> ExitCode:
    """Print who keeps what was given to it. Raises CliError if nobody does."""
    nodes = summary.stored_at
    if options["as_json"]:
        stored = {"stored_at": nodes, "refusals": summary.refusals}
        render.print_json({**fields, **stored, **summary.counts()})
    else:
        render.print_lines([*nodes, f"kept by {counted(len(nodes), 'node')}; {summary.line()}"])
    if nodes:
        return ExitCode.OK
    reason = f": {summary.refusals[0]}" if summary.refusals else ""
    code = ExitCode.NETWORK if summary.is_complete else ExitCode.TIMED_OUT
    raise CliError(f"no node took it{reason}", code)


def sample(options: CommandOptions) -> ExitCode:
    """Print info-hashes that nodes store."""
    samples: list[SamplesFound] = []
    hashes: dict[InfoHash, None] = {}

    def on_event(event: DhtEvent) -> None:
        if isinstance(event, SamplesFound):
            samples.append(event)
            hashes.update(dict.fromkeys(event.info_hashes))

    where = options["where"]
    if isinstance(where, PeerAddress):
        summary = ask(
            options, lambda access: _sample_at(access, where, on_event), needs_network=False
        )
    else:
        target = NodeId(where or os.urandom(NODE_ID_BYTES))
        summary = ask(
            options,
            lambda access: access.look_up(lambda node, now: node.sample(target, now=now), on_event),
        )
    _print_samples(options, samples, list(hashes), summary)
    return ExitCode.OK if samples else summary.found_nothing


async def _sample_at(access: Access, where: PeerAddress, on_event: OnEvent) -> Summary:
    address = PeerAddress((await resolve(where.host, where.port))[0], where.port)
    return await access.look_up(
        lambda node, now: node.sample(address, now=now),
        on_event,
        families=[":" in address.host],
    )


def _print_samples(
    options: CommandOptions, samples: list[SamplesFound], hashes: list[InfoHash], summary: Summary
) -> None:
    if options["as_json"]:
        nodes = [
            {
                "node": str(each.node.address),
                "id": each.node.id.hex(),
                "stored": each.stored,
                "interval_s": each.interval_s,
                "info_hashes": [info_hash.hex() for info_hash in each.info_hashes],
            }
            for each in samples
        ]
        render.print_json({"nodes": nodes, **summary.counts()})
        return
    stored = sum(each.stored for each in samples)
    of_nodes = f"of {counted(len(samples), 'node')}; {summary.line()}"
    last = f"{len(hashes):,} of {stored:,} info-hashes {of_nodes}"
    render.print_lines([*(info_hash.hex() for info_hash in hashes), last])
