"""Driver of the encrypted handshake on a transport.

The caller closes the transport on errors and sets a timeout. Source: Message Stream Encryption.
"""

from random import Random, SystemRandom
from typing import Final

from torrent_engine.base.config import EncryptionConfig, EncryptionLevel, EncryptionPolicy
from torrent_engine.base.errors import NetworkError
from torrent_engine.base.ids import InfoHash
from torrent_engine.net.peers.encrypted import PlaintextTransport, Rc4Transport
from torrent_engine.net.peers.transport import Transport, wait_for_some
from torrent_engine.protocol.wire.encryption import (
    Agreement,
    DiallerHandshake,
    Find,
    ListenerHandshake,
)
from torrent_engine.protocol.wire.encryption_keys import CryptoMethod

READ_BYTES: Final = 2048  # ours: may include data after the handshake, which is kept
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
    """Perform the handshake of an outgoing connection; return the resulting transport.

    ``first`` is sent as initial payload, at most 65,535 bytes. Raises EncryptionError if the peer
    violates the protocol or responds in plain text, NetworkError if it closes the connection, for
    example because it does not support encryption.
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
    """Perform the handshake of an incoming connection; return the transport and the torrent.

    ``received`` is everything read so far. Raises EncryptionError if the peer violates the
    protocol, requests a torrent unknown to ``find`` or a method that is not allowed, NetworkError
    if it closes the connection.
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
    data = await wait_for_some(transport, READ_BYTES)
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
