"""The port mappings at one gateway: each is requested, renewed, and deleted at the end.

Source: RFC 6886, RFC 6887. One request is outstanding at a time. If a gateway does not support the
first protocol, does not respond or refuses everything, the next protocol is tried. A change of its
epoch shows that it may have lost its mappings; then all are requested again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from torrent_engine.base.config import PortMappingConfig
from torrent_engine.base.errors import GatewayError, LocalProtocolError
from torrent_engine.protocol.nat.events import (
    AnswerIgnored,
    ExternalHostReported,
    GatewayFailed,
    GatewayRestarted,
    MappedPort,
    NatEvent,
    PortClosed,
    PortLost,
    PortOpened,
    PortRefused,
    ProtocolChanged,
)
from torrent_engine.protocol.nat.exchange import Exchange
from torrent_engine.protocol.nat.facts import (
    EpochSeen,
    ExternalAddressReply,
    GatewayReply,
    Mapped,
    MappingProtocol,
    MapRequest,
    PortKey,
    Refused,
    VersionRefused,
    check_keys,
)

MIN_RENEWAL_S: Final = 4.0  # RFC 6887 section 11.2.1: nothing is renewed more often
NEVER: Final = float("inf")


@dataclass(slots=True)
class _Port:
    """The state of one wanted port."""

    key: PortKey
    external_port: int
    """The requested port: the one assigned last time."""
    external_host: str | None
    due_s: float
    """When the next request is due."""
    mapping: MappedPort | None = None
    is_refused: bool = False
    is_requested: bool = False
    """Whether the gateway may have opened it."""


class NatClient:
    """Datagrams and ``now`` in, datagrams and events out; times are those of ``now``.

    Pass it only datagrams from the gateway's address and port.
    """

    def __init__(
        self,
        protocols: Sequence[MappingProtocol],
        keys: Sequence[PortKey],
        config: PortMappingConfig,
        *,
        now: float,
    ) -> None:
        if not protocols or not keys:
            raise LocalProtocolError("at least one protocol and one port are needed")
        check_keys(keys)
        self._protocols = list(protocols)
        self._config = config
        self._ports = {key: _Port(key, key.internal_port, None, now) for key in keys}
        self._current: Exchange | None = None
        self._outgoing: list[bytes] = []
        self._epoch: EpochSeen | None = None
        self._recovered_s = -NEVER
        self._check_s = now
        self._is_stopping = False
        self.external_host: str | None = None
        """The external address reported by the gateway."""
        self.failure: str | None = None
        """Why the client ended; None while it has not failed."""
        self._begin_protocol(now)

    # -- state ------------------------------------------------------------------------------

    @property
    def protocol(self) -> MappingProtocol:
        """The protocol in use, or being tried."""
        return self._protocols[0]

    @property
    def mappings(self) -> tuple[MappedPort, ...]:
        """The active mappings."""
        return tuple(port.mapping for port in self._ports.values() if port.mapping is not None)

    @property
    def is_done(self) -> bool:
        """Whether it failed, or removed all mappings after :meth:`stop`."""
        is_stopped = self._is_stopping and not self._to_remove() and self._current is None
        return self.failure is not None or is_stopped

    def get_timer(self) -> float | None:
        """Return when :meth:`handle_timer` is to be called next; None: never."""
        if self.is_done:
            return None
        if self._current is not None:
            return min(self._current.due_s, self._next_expiry_s())
        if self._is_stopping:
            return -NEVER
        return min(self._next_due()[0], self._next_expiry_s())

    def datagrams_to_send(self) -> list[bytes]:
        """Remove and return the datagrams to send to the gateway."""
        datagrams, self._outgoing = self._outgoing, []
        return datagrams

    # -- input ------------------------------------------------------------------------------

    def handle_timer(self, now: float) -> list[NatEvent]:
        """Send due requests and retransmissions, and expire mappings."""
        if self.is_done:
            return []
        events: list[NatEvent] = []
        self._expire(now, events)
        if self._current is not None and now >= self._current.due_s:
            if self._current.tries_left > 0:
                self._outgoing.append(self._current.send(now))
            else:
                self._request_timed_out(self._current, now, events)
        self._send_next(now)
        return events

    def receive_datagram(self, data: bytes, now: float) -> list[NatEvent]:
        """Process one datagram of the gateway; an invalid one is an event, not an error."""
        if self.is_done:
            return []
        try:
            answer = self.protocol.decode(data)
        except GatewayError as error:
            return [AnswerIgnored(str(error))]
        events: list[NatEvent] = []
        if isinstance(answer, VersionRefused):
            self._version_refused(now, events)
        else:
            self._answered(answer, now, events)
        self._send_next(now)
        return events

    def port_unreachable(self, now: float) -> list[NatEvent]:
        """Handle an ICMP "port unreachable": a gateway that never responded supports nothing.

        One that did may be restarting.
        """
        events: list[NatEvent] = []
        if not self.is_done and self._epoch is None:
            self._fail("port unreachable", events)
        self._send_next(now)
        return events

    def stop(self, now: float) -> None:
        """Remove all mappings; :attr:`is_done` is True when that is done.

        A gateway that never responded is sent one request each, without waiting for a response.
        """
        if self._is_stopping or self.failure is not None:
            return
        self._is_stopping, self._current = True, None
        while self._epoch is None and (ports := self._to_remove()):
            self._send_request(ports[0].key, now, lifetime_s=0)
            self._current, ports[0].is_requested = None, False
        self._send_next(now)

    # -- responses --------------------------------------------------------------------------

    def _answered(self, answer: GatewayReply, now: float, events: list[NatEvent]) -> None:
        self._note_epoch(answer.epoch_s, now, events)
        if isinstance(answer, ExternalAddressReply):
            self._note_host(answer.external_host, events)
        if not self._is_awaited(answer):
            return  # late, or a multicast announce: only epoch and address are used
        exchange, self._current = self._current, None
        if exchange is None or exchange.key is None:
            return
        port = self._ports[exchange.key]
        if isinstance(answer, Refused):
            self._refused(port, answer, now, events)
        elif isinstance(answer, Mapped):
            self._mapped(port, answer, now, events)

    def _is_awaited(self, answer: GatewayReply) -> bool:
        """Return whether a response belongs to the outstanding request."""
        if self._current is None:
            return False
        key = self._current.key
        if isinstance(answer, Mapped):
            return answer.key == key and (not answer.lifetime_s) >= self._current.is_removal
        if isinstance(answer, Refused):
            return answer.key in (key, None)
        return key is None

    def _mapped(self, port: _Port, answer: Mapped, now: float, events: list[NatEvent]) -> None:
        if self._is_stopping:
            port.mapping, port.is_requested = None, False
            events.append(PortClosed(port.key))
            return
        if not answer.lifetime_s:  # some gateways refuse in this way
            refusal = Refused(answer.epoch_s, 0, "a lifetime of 0", port.key, None)
            self._refused(port, refusal, now, events)
            return
        lifetime_s = min(answer.lifetime_s, self._config.max_lifetime_s)
        if answer.external_host is not None:
            self._note_host(answer.external_host, events)
        port.external_port, port.external_host = answer.external_port, answer.external_host
        port.is_refused = False
        port.due_s = now + max(lifetime_s / 2, MIN_RENEWAL_S)
        host = answer.external_host or self.external_host
        port.mapping = MappedPort(port.key, answer.external_port, host, now + lifetime_s)
        events.append(PortOpened(port.mapping))

    def _refused(self, port: _Port, answer: Refused, now: float, events: list[NatEvent]) -> None:
        if self._is_stopping:
            port.mapping, port.is_requested = None, False
            return
        config = self._config
        retry_in_s = config.retry_s if answer.retry_in_s is None else answer.retry_in_s
        port.due_s = now + min(max(retry_in_s, config.min_retry_s), config.max_lifetime_s)
        port.is_refused = True
        events.append(PortRefused(port.key, answer.code, answer.reason, port.due_s))
        if all(each.is_refused and each.mapping is None for each in self._ports.values()):
            self._try_next_protocol(f"{self.protocol.name}: {answer.reason}", now, events)

    def _note_host(self, host: str, events: list[NatEvent]) -> None:
        if host != self.external_host:
            self.external_host = host
            events.append(ExternalHostReported(host))

    def _note_epoch(self, epoch_s: int, now: float, events: list[NatEvent]) -> None:
        """Request every mapping again if the gateway may have lost it; limited in rate."""
        before, self._epoch = self._epoch, EpochSeen(epoch_s, now)
        if before is None or not self.protocol.has_restarted(before, self._epoch):
            return
        events.append(GatewayRestarted())
        due_s = max(now, self._recovered_s + self._config.min_recovery_interval_s)
        self._recovered_s = due_s
        for port in self._ports.values():
            port.due_s = min(port.due_s, due_s)
        if self.protocol.checks_first:
            self._check_s = min(self._check_s, due_s)

    # -- timeouts ---------------------------------------------------------------------------

    def _request_timed_out(self, exchange: Exchange, now: float, events: list[NatEvent]) -> None:
        self._current = None
        if self._is_stopping:
            if exchange.key is not None:
                self._ports[exchange.key].is_requested = False
        elif self._epoch is None:
            self._try_next_protocol(f"{self.protocol.name}: no answer", now, events)
        elif exchange.key is not None:
            self._postpone(self._ports[exchange.key], now, events)

    def _postpone(self, port: _Port, now: float, events: list[NatEvent]) -> None:
        """Retry a renewal after half of the remaining time (RFC 6887 section 11.2.1)."""
        if port.mapping is not None:
            port.due_s = now + max((port.mapping.expires_s - now) / 2, MIN_RENEWAL_S)
        elif self.mappings:
            port.due_s = now + self._config.retry_s
        else:
            self._fail(f"{self.protocol.name}: no answer any more", events)

    def _expire(self, now: float, events: list[NatEvent]) -> None:
        for port in self._ports.values():
            if port.mapping is not None and port.mapping.expires_s <= now:
                port.mapping = None
                events.append(PortLost(port.key))

    def _version_refused(self, now: float, events: list[NatEvent]) -> None:
        """Fall back to the other protocol, unless the gateway has responded in this one."""
        if self._epoch is None:
            reason = f"{self.protocol.name} is not supported"
            self._try_next_protocol(reason, now, events)
        else:
            events.append(AnswerIgnored("version refused although it was used before"))

    def _try_next_protocol(self, reason: str, now: float, events: list[NatEvent]) -> None:
        if len(self._protocols) == 1:
            self._fail(reason, events)
            return
        del self._protocols[0]
        self._begin_protocol(now)
        events.append(ProtocolChanged(self.protocol.name))

    def _begin_protocol(self, now: float) -> None:
        self._current, self._epoch = None, None
        self._check_s = now if self.protocol.checks_first else now + self._config.check_interval_s
        for port in self._ports.values():
            port.due_s, port.is_refused = now, False

    def _fail(self, reason: str, events: list[NatEvent]) -> None:
        self._current, self.failure = None, reason
        events.append(GatewayFailed(reason))

    # -- requests ---------------------------------------------------------------------------

    def _next_expiry_s(self) -> float:
        return min((mapping.expires_s for mapping in self.mappings), default=NEVER)

    def _next_due(self) -> tuple[float, PortKey | None]:
        """Return the next request and its time; of due ones the check comes first."""
        port = min(self._ports.values(), key=lambda each: each.due_s)
        return (self._check_s, None) if self._check_s <= port.due_s else (port.due_s, port.key)

    def _to_remove(self) -> list[_Port]:
        return [port for port in self._ports.values() if port.is_requested]

    def _send_next(self, now: float) -> None:
        """Send the next request if none is outstanding."""
        if self._current is not None or self.is_done:
            return
        if self._is_stopping:
            self._send_request(self._to_remove()[0].key, now, lifetime_s=0)
            return
        due_s, key = self._next_due()
        if due_s <= now:
            self._send_request(key, now, lifetime_s=self._config.lifetime_s)

    def _send_request(self, key: PortKey | None, now: float, *, lifetime_s: int) -> None:
        config = self._config
        if key is None:
            datagram = self.protocol.check_request()
            self._check_s = now + config.check_interval_s
        else:
            port = self._ports[key]
            port.is_requested = True
            port.due_s = NEVER  # until the response or the timeout
            datagram = self.protocol.map_request(
                MapRequest(key, port.external_port, lifetime_s, port.external_host)
            )
        is_patient = self.protocol.is_patient and key is not None and lifetime_s > 0
        first_s = config.pcp_first_timeout_s if is_patient else config.first_timeout_s
        probes = config.pcp_probe_tries if is_patient else config.probe_tries
        later = config.pcp_tries if is_patient else config.tries
        tries = probes if self._epoch is None else later
        self._current = Exchange(key, datagram, tries, first_s, not lifetime_s)
        self._outgoing.append(self._current.send(now))
