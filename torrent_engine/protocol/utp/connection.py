"""One uTP connection: its states and packets.

Source: BEP 29; rows C3 and C4. Packets and times are arguments.
"""

from collections.abc import Callable, Sequence
from enum import Enum, auto
from random import Random
from typing import Final, Self

from torrent_engine.base.config import UtpConfig
from torrent_engine.protocol.utp.handshake import Confirmation, SynAttempts, choose_id
from torrent_engine.protocol.utp.limits import UtpLimits
from torrent_engine.protocol.utp.packet import (
    DATA,
    FIN,
    HEADER,
    MASK_16,
    MASK_32,
    RESET,
    SACK,
    STATE,
    SYN,
    VERSION,
    Packet,
)
from torrent_engine.protocol.utp.receiver import ReceiveSide
from torrent_engine.protocol.utp.sender import Heading, OutgoingPacket, SendSide

CLOSING_TIMEOUTS: Final = 3  # ours: timeouts in a row after which a closing connection ends
MIN_SEND_ROOM_BYTES: Final = 32 * 1024  # ours: two blocks; with less room is_writable is False


class UtpState(Enum):
    """The state of a connection."""

    SYN_SENT = auto()
    SYN_RECEIVED = auto()
    """A SYN was acknowledged; the peer's address is not verified yet."""
    CONNECTED = auto()
    CLOSING = auto()
    """FIN follows the queued data, which may still be in transit."""
    ENDED = auto()


NARROW_WINDOW_BYTES: Final = 64 * 1024  # ours
_LIVE: Final = (UtpState.CONNECTED, UtpState.CLOSING)


class UtpConnection:
    """One connection. After every call, send the :meth:`packets_to_send`."""

    def __init__(self, config: UtpConfig, limits: UtpLimits, *, rng: Random, now: float) -> None:
        self._sequence = rng.randrange(1 << 16)
        self._sender = SendSide(config, limits, self._sequence, now)
        self._window_bytes = config.receive_window_bytes
        self._receiver = ReceiveSide(0, self._window_bytes, limits.reorder, limits.unread)
        self._clock_us = rng.getrandbits(32)  # random offset of our timestamps
        self._out: list[OutgoingPacket] = []
        self._dial: SynAttempts | None = None
        self._confirmation: Confirmation | None = None
        self._delay_us = 0  # timestamp difference of the last packet
        self._last_sample_us = 0
        self.receive_id = 0
        """Id in packets to us."""
        self.send_id = 0
        """Id in packets from us; a RESET for an unknown connection carries this one."""
        self.state = UtpState.SYN_SENT
        self.failure: str | None = None
        """Why the connection failed; None otherwise."""
        self.is_confirmed = True
        """Whether the peer's address is verified (row C3)."""

    @classmethod
    def dial(
        cls,
        config: UtpConfig,
        *,
        now: float,
        rng: Random,
        is_taken: Callable[[int], bool],
        limits: UtpLimits | None = None,
    ) -> Self:
        """Open a connection; its SYN is queued.

        ``is_taken`` returns whether an id is in use with the same address. ``rng`` must be
        unpredictable, as for :meth:`accept`.
        """
        self = cls(config, limits or UtpLimits(), rng=rng, now=now)
        self.receive_id = choose_id(rng, is_taken)
        self.send_id = self.receive_id + 1 & MASK_16
        self._dial = SynAttempts(self._sequence - 1 & MASK_16, config.syn_attempts, now)
        return self

    @classmethod
    def accept(
        cls,
        config: UtpConfig,
        syn: Packet,
        *,
        now: float,
        rng: Random,
        limits: UtpLimits | None = None,
    ) -> Self:
        """Respond to a SYN with one packet; payload is sent only after the address is verified."""
        limits = limits or UtpLimits()
        self = cls(config, limits, rng=rng, now=now)
        self._receiver.acknowledged = syn.sequence
        self.receive_id = syn.connection_id + 1 & MASK_16
        self.send_id = syn.connection_id
        self.state = UtpState.SYN_RECEIVED
        self.is_confirmed = False
        self._confirmation = Confirmation(syn, self._time_us(now), limits.wrong_numbers, now)
        self._delay_us = self._time_us(now) - syn.timestamp_us & MASK_32
        self._receiver.must_acknowledge = True
        return self

    @property
    def has_ended(self) -> bool:
        """Whether it can be removed; a last packet may still have to be sent."""
        return self.state is UtpState.ENDED

    @property
    def is_readable(self) -> bool:
        """Whether receive_into would not block."""
        return self._receiver.is_readable or self.state is UtpState.ENDED

    @property
    def is_writable(self) -> bool:
        """Whether send would not block."""
        if self.state is UtpState.CONNECTED:
            return self._sender.room_bytes >= MIN_SEND_ROOM_BYTES
        return self.state in (UtpState.CLOSING, UtpState.ENDED)

    @property
    def room_bytes(self) -> int:
        """How many bytes send accepts; 0 if it would block."""
        if not self.is_writable:
            return 0
        return max(self._sender.room_bytes, MIN_SEND_ROOM_BYTES)  # at the end send raises

    @property
    def moved_bytes(self) -> int:
        """Payload bytes delivered so far, both directions together."""
        return self._receiver.received_bytes + self._sender.delivered_bytes

    @property
    def may_fragment(self) -> bool:
        """Whether the packets to send must be sent so that IP may fragment them.

        The path has become narrower than packets that are already in flight.
        """
        return self._sender.may_fragment

    # -- packets in --------------------------------------------------------------------------

    def receive_packet(self, packet: Packet, *, now: float, arrived_s: float) -> None:
        """Process one packet with our ``receive_id``, or a RESET with our ``send_id``.

        ``arrived_s`` is when the system received it, by the clock of ``now``, so that a busy
        process does not count as queuing delay. Invalid packets are dropped.
        """
        if self.state not in _LIVE or packet.type > STATE:
            self._receive_rarely(packet, now, arrived_s)
            return
        if self._sender.acknowledged(packet, now, arrived_s):
            self._receive(packet, now, arrived_s)

    def _receive(self, packet: Packet, now: float, arrived_s: float) -> None:
        """Process a packet with a valid acknowledgement number."""
        sender = self._sender
        sender.retransmission.received_s = now
        sample_us = packet.timestamp_difference_us
        if sample_us and (sample_us != self._last_sample_us or packet.type == STATE):
            self._last_sample_us = sample_us
            sender.delay.measure(sample_us, now, sender.round_trip.smoothed_s)
        self._delay_us = int(arrived_s * 1e6) + self._clock_us - packet.timestamp_us & MASK_32
        if packet.type == DATA:
            self._receiver.take(packet.sequence, packet.payload)
        elif packet.type == FIN:
            self._receiver.take_end(packet.sequence)
        if sender.is_done:
            self._end(None)

    def _receive_rarely(self, packet: Packet, now: float, arrived_s: float) -> None:
        if packet.type == RESET:
            self._receive_reset(packet, arrived_s)
        elif packet.type == SYN:
            self._receive_syn(packet, arrived_s)
        elif self.state is UtpState.SYN_SENT:
            self._receive_answer(packet, now, arrived_s)
        elif self.state is UtpState.SYN_RECEIVED:
            self._receive_confirmation(packet, now, arrived_s)

    def _receive_reset(self, packet: Packet, arrived_s: float) -> None:
        """End the connection if the RESET refers to a recent packet of ours, and is not forged."""
        flight, acknowledged = self._sender.flight, packet.acknowledged
        if self.state is UtpState.SYN_SENT and self._dial is not None:
            is_lately = acknowledged == self._dial.sequence
        elif acknowledged == flight.next & MASK_16:  # of a packet of ours without payload
            is_lately = True
        else:
            is_lately = flight.count_acknowledged(acknowledged, arrived_s) is not None
        if is_lately:
            is_good = self.state is UtpState.CLOSING
            self._end(None if is_good else "reset by the other side")

    def _receive_syn(self, packet: Packet, arrived_s: float) -> None:
        """Respond to a retransmitted SYN."""
        begin = self._confirmation
        if begin is None or self.state is UtpState.ENDED or packet.sequence != begin.syn_sequence:
            return
        if self.state is UtpState.SYN_RECEIVED:
            self._delay_us = self._time_us(arrived_s) - packet.timestamp_us & MASK_32
        self._receiver.must_acknowledge = True

    def _receive_answer(self, packet: Packet, now: float, arrived_s: float) -> None:
        """Connect if the packet acknowledges our SYN."""
        if self._dial is None or packet.type != STATE:
            return
        if packet.acknowledged != self._dial.sequence:
            return
        if self._dial.sent_s is not None:
            self._sender.round_trip.measure(arrived_s - self._dial.sent_s, now)
        self._receiver.acknowledged = packet.sequence - 1 & MASK_16
        self.state = UtpState.CONNECTED
        self._receiver.acknowledge_soon(now)  # confirms us even without payload
        if self._sender.acknowledged(packet, now, arrived_s):
            self._receive(packet, now, arrived_s)

    def _receive_confirmation(self, packet: Packet, now: float, arrived_s: float) -> None:
        """Connect if the packet acknowledges our random sequence number (row C3)."""
        begin = self._confirmation
        is_right = packet.acknowledged == self._sequence - 1 & MASK_16
        if begin is None:
            return
        if not begin.accepts(packet, self._time_us(arrived_s), now, is_number_right=is_right):
            if begin.has_failed:
                self._end("not confirmed: wrong acknowledgement numbers")
            return
        self.state, self.is_confirmed = UtpState.CONNECTED, True
        self._sender.acknowledged(packet, now, arrived_s)
        self._receive(packet, now, arrived_s)

    def batch_ended(self, now: float) -> None:
        """Record the end of a batch of packets; schedule an acknowledgement."""
        self._receiver.batch_ended(now)

    # -- packets out -------------------------------------------------------------------------

    def packets_to_send(self, now: float) -> list[OutgoingPacket]:
        """Return the packets to send now, oldest first, as (header, payload)."""
        out, self._out = self._out, []
        receiver = self._receiver
        if self.state in _LIVE:
            before = len(out)
            self._sender.packets(now, self._heading(now), out)
            if len(out) > before:
                must_acknowledge_again = receiver.must_acknowledge and receiver.has_gap
                receiver.acknowledgement_left()
                receiver.must_acknowledge = must_acknowledge_again
        elif self._dial is not None and self._dial.is_due and self.state is UtpState.SYN_SENT:
            self._dial.left(now)
            out.append(self._syn(now))
        if receiver.must_acknowledge and self.state is not UtpState.SYN_SENT:
            out.append(self._acknowledgement(now))
        return out

    def _heading(self, now: float) -> Heading:
        receiver, time_us = self._receiver, int(now * 1e6) + self._clock_us & MASK_32
        window_bytes, acknowledged = receiver.window_bytes, receiver.acknowledged
        return Heading(self.send_id, time_us, self._delay_us, window_bytes, acknowledged)

    def _acknowledgement(self, now: float) -> OutgoingPacket:
        """Return an acknowledgement without payload."""
        receiver = self._receiver
        sack = receiver.sack() if receiver.has_gap and self.is_confirmed else b""
        header = self._header(STATE, now, self._sender.flight.next, SACK if sack else 0)
        receiver.acknowledgement_left()
        return header + (bytes((0, len(sack))) + sack if sack else b""), b""

    def _syn(self, now: float) -> OutgoingPacket:
        kind, window_bytes = SYN << 4 | VERSION, self._receiver.window_bytes
        number = self._sequence - 1 & MASK_16
        fields = (kind, 0, self.receive_id, self._time_us(now), 0, window_bytes, number, 0)
        return HEADER.pack(*fields), b""

    def _time_us(self, now: float) -> int:
        return int(now * 1e6) + self._clock_us & MASK_32

    def _header(self, kind: int, now: float, sequence: int, extension: int = 0) -> bytes:
        connection_id, *others, acknowledged = self._heading(now)
        first = kind << 4 | VERSION
        number = sequence & MASK_16
        return HEADER.pack(first, extension, connection_id, *others, number, acknowledged)

    # -- time --------------------------------------------------------------------------------

    def timer(self) -> float | None:
        """Return when :meth:`handle_timer` should be called, after what waits was received."""
        if self.state is UtpState.SYN_SENT and self._dial is not None:
            return self._dial.due_s
        if self.state is UtpState.SYN_RECEIVED and self._confirmation is not None:
            return self._confirmation.due_s
        if self.state is UtpState.ENDED:
            return None
        sender_s, ack_s = self._sender.timer(), self._receiver.ack_due_s
        if sender_s is None or ack_s is None:
            return ack_s if sender_s is None else sender_s
        return min(sender_s, ack_s)

    def handle_timer(self, now: float) -> None:
        """Handle the timer; early and late calls are allowed."""
        if self.state in _LIVE:
            self._sender.handle_timer(now)
            if self._receiver.ack_due_s is not None and now >= self._receiver.ack_due_s:
                self._receiver.must_acknowledge = True
            if self._sender.retransmission.is_hopeless(now):
                self._end("timed out")
        elif self.state is UtpState.SYN_SENT and self._dial is not None:
            if not self._dial.handle_timer(now):
                self._end("no answer")
        elif self.state is UtpState.SYN_RECEIVED and now >= (self.timer() or now):
            self._end("not confirmed")

    # -- the stream --------------------------------------------------------------------------

    def send(self, buffers: Sequence[bytes | memoryview]) -> int:
        """Queue a copy of bytes to send; return how many were accepted.

        Raises BlockingIOError if there is no room, and OSError if the connection has ended.
        """
        if self.state in (UtpState.CLOSING, UtpState.ENDED):
            raise BrokenPipeError(self.failure or "the connection is closed")
        room = self._sender.room_bytes
        if self.state is not UtpState.CONNECTED or room < MIN_SEND_ROOM_BYTES:
            raise BlockingIOError
        return self._sender.queue_bytes(buffers, room)

    def receive_into(self, target: memoryview) -> int:
        """Read received bytes; return 0 at the end of the stream.

        Raises BlockingIOError if there are none, and OSError if the connection has failed.
        """
        if count := self._receiver.read_into(target):
            return count
        if self._receiver.has_eof:
            return 0
        if self.state is UtpState.ENDED:
            raise ConnectionResetError(self.failure or "the connection is closed")
        raise BlockingIOError

    def narrow(self, *, is_narrow: bool) -> None:
        """Shrink the receive window while the stream is not read, or restore it."""
        limit_bytes = NARROW_WINDOW_BYTES if is_narrow else self._window_bytes
        self._receiver.set_limit(min(limit_bytes, self._window_bytes))

    def close(self, now: float) -> None:
        """Send FIN after the queued data; may be called twice."""
        del now
        if self.state is UtpState.CONNECTED:
            self.state = UtpState.CLOSING
            self._sender.is_finishing = True
            self._sender.retransmission.max_timeouts = CLOSING_TIMEOUTS
        elif self.state is not UtpState.CLOSING:
            self._end(None)
        self._receiver.discard()

    def abort(self, now: float) -> None:
        """End at once, with a RESET if the peer knows the connection."""
        if self.state in _LIVE:
            self._out.append((self._header(RESET, now, self._sender.flight.next), b""))
            self._receiver.must_acknowledge = False
        self._end(None)

    def _end(self, failure: str | None) -> None:
        if self.state is UtpState.ENDED:
            return
        is_quiet = self.state in (UtpState.SYN_SENT, UtpState.SYN_RECEIVED) or failure
        if is_quiet:
            self._receiver.must_acknowledge = False
        self.state, self.failure = UtpState.ENDED, failure
        self._sender.clear()
        self._receiver.forget_early()
