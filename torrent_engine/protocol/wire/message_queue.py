"""The messages that wait to be sent to one peer."""

from typing import Final

from torrent_engine.protocol.wire.messages import MessageId, encode_plain

MAX_UNSENT_HAVE_BYTES: Final = 128 * 1024  # ours: about 15,000 pieces


class MessageQueue:
    """Encoded messages and block payloads, in the order in which they go out."""

    __slots__ = (
        "_buffers",
        "_unsent_have_bytes",
        "_unsent_states",
        "unsent_bytes",
        "unsent_rejects",
    )

    def __init__(self) -> None:
        self._buffers: list[bytes | memoryview] = []
        self._unsent_have_bytes = 0
        self._unsent_states: dict[MessageId, bytes] = {}
        """Queued choke, unchoke, interested and not interested messages."""
        self.unsent_bytes = 0
        """Size of the queued messages, without payload, "bitfield" and "have"."""
        self.unsent_rejects = 0
        """Number of "reject request" messages among them."""

    def __bool__(self) -> bool:
        """Return whether anything is queued."""
        return bool(self._buffers)

    def take_all(self) -> list[bytes | memoryview]:
        """Remove and return the queued buffers, in order."""
        buffers, self._buffers = self._buffers, []
        self.unsent_bytes = self.unsent_rejects = self._unsent_have_bytes = 0
        if self._unsent_states:
            self._unsent_states.clear()
        return buffers

    def add(self, message: bytes) -> None:
        """Queue one message or several that are encoded as one buffer."""
        self._buffers.append(message)
        self.unsent_bytes += len(message)

    def add_uncounted(self, *buffers: bytes | memoryview) -> None:
        """Queue buffers that do not count as :attr:`unsent_bytes`."""
        self._buffers += buffers

    def add_haves(self, messages: bytes) -> None:
        """Queue "have" messages, encoded as one buffer.

        They are dropped if more than 128 KiB of them are unsent already; BEP 3 permits that.
        """
        if messages and self._unsent_have_bytes <= MAX_UNSENT_HAVE_BYTES:
            self._buffers.append(messages)
            self._unsent_have_bytes += len(messages)

    def add_state(self, kind: MessageId, *, opposite: MessageId) -> None:
        """Queue a change of state, or remove its opposite if that is still unsent."""
        unsent = self._unsent_states.pop(opposite, None)
        if unsent is None:
            self._unsent_states[kind] = encode_plain(kind)
            self.add(self._unsent_states[kind])
        else:
            self._remove(unsent)

    def keep_state(self, kind: MessageId) -> None:
        """Send a queued change of state even if its opposite follows before it is sent."""
        self._unsent_states.pop(kind, None)

    def _remove(self, message: bytes) -> None:
        for index in range(len(self._buffers) - 1, -1, -1):
            if self._buffers[index] is message:
                del self._buffers[index]
                self.unsent_bytes -= len(message)
                return
