"""Owns the encrypted handshake on a real transport: it moves the bytes, and makes the stream.

Whoever calls these closes the transport where they raise, and bounds their time. Source: Message
Stream Encryption.
"""

from random import Random, SystemRandom
from typing import Final

from torrent_engine.base.errors import NetworkError
from torrent_engine.base.ids import InfoHash
from torrent_engine.base.network_config import EncryptionConfig, EncryptionLevel, EncryptionPolicy
from torrent_engine.net.encrypted import PlaintextTransport, Rc4Transport
from torrent_engine.net.transport import Transport, receive_some
from torrent_engine.protocol.wire.encryption import (
    Agreement,
    DiallerHandshake,
    Find,
    ListenerHandshake,
)
from torrent_engine.protocol.wire.encryption_keys import CryptoMethod

READ_BYTES: Final = 2048  # ours: what may be read beyond the handshake, and is kept
METHODS: Final = {
    EncryptionLevel.RC4: CryptoMethod.RC4,
    EncryptionLevel.PLAINTEXT: CryptoMethod.PLAINTEXT,
    EncryptionLevel.EITHER: CryptoMethod.RC4 | CryptoMethod.PLAINTEXT,
}
PREFERS_RC4: Final = frozenset({EncryptionPolicy.PREFERRED, EncryptionPolicy.REQUIRED})
SECRETS: Final = SystemRandom()


async def encrypt_outgoing(
    transport: Transport,
    info_hash: InfoHash,
    config: EncryptionConfig,
    *,
    first: bytes = b"",
    rng: Random = SECRETS,
) -> Transport:
    """Shake hands with whom we dialled; return the transport to go on with.

    ``first`` is sent along with the handshake, at most 65,535 bytes: the other side receives it
    before anything else. Raises EncryptionError if the other side breaks the protocol or answers in
    plain text, NetworkError if it ends the connection, as one does that knows no encryption.
    """
    handshake = DiallerHandshake(info_hash, METHODS[config.level], rng=rng, initial=first)
    return _made(transport, await _shake_hands(transport, handshake))


async def accept_encrypted(
    transport: Transport,
    received: bytes,
    find: Find,
    config: EncryptionConfig,
    *,
    rng: Random = SECRETS,
) -> tuple[Transport, InfoHash]:
    """Shake hands with who dialled us; return the transport to go on with, and the torrent.

    ``received`` is what was read of it, all from the start. Raises EncryptionError if the other
    side breaks the protocol, wants a torrent that ``find`` does not know or a method that is not
    allowed, NetworkError if it ends the connection.
    """
    handshake = ListenerHandshake(
        find, METHODS[config.level], rng=rng, prefers_rc4=config.incoming in PREFERS_RC4
    )
    agreement = await _shake_hands(transport, handshake, received)
    return _made(transport, agreement), agreement.info_hash


async def _shake_hands(
    transport: Transport, handshake: DiallerHandshake | ListenerHandshake, received: bytes = b""
) -> Agreement:
    try:
        agreement = handshake.receive_data(received)
        await _send_all(transport, handshake.data_to_send())
        while agreement is None:
            agreement = handshake.receive_data(await _receive(transport))
            await _send_all(transport, handshake.data_to_send())
    except OSError as error:
        reason = error.strerror or str(error)
        raise NetworkError(f"encrypted handshake: {reason}") from error
    return agreement


async def _receive(transport: Transport) -> bytes:
    while True:
        try:
            data = receive_some(transport, READ_BYTES)
        except BlockingIOError:
            await transport.wait_readable()
            continue
        if not data:
            raise ConnectionResetError("closed by the peer")
        return data


async def _send_all(transport: Transport, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[transport.send_some([rest]) :]
        except BlockingIOError:
            await transport.wait_writable()


def _made(transport: Transport, agreed: Agreement) -> Transport:
    if agreed.method is CryptoMethod.PLAINTEXT:
        return PlaintextTransport(transport, agreed.received)
    return Rc4Transport(transport, agreed.encryptor, agreed.decryptor, agreed.received)
