"""The encrypted handshake (MSE), initiator and responder: bytes in, bytes out.

Both sides send a public key and random padding. The initiator then sends a synchronization hash, a
hash of the info-hash, the offered methods and perhaps initial payload; the responder selects a
method. All of it is indistinguishable from random data. Source: Message Stream Encryption (see
``encryption_keys``); row B11.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from struct import Struct
from typing import Final

from torrent_engine.base.errors import EncryptionError, LocalProtocolError
from torrent_engine.base.ids import SHA1_BYTES, InfoHash
from torrent_engine.protocol.wire.encryption_keys import (
    KEY_BYTES,
    CryptoMethod,
    KeyExchange,
    Rc4,
    dialler_stream,
    listener_stream,
    masked_torrent,
    req2_hash,
    start_hash,
)
from torrent_engine.protocol.wire.messages import PROTOCOL_STRING

MAX_PAD_BYTES: Final = 512  # MSE
VERIFICATION: Final = bytes(8)  # MSE: "VC", decrypts to zeros if both sides have the same keys
OFFER: Final = Struct(">8sIH")
"""VC, crypto_provide, length of PadC."""
CHOICE: Final = Struct(">IH")
"""crypto_select, length of PadD."""
LENGTH: Final = Struct(">H")
"""Length of the initial payload."""
METHODS: Final = (CryptoMethod.PLAINTEXT, CryptoMethod.RC4)

Find = Callable[[bytes], InfoHash | None]
"""Returns the info-hash that belongs to a :func:`req2_hash`; None if it is unknown."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """The result of an encrypted handshake."""

    info_hash: InfoHash
    method: CryptoMethod
    """PLAINTEXT or RC4, for both directions."""
    received: bytes
    """Decrypted data after the handshake, and its initial payload."""
    encryptor: Rc4 = field(repr=False)
    decryptor: Rc4 = field(repr=False)


Step = Callable[[], "Agreement | bool"]
"""Parses the next part of a handshake; True: continue, False: more bytes are needed."""


class _Handshake:
    """The common steps of both sides."""

    _encryptor: Rc4
    _decryptor: Rc4

    def __init__(self, rng: Random, first: Step) -> None:
        self._rng = rng
        self._keys = KeyExchange(rng)
        self._secret = b""
        self._pad_bytes = 0
        self._received = bytearray()
        self._to_send = bytearray()
        self._step = first
        self._is_over = False

    def data_to_send(self) -> bytes:
        """Remove and return the bytes to send now."""
        data = bytes(self._to_send)
        self._to_send.clear()
        return data

    def receive_data(self, data: bytes) -> Agreement | None:
        """Feed bytes; return the agreement, or None if more bytes are needed.

        Send :meth:`data_to_send` before any other data. Raises EncryptionError if this is not a
        valid encrypted handshake, LocalProtocolError after its end.
        """
        if self._is_over:
            raise LocalProtocolError("data after the end of the encrypted handshake")
        self._is_over = True  # if an error leaves here
        self._received += data
        done: Agreement | bool = True
        while done is True:
            done = self._step()
        self._is_over = done is not False
        return done or None

    def _say_key(self) -> None:
        self._to_send += self._keys.public + self._padding()

    def _padding(self) -> bytes:
        return self._rng.randbytes(self._rng.randint(0, MAX_PAD_BYTES))

    def _share_secret(self) -> bool:
        """Process the other side's public key; return False if it is incomplete."""
        if key := self._take(KEY_BYTES):
            self._secret = self._keys.secret(key)
        return bool(key)

    def _take(self, count_bytes: int) -> bytes:
        """Remove and return the first received bytes; b"" if there are not enough."""
        received = self._received
        if len(received) < count_bytes:
            return b""
        data = bytes(received[:count_bytes])
        del received[:count_bytes]
        return data

    def _take_until(self, mark: bytes) -> bool:
        """Drop padding and the mark that ends it; return False if the mark is not received yet."""
        window_bytes = MAX_PAD_BYTES + len(mark)
        at = self._received.find(mark, 0, window_bytes)
        if at >= 0:
            del self._received[: at + len(mark)]
        elif len(self._received) >= window_bytes:
            raise EncryptionError("padding is too long")
        return at >= 0

    def _expect_padding(self, count_bytes: int) -> None:
        if count_bytes > MAX_PAD_BYTES:
            raise EncryptionError(f"padding of {count_bytes} bytes")
        self._pad_bytes = count_bytes

    def _agree(self, info_hash: InfoHash, method: CryptoMethod, initial: bytes = b"") -> Agreement:
        rest = bytes(self._received)
        self._received.clear()
        if method is CryptoMethod.RC4:
            rest = self._decryptor.update(rest)
        return Agreement(info_hash, method, initial + rest, self._encryptor, self._decryptor)


class DiallerHandshake(_Handshake):
    """The initiator's side of the handshake."""

    def __init__(
        self, info_hash: InfoHash, offered: CryptoMethod, *, rng: Random, initial: bytes = b""
    ) -> None:
        """Create the initiator; ``initial`` is sent with the offer, at most 65,535 bytes."""
        super().__init__(rng, self._take_key)
        self._info_hash = info_hash
        self._offered = offered
        self._initial = initial
        self._verification = b""
        self._chosen = CryptoMethod.NONE
        self._say_key()

    def _take_key(self) -> bool:
        if self._received.startswith(PROTOCOL_STRING):
            raise EncryptionError("the response is not encrypted")
        if not self._share_secret():
            return False
        self._encryptor = dialler_stream(self._secret, self._info_hash)
        self._decryptor = listener_stream(self._secret, self._info_hash)
        self._verification = self._decryptor.update(VERIFICATION)
        self._say_offer()
        self._step = self._find_answer
        return True

    def _say_offer(self) -> None:
        torrent = masked_torrent(req2_hash(self._info_hash), self._secret)
        padding = self._padding()
        offer = OFFER.pack(VERIFICATION, self._offered, len(padding)) + padding
        offer += LENGTH.pack(len(self._initial)) + self._initial
        self._to_send += start_hash(self._secret) + torrent + self._encryptor.update(offer)

    def _find_answer(self) -> bool:
        if not self._take_until(self._verification):
            return False
        self._step = self._take_choice
        return True

    def _take_choice(self) -> bool:
        if not (data := self._take(CHOICE.size)):
            return False
        chosen, pad_bytes = CHOICE.unpack(self._decryptor.update(data))
        if chosen not in METHODS or not chosen & self._offered:
            raise EncryptionError(f"method {chosen} of {self._offered:d} chosen")
        self._chosen = CryptoMethod(chosen)
        self._expect_padding(pad_bytes)
        self._step = self._take_padding
        return True

    def _take_padding(self) -> Agreement | bool:
        if len(self._received) < self._pad_bytes:
            return False
        self._decryptor.update(self._take(self._pad_bytes))
        return self._agree(self._info_hash, self._chosen)


class ListenerHandshake(_Handshake):
    """The responder's side of the handshake."""

    def __init__(
        self, find: Find, allowed: CryptoMethod, *, rng: Random, prefers_rc4: bool = False
    ) -> None:
        """Create the responder; plain text is preferred over RC4 unless ``prefers_rc4``."""
        super().__init__(rng, self._take_key)
        self._find = find
        self._allowed = allowed
        self._prefers_rc4 = prefers_rc4
        self._info_hash = InfoHash(b"")
        self._chosen = CryptoMethod.NONE
        self._initial_bytes = 0

    def _take_key(self) -> bool:
        if not self._share_secret():
            return False
        self._say_key()
        self._step = self._find_start
        return True

    def _find_start(self) -> bool:
        if not self._take_until(start_hash(self._secret)):
            return False
        self._step = self._take_torrent
        return True

    def _take_torrent(self) -> bool:
        if not (masked := self._take(SHA1_BYTES)):
            return False
        info_hash = self._find(masked_torrent(masked, self._secret))
        if info_hash is None:
            raise EncryptionError("unknown torrent")
        self._info_hash = info_hash
        self._encryptor = listener_stream(self._secret, info_hash)
        self._decryptor = dialler_stream(self._secret, info_hash)
        self._step = self._take_offer
        return True

    def _take_offer(self) -> bool:
        if not (data := self._take(OFFER.size)):
            return False
        verification, offered, pad_bytes = OFFER.unpack(self._decryptor.update(data))
        if verification != VERIFICATION:
            raise EncryptionError("wrong verification")
        self._chosen = self._choose(offered)
        self._expect_padding(pad_bytes)
        self._step = self._take_initial_length
        return True

    def _choose(self, offered: int) -> CryptoMethod:
        order = METHODS[::-1] if self._prefers_rc4 else METHODS
        for method in order:
            if method & offered & self._allowed:
                return method
        raise EncryptionError(f"none of the methods {offered:#x} allowed")

    def _take_initial_length(self) -> bool:
        if not (data := self._take(self._pad_bytes + LENGTH.size)):
            return False
        (self._initial_bytes,) = LENGTH.unpack(self._decryptor.update(data)[self._pad_bytes :])
        self._step = self._take_initial
        return True

    def _take_initial(self) -> Agreement | bool:
        if len(self._received) < self._initial_bytes:
            return False
        initial = self._decryptor.update(self._take(self._initial_bytes))
        padding = self._padding()
        choice = VERIFICATION + CHOICE.pack(self._chosen, len(padding)) + padding
        self._to_send += self._encryptor.update(choice)
        return self._agree(self._info_hash, self._chosen, initial)
