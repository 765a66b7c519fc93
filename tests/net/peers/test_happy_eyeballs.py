"""The race of TCP and uTP to one peer."""

from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
import pytest

from torrent_engine.base.config import ConnectionEncryption, TransportProtocol
from torrent_engine.base.errors import NetworkError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.peers.happy_eyeballs import REFUSED_TIMEOUT_S, RaceRules, connect
from torrent_engine.net.peers.transport import Transport
from torrent_engine.policy.peers.dial_strategy import DialAttempt

pytestmark = pytest.mark.anyio

TCP, UTP = TransportProtocol.TCP, TransportProtocol.UTP
PEER = PeerAddress("192.0.2.1", 6881)
LONG_S = 300.0


class FakeTransport:
    """A connection that only tells whether it is open."""

    encryption = ConnectionEncryption.NONE
    sends_by_kernel = True
    room_bytes = 0
    local_host = ""

    def __init__(self, protocol: TransportProtocol) -> None:
        self.protocol = protocol
        self.is_open = True

    def close(self) -> None:
        self.is_open = False


@dataclass
class Dial:
    """How the dial over one protocol goes."""

    protocol: TransportProtocol
    fails: bool = False
    answers: anyio.Event = field(default_factory=anyio.Event)
    begun: anyio.Event = field(default_factory=anyio.Event)
    was_cancelled: bool = False
    transport: FakeTransport | None = None
    timeout_s: float = 0.0

    async def __call__(self, timeout_s: float) -> Transport:
        self.timeout_s = timeout_s
        self.begun.set()
        try:
            await self.answers.wait()
        except anyio.get_cancelled_exc_class():
            self.was_cancelled = True
            raise
        if self.fails:
            raise NetworkError(f"{self.protocol} does not answer")
        self.transport = FakeTransport(self.protocol)
        return self.transport  # type: ignore[return-value]


@dataclass
class Dials:
    """Both of them."""

    tcp: Dial = field(default_factory=lambda: Dial(TCP))
    utp: Dial = field(default_factory=lambda: Dial(UTP))

    async def dial_tcp(self, address: PeerAddress, timeout_s: float) -> Transport:
        assert address == PEER
        return await self.tcp(timeout_s)

    async def dial_utp(self, address: PeerAddress, timeout_s: float) -> Transport:
        assert address == PEER
        return await self.utp(timeout_s)


def attempt(*protocols: TransportProtocol) -> DialAttempt:
    return DialAttempt(is_encrypted=False, protocols=protocols)


def rules(head_start_s: float = LONG_S, may_dial: Callable[[], bool] = lambda: True) -> RaceRules:
    return RaceRules(7.0, head_start_s, may_dial)


async def raced(
    dials: Dials, *protocols: TransportProtocol, head_start_s: float = LONG_S
) -> TransportProtocol:
    with anyio.fail_after(30):
        transport = await connect(dials, PEER, attempt(*protocols), rules(head_start_s))
    return transport.protocol


@pytest.mark.parametrize("protocol", [TCP, UTP])
async def test_one_protocol_is_dialled_alone(protocol: TransportProtocol) -> None:
    dials = Dials()
    dials.tcp.answers.set()
    dials.utp.answers.set()
    assert await raced(dials, protocol) is protocol
    assert [dials.tcp.begun.is_set(), dials.utp.begun.is_set()] == [
        protocol is TCP,
        protocol is UTP,
    ]
    assert max(dials.tcp.timeout_s, dials.utp.timeout_s) == 7.0


@pytest.mark.parametrize("first", [TCP, UTP])
async def test_the_second_is_not_dialled_where_the_first_answers_in_time(
    first: TransportProtocol,
) -> None:
    dials = Dials()
    dials.tcp.answers.set()
    dials.utp.answers.set()
    second = UTP if first is TCP else TCP
    assert await raced(dials, first, second) is first
    assert not (dials.utp if first is TCP else dials.tcp).begun.is_set()


async def test_the_second_begins_at_once_where_the_first_fails() -> None:
    dials = Dials(tcp=Dial(TCP, fails=True))
    dials.tcp.answers.set()
    dials.utp.answers.set()
    assert await raced(dials, TCP, UTP) is UTP
    assert dials.utp.timeout_s == REFUSED_TIMEOUT_S


async def test_the_loser_is_given_up_at_once() -> None:
    dials = Dials()
    dials.utp.answers.set()
    assert await raced(dials, TCP, UTP, head_start_s=0.0) is UTP
    assert dials.tcp.was_cancelled
    assert dials.tcp.transport is None
    assert dials.utp.timeout_s == 7.0


async def test_bep29_of_two_at_the_same_time_tcp_stays() -> None:
    dials = Dials()

    async def both_answer() -> None:
        await dials.tcp.begun.wait()
        await dials.utp.begun.wait()
        dials.utp.answers.set()
        dials.tcp.answers.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(both_answer)
        assert await raced(dials, UTP, TCP, head_start_s=0.0) in {TCP, UTP}
    connected = [each for each in (dials.tcp.transport, dials.utp.transport) if each is not None]
    assert [each.protocol for each in connected if each.is_open] == [
        TCP if dials.tcp.transport is not None else UTP
    ]


async def test_where_both_fail_both_reasons_are_told() -> None:
    dials = Dials(Dial(TCP, fails=True), Dial(UTP, fails=True))
    dials.tcp.answers.set()
    dials.utp.answers.set()
    with pytest.raises(NetworkError, match=r"tcp does not answer.*utp does not answer"):
        await raced(dials, TCP, UTP)


async def test_b9_without_leave_there_is_no_second_dial() -> None:
    dials = Dials(tcp=Dial(TCP, fails=True))
    dials.tcp.answers.set()
    with pytest.raises(NetworkError):
        await connect(dials, PEER, attempt(TCP, UTP), rules(may_dial=lambda: False))
    assert not dials.utp.begun.is_set()


async def test_b9_without_leave_the_first_goes_on_alone() -> None:
    dials, asked = Dials(), anyio.Event()

    def may_dial() -> bool:
        asked.set()
        return False

    async def answer_late() -> None:
        await asked.wait()
        dials.tcp.answers.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer_late)
        with anyio.fail_after(30):
            transport = await connect(dials, PEER, attempt(TCP, UTP), rules(0.0, may_dial))
    assert transport.protocol is TCP
    assert not dials.utp.begun.is_set()


async def test_nothing_stays_open_when_the_dial_is_cancelled() -> None:
    dials = Dials()
    async with anyio.create_task_group() as tasks:

        async def work() -> None:
            await connect(dials, PEER, attempt(TCP, UTP), rules(0.0))

        tasks.start_soon(work)
        with anyio.fail_after(30):
            await dials.tcp.begun.wait()
            await dials.utp.begun.wait()
        dials.tcp.answers.set()
        tasks.cancel_scope.cancel()
    assert dials.tcp.transport is None or not dials.tcp.transport.is_open
    assert dials.utp.was_cancelled


async def test_no_protocol_is_no_connection() -> None:
    with pytest.raises(NetworkError, match="no transport"):
        await connect(Dials(), PEER, attempt(), rules())
