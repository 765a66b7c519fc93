"""One request to a UDP tracker address: connection id, retransmissions and response.

Source: BEP 15 (retransmission after 15 x 2^n seconds).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from torrent_engine.base.config import TrackerConfig
from torrent_engine.base.errors import (
    LocalProtocolError,
    RemoteProtocolError,
    TrackerError,
    TrackerRefusedError,
)
from torrent_engine.base.ids import InfoHash
from torrent_engine.protocol.tracker.announce import (
    AnnounceRequest,
    AnnounceResponse,
    ScrapeCounts,
)
from torrent_engine.protocol.tracker.udp_announce import (
    ACTION_ANNOUNCE,
    ACTION_CONNECT,
    ACTION_ERROR,
    ACTION_SCRAPE,
    RESPONSE_HEADER,
    encode_announce,
    encode_connect,
    encode_scrape,
    parse_announce_response,
    parse_connect_response,
    parse_error_response,
    parse_scrape_response,
)

UdpAnswer = AnnounceResponse | dict[InfoHash, ScrapeCounts]


class ExchangeState(Enum):
    """The state of an exchange."""

    CONNECTING = auto()
    """A connection id was requested."""
    REQUESTING = auto()
    """The announce or scrape was sent."""
    DONE = auto()
    """``answer`` or ``error`` is set."""


@dataclass(frozen=True, slots=True)
class UdpAnnounce:
    """An announce, with the path and query of the tracker's URL (BEP 41)."""

    request: AnnounceRequest
    target: str = ""


@dataclass(frozen=True, slots=True)
class UdpScrape:
    """A scrape of 1 to 74 torrents."""

    info_hashes: Sequence[InfoHash]


@dataclass(frozen=True, slots=True)
class UdpConnection:
    """A connection id and its expiry."""

    connection_id: int
    expires_at_s: float


_REQUEST_ACTIONS: Final = {UdpAnnounce: ACTION_ANNOUNCE, UdpScrape: ACTION_SCRAPE}


class UdpExchange:
    """One announce or scrape to one tracker address.

    Send the :meth:`datagrams_to_send`, pass in received datagrams from that address, and call
    :meth:`handle_timer` at :meth:`next_timer`, until :attr:`state` is DONE.
    """

    def __init__(
        self,
        request: UdpAnnounce | UdpScrape,
        *,
        v6: bool,
        rng: random.Random,
        config: TrackerConfig,
        connection: UdpConnection | None = None,
    ) -> None:
        self.state = ExchangeState.CONNECTING
        self.answer: UdpAnswer | None = None
        self.error: TrackerError | RemoteProtocolError | None = None
        self.connection = connection
        """The connection id in use; reusable for the next exchange with this address."""
        self._request = request
        self._is_reused = connection is not None
        self.v6 = v6
        """Whether the tracker's address, and therefore its peers, are IPv6."""
        self._rng = rng
        self._config = config
        self._was_connected = False
        self._retries = 0
        self._timer_s: float | None = None
        self._transaction_id = -1
        self._outgoing: list[bytes] = []

    def start(self, *, now: float) -> None:
        """Queue the first packet: the request itself if there is a connection id."""
        if self._timer_s is not None:
            raise LocalProtocolError("a UDP tracker exchange starts once")
        self._send(now)

    def datagrams_to_send(self) -> list[bytes]:
        """Return the packets to send now, once each."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def next_timer(self) -> float:
        """Return when :meth:`handle_timer` is due; infinity: never."""
        return float("inf") if self._timer_s is None else self._timer_s

    def handle_timer(self, *, now: float) -> None:
        """Retransmit after 15 x 2^n seconds, or fail after the last attempt."""
        if self.state is ExchangeState.DONE or now < self.next_timer():
            return
        if self._retries >= self._config.udp_max_retries:
            self._finish(error=TrackerError("no answer"))
            return
        self._retries += 1
        self._send(now)

    def receive_datagram(self, packet: bytes, *, now: float) -> bool:
        """Process a packet from the tracker's address.

        Returns False, without a change, if it does not match our request (row C5).
        """
        if self.state is ExchangeState.DONE or len(packet) < RESPONSE_HEADER.size:
            return False
        action, transaction_id = RESPONSE_HEADER.unpack_from(packet)
        if transaction_id != self._transaction_id or action not in {ACTION_ERROR, self._action()}:
            return False
        try:
            self._take(action, packet, now)
        except (RemoteProtocolError, TrackerRefusedError) as error:
            self._finish(error=error)
        return True

    def _take(self, action: int, packet: bytes, now: float) -> None:
        if action == ACTION_ERROR:
            self._take_error(packet, now)
        elif action == ACTION_CONNECT:
            self._take_connection_id(packet, now)
        elif isinstance(self._request, UdpAnnounce):
            limit = self._config.max_peers
            self._finish(answer=parse_announce_response(packet, v6=self.v6, max_peers=limit))
        else:
            self._finish(answer=parse_scrape_response(packet, self._request.info_hashes))

    def _take_error(self, packet: bytes, now: float) -> None:
        self.connection = None
        if not self._is_reused:
            raise parse_error_response(packet)
        self._is_reused = False  # the reused connection id may be invalid: request a new one
        self._send(now)

    def _take_connection_id(self, packet: bytes, now: float) -> None:
        lifetime_s = self._config.udp_connection_id_s
        self.connection = UdpConnection(parse_connect_response(packet), now + lifetime_s)
        if not self._was_connected:
            self._retries = 0  # only once, so that the exchange ends
        self._was_connected = True
        self._send(now)

    def _action(self) -> int:
        if self.state is ExchangeState.CONNECTING:
            return ACTION_CONNECT
        return _REQUEST_ACTIONS[type(self._request)]

    def _send(self, now: float) -> None:
        connection = self.connection
        if connection is not None and now >= connection.expires_at_s:
            connection = self.connection = None
        wanted = ExchangeState.REQUESTING if connection else ExchangeState.CONNECTING
        if wanted is not self.state or self._transaction_id < 0:
            self._transaction_id = self._rng.getrandbits(32)
        self.state = wanted
        self._timer_s = now + self._config.udp_first_timeout_s * 2**self._retries
        self._outgoing.append(self._packet(connection))

    def _packet(self, connection: UdpConnection | None) -> bytes:
        txid = self._transaction_id
        if connection is None:
            return encode_connect(txid)
        cid = connection.connection_id
        if isinstance(self._request, UdpAnnounce):
            announce = self._request
            return encode_announce(
                announce.request, connection_id=cid, transaction_id=txid, target=announce.target
            )
        return encode_scrape(self._request.info_hashes, connection_id=cid, transaction_id=txid)

    def _finish(
        self,
        *,
        answer: UdpAnswer | None = None,
        error: TrackerError | RemoteProtocolError | None = None,
    ) -> None:
        self.state = ExchangeState.DONE
        self.answer, self.error = answer, error
        self._timer_s = None
        self._outgoing.clear()
