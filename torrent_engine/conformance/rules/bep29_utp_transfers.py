"""Rules of uTP (BEP 29): loss, time limits, windows and sizes of a transfer."""

import itertools
from collections.abc import Sequence
from typing import Final

import anyio

from torrent_engine.conformance.case import Case
from torrent_engine.conformance.errors import UndecidedError
from torrent_engine.conformance.frames import BLOCK_BYTES, request
from torrent_engine.conformance.raw_peer import RawPeer
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.utp.conversation import opened, peer_of, unchoked
from torrent_engine.conformance.utp.link import KitUtpLink
from torrent_engine.conformance.utp.packets import (
    SEQUENCES,
    KitUtpPacket,
    UtpKind,
    distance,
    selective_ack,
)
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
UTP: Final = Role.UTP
SOONEST_S: Final = 0.3
MIN_TIMEOUT_S: Final = 0.45  # 500 ms, and what a clock is wrong by
GROWTH: Final = 1.5
QUICKLY_S: Final = 0.4  # below the least time-out
ACKED_BEHIND: Final = 3
BLOCKS_BEFORE: Final = 4  # of one packet under way, none would be behind the lost one
CLOSED_WINDOW_S: Final = 5.0
PACKETS_IN_IT: Final = 12
"""One for each 500 ms, and two."""
SMALL_WINDOW: Final = 3_000
SMALL_WINDOW_S: Final = 2.0
ETHERNET_BYTES: Final = 1_472
"""Payload of UDP in a frame of Ethernet, over IPv4."""
NEVER: Final = "never"
TRIES: Final = 3


@rule(
    "BEP29-UP-07",
    Level.STATED,
    15,
    {"later and later": P, "at equal times": N, "too soon": F, NEVER: F},
    role=UTP,
)
async def lost_data_is_sent_again(case: Case) -> Outcome:
    """Send data again that is not acknowledged: after 500 ms or more, then after twice that.

    "The minimum timeout for a packet is 1/2 second"; "For every packet consecutive subsequent
    packet that times out, the timeout is doubled."
    """
    outcome = Outcome(NEVER)
    for _ in range(TRIES):
        link = await opened(case)
        await link.send_data(case.greeting(peer_of(case, link)))
        times = await _times_of_the_first(link, case.limit_s)
        outcome = _judged([end - start for start, end in itertools.pairwise(times)])
        if outcome.name != "at equal times":  # or a busy machine was late with the first
            break
    return outcome


def _judged(gaps: Sequence[float]) -> Outcome:
    """Judge the times between a packet and the same one again."""
    detail = "after " + ", ".join(f"{each:.2f}" for each in gaps) + " s"
    if len(gaps) < 2:
        return Outcome(NEVER, detail if gaps else "not once")
    if gaps[0] < SOONEST_S:
        return Outcome("too soon", detail)
    is_right = gaps[0] >= MIN_TIMEOUT_S and gaps[1] >= gaps[0] * GROWTH
    return Outcome("later and later" if is_right else "at equal times", detail)


async def _times_of_the_first(link: KitUtpLink, limit_s: float) -> list[float]:
    """Return when the first packet of data came, up to three times."""
    times: list[float] = []
    seq = -1
    with anyio.move_on_after(limit_s):
        while len(times) < 3:
            packet = await link.receive(limit_s)
            if packet is not None and packet.kind == UtpKind.DATA:
                seq = packet.seq if seq < 0 else seq
                if packet.seq == seq:
                    times.append(anyio.current_time())
    return times


async def _ask_for_blocks(peer: RawPeer, count: int) -> None:
    for number in range(count):
        await peer.send(request(1, number * BLOCK_BYTES), f"request 1 {number * BLOCK_BYTES}")


@rule(
    "BEP29-UP-08",
    Level.STATED,
    10,
    {"at once": P, "after a time-out": N, NEVER: F},
    role=UTP,
)
async def fast_resend(case: Case) -> Outcome:
    """Send a packet again when three packets behind it were acknowledged.

    "But 3 or more packets have been acked past it (through Selective ACK), the packet is assumed
    to have been lost."
    """
    outcome = Outcome(NEVER)
    for _ in range(TRIES):
        outcome = await _resent(case)
        if outcome.name != "after a time-out":  # or a busy machine was late
            break
    return outcome


async def _resent(case: Case) -> Outcome:
    """Lose a packet, acknowledge those behind it, and wait for it to come again."""
    link, peer = await unchoked(case)
    for number in range(BLOCKS_BEFORE):
        await case.ask(peer, 2, number * BLOCK_BYTES)
    await _ask_for_blocks(peer, 4)
    lost = (link.ack + 1) % SEQUENCES
    behind: set[int] = set()
    while len(behind) < ACKED_BEHIND:
        packet = await link.wait_for(lambda each: _is_behind(each, lost), case.limit_s)
        if packet is None:
            raise UndecidedError("fewer than four packets came")
        behind.add(packet.seq)
        await link.send_ack(extensions=(selective_ack(link.ack, behind),))
    start = anyio.current_time()
    again = await link.wait_for(lambda each: each.seq == lost and bool(each.payload), case.limit_s)
    passed = anyio.current_time() - start
    if again is None:
        return Outcome(NEVER)
    name = "at once" if passed < QUICKLY_S * case.patience else "after a time-out"
    return Outcome(name, f"{passed:.2f} s")


def _is_behind(packet: KitUtpPacket, lost: int) -> bool:
    return packet.kind == UtpKind.DATA and distance(lost, packet.seq) > 0


@rule("BEP29-UP-14", Level.STATED, 5, {"waits": P, "goes on sending": F}, role=UTP)
async def closed_window(case: Case) -> Outcome:
    """Send no more than a packet at a time to one whose window is closed.

    "A socket may only send a packet if cur_window + packet_size is less than or equal to
    min(max_window, wnd_size)"; a time-out allows one packet.
    """
    link, peer = await unchoked(case)
    link.window = 0
    await _ask_for_blocks(peer, 4)
    found = [each for each in await link.watch(CLOSED_WINDOW_S) if each.kind == UtpKind.DATA]
    detail = f"{len(found)} packets in {CLOSED_WINDOW_S:.0f} s"
    return Outcome("waits" if len(found) <= PACKETS_IN_IT else "goes on sending", detail)


@rule("BEP29-UP-15", Level.STATED, 5, {"keeps to it": P, "sends more": F}, role=UTP)
async def small_window(case: Case) -> Outcome:
    """Have no more in flight than the window of the other side.

    "It sets an upper limit on the number of packets in-flight."
    """
    link, peer = await unchoked(case)
    link.window = SMALL_WINDOW
    await _ask_for_blocks(peer, 4)
    found = await link.watch(SMALL_WINDOW_S)
    sizes = {each.seq: len(each.payload) for each in found if each.kind == UtpKind.DATA}
    if not sizes:
        raise UndecidedError("nothing came")
    limit = SMALL_WINDOW + max(sizes.values())
    detail = f"{sum(sizes.values())} bytes in flight"
    return Outcome("keeps to it" if sum(sizes.values()) <= limit else "sends more", detail)


@rule("BEP29-UP-22", Level.CONV, 15, {"fit": P, "too large": N}, role=UTP)
async def sizes_of_packets(case: Case) -> Outcome:
    """Send packets that are not cut on their way through an Ethernet.

    "uTP adjusts its packet size down to as small as 150 bytes per packet"; how large they are at
    most, nobody states.
    """
    link, peer = await unchoked(case)
    for number in range(4):
        await case.ask(peer, 1, number * BLOCK_BYTES)
    name = "fit" if link.largest <= ETHERNET_BYTES else "too large"
    return Outcome(name, f"{link.largest} bytes at most")
