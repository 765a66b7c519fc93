"""Transports after an encrypted handshake: RC4 in both directions, or plaintext.

RC4 is the hot path of an encrypted transfer: received bytes are decrypted in place, sent ones
encrypted many buffers at a time. Source: Message Stream Encryption.
"""

from collections.abc import Sequence
from typing import Final

import anyio.lowlevel

from torrent_engine.base.config import ConnectionEncryption
from torrent_engine.net.peers.transport import Transport
from torrent_engine.protocol.wire.encryption_keys import Rc4

MIN_STEP_BYTES: Final = 16 * 1024
MAX_STEP_BYTES: Final = 128 * 1024  # ours: fits into the processor's cache


class PlaintextTransport:
    """A plaintext transport after an encrypted handshake, with its excess data."""

    encryption = ConnectionEncryption.PLAINTEXT

    def __init__(self, inner: Transport, early: bytes = b"") -> None:
        self.protocol = inner.protocol
        self.sends_by_kernel = inner.sends_by_kernel
        self.inner = inner
        self._early = memoryview(early)
        self.receive_into = self._receive_early if early else inner.receive_into
        self.wait_readable = self._wait_early if early else inner.wait_readable
        self.send_some = inner.send_some
        self.wait_writable = inner.wait_writable

    @property
    def local_host(self) -> str:
        """Our address; empty if the transport is closed."""
        return self.inner.local_host

    @property
    def room_bytes(self) -> int:
        """How many bytes are taken now."""
        return self.inner.room_bytes

    def narrow(self, *, is_narrow: bool) -> None:
        """Shrink the receive buffer, or restore it."""
        self.inner.narrow(is_narrow=is_narrow)

    def close(self) -> None:
        """Close the inner transport; may be called twice."""
        self.inner.close()

    def _receive_early(self, target: memoryview) -> int:
        if not self._early:
            return self._receive_later(target)
        count = min(len(target), len(self._early))
        target[:count] = self._early[:count]
        self._early = self._early[count:]
        if not self._early:
            self.receive_into, self.wait_readable = self._receive_later, self.inner.wait_readable
        return count

    def _receive_later(self, target: memoryview) -> int:
        return self.inner.receive_into(target)

    async def _wait_early(self) -> None:
        if self._early:
            await anyio.lowlevel.checkpoint()
        else:
            await self.inner.wait_readable()


class Rc4Transport(PlaintextTransport):
    """A transport encrypted with RC4 in both directions.

    Encrypted bytes that are not sent yet are kept, because a cipher must not process a byte twice;
    when the caller offers them again, the kept ones are sent.
    """

    encryption = ConnectionEncryption.RC4

    def __init__(
        self, inner: Transport, encryptor: Rc4, decryptor: Rc4, early: bytes = b""
    ) -> None:
        super().__init__(inner, early)
        self.sends_by_kernel = False
        self._encrypt = encryptor.update
        self._decrypt_into = decryptor.update_into
        self._kept = memoryview(b"")
        self._step_bytes = MIN_STEP_BYTES
        self.receive_into = self._receive_early if early else self._receive_later
        self.send_some = self._send_encrypted

    def _receive_later(self, target: memoryview) -> int:
        count = self.inner.receive_into(target)
        part = target[:count]
        self._decrypt_into(part, part)
        return count

    def _send_encrypted(self, buffers: Sequence[bytes | memoryview]) -> int:
        if self._kept:
            ready = self._kept[: sum(map(len, buffers))]
        else:
            plain = b"".join(_first_of(buffers, self._step_bytes))
            ready = self._kept = memoryview(self._encrypt(plain))
        step_bytes, self._step_bytes = self._step_bytes, MIN_STEP_BYTES  # slow ones keep little
        sent = self.inner.send_some([ready])
        self._kept = self._kept[sent:]
        if not self._kept:
            self._step_bytes = min(2 * step_bytes, MAX_STEP_BYTES)
        elif sent:
            self._kept = memoryview(bytes(self._kept))  # what was sent takes no memory any more
        return sent


def _first_of(
    buffers: Sequence[bytes | memoryview], max_bytes: int
) -> Sequence[bytes | memoryview]:
    """Return the first ``max_bytes`` of ``buffers``."""
    room = max_bytes
    for number, buffer in enumerate(buffers):
        if len(buffer) > room:
            return [*buffers[:number], memoryview(buffer)[:room]]
        room -= len(buffer)
    return buffers
