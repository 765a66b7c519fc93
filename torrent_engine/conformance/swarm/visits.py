"""Seeds of the kit that connect to a program by themselves, and where it may meet others."""

from typing import Final

import anyio

from torrent_engine.conformance.errors import (
    NotOfferedError,
    SubjectUnreachableError,
    UndecidedError,
)
from torrent_engine.conformance.swarm.kit_seed import KitSeed, SeedLink
from torrent_engine.conformance.swarm.swarm_case import DIAL_S, SwarmCase
from torrent_engine.conformance.swarm.utp_ear import UtpEar

RETRY_S: Final = 1.0


async def visit(case: SwarmCase, seed: KitSeed) -> SeedLink:
    """Let a seed connect as soon as the program takes a connection. Raises UndecidedError."""
    with anyio.move_on_after(DIAL_S * case.patience):
        while not seed.links:
            try:
                await case.introduce(seed)
            except SubjectUnreachableError:
                await anyio.sleep(RETRY_S)
            else:
                await case.until(lambda: bool(seed.links), RETRY_S)
    if not seed.links:
        raise UndecidedError("it takes no connection")
    return seed.links[0]


async def utp_ear(case: SwarmCase, place: tuple[str, int] | None = None) -> UtpEar:
    """Return what hears packets of uTP, and answers: where a seed is, or where none is."""
    ear = UtpEar(case.log)
    address, port = place or (case.network.new_address(), 0)
    port = await case.network.listen_udp(address, ear.take, port)
    ear.place = address, port
    return ear


async def seed_of_ipv6(case: SwarmCase) -> KitSeed:
    """Let a seed listen over IPv6, which no tracker names. Raises NotOfferedError."""
    case.program.has_ipv6 = True
    try:
        return await case.seed(is_listed=False, address=case.network.host6)
    except OSError as error:
        raise NotOfferedError("this machine has no IPv6") from error


async def is_let_in(case: SwarmCase, seed: KitSeed) -> bool:
    """Return whether the program takes a connection of a seed."""
    try:
        await case.introduce(seed)
    except SubjectUnreachableError:
        return False
    return True
