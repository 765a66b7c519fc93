"""Message stream encryption of the scripted seed: the side that is connected to."""

import random

import anyio
import anyio.abc

from tests.conformance.scripted_extensions import EndedError, Quirks
from torrent_engine.conformance.mse import (
    CONSTANT,
    KEY_BYTES,
    MAX_PAD_BYTES,
    PLAIN_TEXT,
    RC4,
    CipherStream,
    KitRc4,
    masked_hash,
    public_key,
    sha1,
    shared_secret,
)

PLAIN_START = b"\x13Bit"
GONE = (EndedError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)
MAX_START = KEY_BYTES + MAX_PAD_BYTES + 20


class MaybeEncrypted(anyio.abc.ByteStream):
    """A stream that is plain if it begins so; if not, keys are exchanged first."""

    def __init__(self, stream: anyio.abc.ByteStream, quirks: Quirks, info_hash: bytes) -> None:
        self._stream = stream
        self._quirks = quirks
        self._info_hash = info_hash
        self._data = b""
        self._is_open = False
        self._receiving: KitRc4 | None = None
        self._sending: KitRc4 | None = None

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        if not self._is_open:
            await self._open()
        if self._data:
            data, self._data = self._data[:max_bytes], self._data[max_bytes:]
            return data
        data = await self._stream.receive(max_bytes)
        return self._receiving.apply(data) if self._receiving else data

    async def send(self, item: bytes) -> None:
        if self._sending:
            item = self._sending.apply(item)
        await self._stream.send(item)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def _open(self) -> None:
        self._data = await self._stream.receive()
        while len(self._data) < len(PLAIN_START) and PLAIN_START.startswith(self._data):
            self._data += await self._stream.receive()
        self._is_open = True
        is_plain = self._data.startswith(PLAIN_START) or "no encryption" in self._quirks
        if is_plain and "encrypted only" in self._quirks:
            raise EndedError
        if not is_plain:
            await self._exchange()

    async def _need(self, count: int) -> None:
        while len(self._data) < count:
            self._data += await self._stream.receive()

    async def _exchange(self) -> None:
        quirks = self._quirks
        if "whole segments" in quirks and len(self._data) < KEY_BYTES:
            raise EndedError
        await self._need(KEY_BYTES)
        private = random.getrandbits(160)
        secret = shared_secret(self._data[:KEY_BYTES], private)
        pad = bytes(600 if "long padding" in quirks else random.randrange(MAX_PAD_BYTES))
        await self._stream.send(public_key(private) + (b"" if "no padding" in quirks else pad))
        start = await self._find(sha1(b"req1", secret))
        await self._need(start + 40)
        is_known = self._data[start + 20 : start + 40] == masked_hash(self._info_hash, secret)
        if not is_known and "any torrent" not in quirks:
            raise EndedError
        info_hash = self._info_hash if is_known else bytes(range(20))
        receiving = KitRc4(sha1(b"keyA", secret, info_hash))
        sending = KitRc4(sha1(b"keyB", secret, info_hash))
        self._data = receiving.apply(self._data[start + 40 :])
        self._receiving = receiving
        await self._answer(sending)

    async def _find(self, mark: bytes) -> int:
        limit = MAX_START - (MAX_PAD_BYTES if "no PadA" in self._quirks else 0)
        while (start := self._data.find(mark)) < 0:
            if len(self._data) > limit:
                if "waits on" in self._quirks:
                    await anyio.sleep(1_000)
                raise EndedError
            self._data += await self._stream.receive()
        if start > limit:
            raise EndedError
        return start

    async def _take(self, count: int) -> bytes:
        assert self._receiving is not None
        while len(self._data) < count:
            self._data += self._receiving.apply(await self._stream.receive())
        data, self._data = self._data[:count], self._data[count:]
        return data

    async def _answer(self, sending: KitRc4) -> None:
        quirks = self._quirks
        head = await self._take(14)
        if head[:8] != CONSTANT and "any constant" not in quirks:
            raise EndedError
        provide = int.from_bytes(head[8:12], "big")
        pad_c = int.from_bytes(head[12:], "big")
        if pad_c > MAX_PAD_BYTES * (2 if "long PadC" in quirks else 1):
            raise EndedError
        if pad_c and "no PadC" in quirks:
            raise EndedError
        await self._take(pad_c)
        first = int.from_bytes(await self._take(2), "big")
        selected = self._select(provide)
        answer = sending.apply(CONSTANT + selected.to_bytes(4, "big") + bytes(2))
        await self._stream.send(answer)
        if selected == RC4 and "forgets the cipher" not in quirks:
            self._sending = sending
        if selected != RC4:
            self._data = await self._take(first) + self._data
            self._receiving = None

    def _select(self, provide: int) -> int:
        if "selects anything" in self._quirks:
            return RC4
        if not provide & (PLAIN_TEXT | RC4):
            raise EndedError
        if not provide & RC4 and "RC4 only" in self._quirks:
            raise EndedError
        return RC4 if provide & RC4 else PLAIN_TEXT


async def offered(
    stream: anyio.abc.ByteStream, info_hash: bytes, quirks: Quirks
) -> anyio.abc.ByteStream | None:
    """Make an offer of RC4 and plain text; return the stream that goes on, None if that failed."""
    found = await _offered(stream, info_hash, quirks)
    if found is None:
        await stream.aclose()
    return found


async def _offered(
    stream: anyio.abc.ByteStream, info_hash: bytes, quirks: Quirks
) -> anyio.abc.ByteStream | None:
    private = random.getrandbits(160)
    try:
        await stream.send(public_key(private) + bytes(random.randrange(MAX_PAD_BYTES)))
        data = b""
        while len(data) < KEY_BYTES:
            data += await stream.receive()
        secret = shared_secret(data[:KEY_BYTES], private)
        sending = KitRc4(sha1(b"keyA", secret, info_hash))
        receiving = KitRc4(sha1(b"keyB", secret, info_hash))
        offer = CONSTANT + (PLAIN_TEXT | RC4).to_bytes(4, "big") + bytes(4)
        masked = masked_hash(info_hash, secret)
        await stream.send(sha1(b"req1", secret) + masked + sending.apply(offer))
        mark = receiving.apply(CONSTANT)
        while (start := data.find(mark, KEY_BYTES)) < 0 or len(data) < start + 14:
            if start < 0 and len(data) > MAX_START:
                if "never gives up" in quirks:
                    await anyio.sleep(1_000)
                return None
            data += await stream.receive()
    except GONE:
        return None
    head = receiving.apply(data[start + 8 : start + 14])
    if int.from_bytes(head[:4], "big") != RC4 and "takes any method" not in quirks:
        return None
    rest = data[start + 14 :]
    if "forgets the cipher" in quirks:
        return stream
    return CipherStream(stream, sending, receiving, receiving.apply(rest))
