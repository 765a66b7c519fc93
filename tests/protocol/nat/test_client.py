"""The talk with a gateway, on a clock that a test turns: opening, renewing, restarts, the end."""

from dataclasses import replace

import pytest

from tests.protocol.nat.wiring import TCP_KEY, UDP_KEY, Wire, pcp
from tests.support.nat_gateway import TCP, UDP
from torrent_engine.base.config import PortMappingConfig
from torrent_engine.base.errors import LocalProtocolError
from torrent_engine.protocol.nat.client import NatClient
from torrent_engine.protocol.nat.events import (
    AnswerIgnored,
    ExternalHostReported,
    GatewayFailed,
    GatewayRestarted,
    PortClosed,
    PortLost,
    PortOpened,
    PortRefused,
    ProtocolChanged,
)
from torrent_engine.protocol.nat.facts import MappedTransport, PortKey
from torrent_engine.protocol.nat.natpmp import NatPmp

BOTH = pytest.mark.parametrize("protocol", ["PCP", "NAT-PMP"])


def wire_in(protocol: str, config: PortMappingConfig | None = None) -> Wire:
    return Wire(protocols=[pcp()] if protocol == "PCP" else [NatPmp()], config=config)


@BOTH
def test_both_ports_are_opened_with_the_same_numbers_outside(protocol: str) -> None:
    wire = wire_in(protocol)
    wire.run(1.0)
    assert {mapping.key for mapping in wire.client.mappings} == {TCP_KEY, UDP_KEY}
    assert {mapping.external_port for mapping in wire.client.mappings} == {6881}
    assert {mapping.external_host for mapping in wire.client.mappings} == {"203.0.113.7"}
    assert wire.of(ExternalHostReported) == [ExternalHostReported("203.0.113.7")]
    assert set(wire.gateway.opened) == {(TCP, 6881), (UDP, 6881)}


@BOTH
def test_another_external_port_is_taken_and_asked_for_again(protocol: str) -> None:
    wire = wire_in(protocol)
    wire.gateway.port_offset = 1000
    wire.run(1.0)
    assert {mapping.external_port for mapping in wire.client.mappings} == {7881}
    wire.gateway.port_offset = 0
    wire.run(4000.0)  # past half of the lifetime
    assert {mapping.external_port for mapping in wire.client.mappings} == {7881}


@BOTH
def test_mappings_are_renewed_at_half_of_their_lifetime(protocol: str) -> None:
    wire = wire_in(protocol)
    wire.gateway.lifetime_s = 1000
    wire.run(1.0)
    opened = len(wire.of(PortOpened))
    wire.run(498.0)
    assert len(wire.of(PortOpened)) == opened == 2
    wire.run(2.0)
    assert len(wire.of(PortOpened)) == 4
    wire.run(10_000.0)
    assert not wire.of(PortLost)


@BOTH
def test_a_gateway_that_falls_silent_is_asked_until_the_mappings_expire(protocol: str) -> None:
    wire = wire_in(protocol)
    wire.gateway.lifetime_s = 1000
    wire.run(1.0)
    wire.gateway.is_mute = True
    wire.run(998.0)
    assert not wire.of(PortLost)
    assert not wire.client.is_done
    wire.run(300.0)
    assert {event.key for event in wire.of(PortLost)} == {TCP_KEY, UDP_KEY}
    assert len(wire.of(GatewayFailed)) == 1
    assert wire.client.is_done


@BOTH
def test_a_gateway_that_speaks_again_in_time_renews(protocol: str) -> None:
    wire = wire_in(protocol)
    wire.gateway.lifetime_s = 1000
    wire.run(1.0)
    wire.gateway.is_mute = True
    wire.run(700.0)
    wire.gateway.is_mute = False
    wire.run(250.0)
    assert {mapping.expires_s > 2000.0 for mapping in wire.client.mappings} == {True}
    assert not wire.of(PortLost)


@BOTH
def test_a_restart_is_seen_at_the_next_check_and_everything_asked_for_again(protocol: str) -> None:
    wire = wire_in(protocol)
    wire.run(1.0)
    wire.gateway.restart()
    assert not wire.gateway.opened
    wire.run(wire.config.check_interval_s + 1.0)
    assert wire.of(GatewayRestarted)
    assert set(wire.gateway.opened) == {(TCP, 6881), (UDP, 6881)}


@BOTH
def test_after_a_suspend_of_ours_everything_is_asked_for_again(protocol: str) -> None:
    wire = wire_in(protocol)
    wire.run(1.0)
    wire.gateway.began_s -= 4 * 3600.0  # our clock stands still meanwhile
    wire.gateway.opened.clear()
    wire.run(wire.config.check_interval_s + 1.0)
    assert set(wire.gateway.opened) == {(TCP, 6881), (UDP, 6881)}
    assert len(wire.of(GatewayRestarted)) == 1


@BOTH
def test_a_clock_that_runs_wild_causes_no_flood(protocol: str) -> None:
    wire = wire_in(protocol)
    wire.run(1.0)
    before, answer = len(wire.gateway.requests), wire.gateway.answer

    def answer_later(data: bytes) -> bytes | None:
        wire.gateway.began_s -= 500.0
        return answer(data)

    wire.gateway.answer = answer_later  # type: ignore[method-assign]
    wire.run(600.0)
    asked = len(wire.gateway.requests) - before
    assert asked <= 4 * 600 / wire.config.min_recovery_interval_s


@BOTH
def test_a_clock_that_never_goes_on_causes_no_flood(protocol: str) -> None:
    wire = wire_in(protocol)
    wire.run(1.0)
    before = len(wire.gateway.requests)
    for _ in range(600):
        wire.gateway.restart()  # each answer has epoch 0
        wire.run(1.0)
    pauses = 600 / wire.config.min_recovery_interval_s
    assert len(wire.gateway.requests) - before <= 3 * pauses + 6


@BOTH
def test_a_clock_that_runs_backwards_causes_no_flood(protocol: str) -> None:
    wire = wire_in(protocol)
    wire.run(1.0)
    before, answer = len(wire.gateway.requests), wire.gateway.answer

    def answer_earlier(data: bytes) -> bytes | None:
        wire.gateway.began_s += 500.0
        return answer(data)

    wire.gateway.answer = answer_earlier  # type: ignore[method-assign]
    wire.gateway.began_s -= 1e6
    wire.run(600.0)
    asked = len(wire.gateway.requests) - before
    assert wire.of(GatewayRestarted)
    assert asked <= 4 * 600 / wire.config.min_recovery_interval_s


@BOTH
def test_an_honest_clock_is_no_restart(protocol: str) -> None:
    wire = wire_in(protocol)
    wire.run(100_000.0)
    assert not wire.of(GatewayRestarted)


@BOTH
def test_requests_are_repeated_after_doubled_waits_until_the_gateway_is_held_for_mute(
    protocol: str,
) -> None:
    wire = wire_in(protocol)
    wire.gateway.is_mute = True
    began = wire.clock()
    wire.run(60.0)
    assert [when - began for when in wire.sent_s] == {
        "PCP": [0.0, 3.0],
        "NAT-PMP": [0.0, 0.25, 0.75, 1.75],
    }[protocol]
    assert wire.client.failure is not None
    assert wire.client.get_timer() is None


def test_nothing_is_sent_while_an_answer_is_awaited() -> None:
    wire = wire_in("PCP")
    wire.client.handle_timer(wire.clock())
    assert len(wire.client.datagrams_to_send()) == 1
    wire.client.handle_timer(wire.clock())
    assert wire.client.datagrams_to_send() == []


def test_rfc6887_a_gateway_without_pcp_is_asked_in_natpmp_at_once() -> None:
    wire = Wire()
    wire.gateway.speaks = ("NAT-PMP",)
    wire.run(0.0)
    assert wire.of(ProtocolChanged) == [ProtocolChanged("NAT-PMP")]
    assert len(wire.client.mappings) == 2


def test_a_gateway_that_is_mute_in_pcp_is_asked_in_natpmp() -> None:
    wire = Wire()
    answer = wire.gateway.answer
    wire.gateway.answer = lambda data: None if data[0] else answer(data)  # type: ignore[method-assign]
    wire.run(8.9)
    assert wire.client.protocol.name == "PCP"
    wire.run(1.0)
    assert wire.client.protocol.name == "NAT-PMP"
    assert len(wire.client.mappings) == 2


def test_rfc6887_a_slow_gateway_is_asked_once_to_map_and_again_to_remove() -> None:
    """miniupnpd opens a port of IPv6 twice otherwise, and cannot close it."""
    wire = wire_in("PCP")
    wire.gateway.is_mute = True
    wire.run(2.9)
    assert len(wire.sent_s) == 1
    wire.gateway.is_mute = False
    wire.run(3.0)
    assert len(wire.client.mappings) == 2
    wire.gateway.is_mute = True
    asked = len(wire.sent_s)
    wire.client.stop(wire.clock())
    wire.run(1.0)
    assert len(wire.sent_s) == asked + 3


def test_rfc6886_a_gateway_that_speaks_pcp_only_is_told_apart() -> None:
    wire = Wire(protocols=[NatPmp(), pcp()])
    wire.gateway.speaks = ("PCP",)
    wire.run(0.0)
    assert wire.client.protocol.name == "PCP"
    assert len(wire.client.mappings) == 2


def test_who_has_spoken_a_version_cannot_refuse_it() -> None:
    wire = wire_in("PCP")
    wire.run(1.0)
    events = wire.client.receive_datagram(b"\0\x81\0\1" + bytes(4), wire.clock())
    assert [type(event) for event in events] == [AnswerIgnored]
    assert len(wire.client.mappings) == 2


@BOTH
def test_refusals_of_everything_end_in_the_next_dialect_and_then_in_a_failure(
    protocol: str,
) -> None:
    wire = wire_in(protocol)
    wire.gateway.result = 2
    wire.run(1.0)
    assert [event.reason for event in wire.of(PortRefused)] == ["not authorized"] * 2
    assert wire.of(GatewayFailed) == [GatewayFailed(f"{protocol}: not authorized")]


@BOTH
def test_one_port_that_is_refused_leaves_the_other_one_open_and_is_asked_for_later(
    protocol: str,
) -> None:
    wire = wire_in(protocol)
    wire.gateway.result, wire.gateway.refused_transports = 4, (UDP,)
    wire.run(20.0)
    assert [mapping.key for mapping in wire.client.mappings] == [TCP_KEY]
    assert len(wire.of(PortRefused)) == 1
    wire.gateway.result = 0
    wire.run(wire.config.retry_s + 10.0)
    assert len(wire.client.mappings) == 2


def test_rfc6887_a_refusal_says_when_to_ask_again_and_is_not_believed_below_a_floor() -> None:
    wire = wire_in("PCP")
    wire.gateway.result, wire.gateway.refused_transports = 8, (UDP,)
    wire.gateway.refusal_lifetime_s = 0
    wire.run(0.0)
    (refused,) = wire.of(PortRefused)
    assert refused.retry_s == wire.clock() + wire.config.min_retry_s


@BOTH
def test_a_lifetime_beyond_reason_is_not_believed(protocol: str) -> None:
    config = PortMappingConfig(lifetime_s=0xFFFFFFFF)
    wire = wire_in(protocol, config)
    wire.gateway.lifetime_s = 0xFFFFFFFF
    wire.run(0.0)
    ends = {mapping.expires_s - wire.clock() for mapping in wire.client.mappings}
    assert ends == {config.max_lifetime_s}


@BOTH
def test_a_lifetime_of_a_second_does_not_make_us_ask_all_the_time(protocol: str) -> None:
    wire = wire_in(protocol)
    wire.gateway.lifetime_s = 1
    wire.run(100.0)
    assert len(wire.gateway.requests) <= 2 * 100 / 4 + 10


@BOTH
def test_stopping_removes_both_mappings(protocol: str) -> None:
    wire = wire_in(protocol)
    wire.run(1.0)
    wire.client.stop(wire.clock())
    wire.exchange()
    assert wire.client.is_done
    assert wire.gateway.opened == {}
    assert {event.key for event in wire.of(PortClosed)} == {TCP_KEY, UDP_KEY}


@BOTH
def test_stopping_before_the_answer_removes_what_it_may_have_opened(protocol: str) -> None:
    wire = wire_in(protocol)
    wire.run(1.0)
    wire.gateway.restart(uptime_s=5.0)
    wire.run(wire.config.check_interval_s)
    wire.client.stop(wire.clock())
    wire.exchange()
    assert wire.gateway.opened == {}


def test_a_gateway_that_never_answered_is_told_once_and_not_waited_for() -> None:
    wire = wire_in("PCP")
    wire.gateway.is_mute = True
    wire.run(0.5)
    wire.client.stop(wire.clock())
    assert wire.client.is_done
    assert [data[4:8] for data in wire.client.datagrams_to_send()] == [bytes(4)]


@BOTH
def test_stopping_at_a_silent_gateway_ends_after_its_tries(protocol: str) -> None:
    config = replace(PortMappingConfig(), tries=3)
    wire = wire_in(protocol, config)
    wire.run(1.0)
    wire.gateway.is_mute = True
    wire.client.stop(wire.clock())
    wire.exchange()
    assert not wire.client.is_done
    wire.run(4.0)
    assert wire.client.is_done


def test_a_port_that_is_closed_means_that_the_gateway_speaks_nothing() -> None:
    wire = Wire()
    wire.client.handle_timer(wire.clock())
    events = wire.client.port_unreachable(wire.clock())
    assert [type(event) for event in events] == [GatewayFailed]
    assert wire.client.is_done


def test_a_port_that_is_closed_for_a_moment_ends_nothing() -> None:
    wire = Wire()
    wire.run(1.0)
    assert wire.client.port_unreachable(wire.clock()) == []
    assert not wire.client.is_done


def test_what_is_no_answer_is_ignored() -> None:
    wire = wire_in("PCP")
    wire.run(1.0)
    events = wire.client.receive_datagram(b"no answer", wire.clock())
    assert [type(event) for event in events] == [AnswerIgnored]


def test_a_lifetime_of_0_opens_nothing() -> None:
    wire = wire_in("NAT-PMP")
    wire.gateway.lifetime_s = 0
    wire.run(1.0)
    assert wire.client.mappings == ()
    assert {event.reason for event in wire.of(PortRefused)} == {"a lifetime of 0"}


@BOTH
@pytest.mark.parametrize("port", [0, 65_536])
def test_rfc6886_a_client_for_all_ports_of_the_host_is_a_mistake(protocol: str, port: int) -> None:
    keys = [TCP_KEY, PortKey(MappedTransport.UDP, port)]
    one = pcp() if protocol == "PCP" else NatPmp()
    with pytest.raises(LocalProtocolError, match=f"port {port} cannot be mapped"):
        NatClient([one], keys, PortMappingConfig(), now=0.0)


def test_a_client_without_a_port_is_a_mistake() -> None:
    with pytest.raises(LocalProtocolError):
        NatClient([pcp()], [], PortMappingConfig(), now=0.0)
