"""Fuzz target of encrypted handshakes: any bytes raise declared errors only, memory is bounded.

The other side of the handshake is played by the package itself: its bytes are made, damaged and fed
in pieces. How to run it: ``python -m fuzz --help``.
"""

import random
from contextlib import suppress
from functools import lru_cache

from fuzz.reads import reads
from fuzz.runner import FuzzTarget, in_time
from torrent_engine.base.errors import EncryptionError, LocalProtocolError
from torrent_engine.base.ids import InfoHash
from torrent_engine.protocol.wire import encryption_keys
from torrent_engine.protocol.wire.encryption import (
    MAX_PAD_BYTES,
    DiallerHandshake,
    ListenerHandshake,
)
from torrent_engine.protocol.wire.encryption_keys import KEY_BYTES, CryptoMethod, req2_hash
from torrent_engine.protocol.wire.messages import PROTOCOL_STRING

INFO_HASH = InfoHash(b"\xaa" * 20)
METHODS = (CryptoMethod.PLAINTEXT, CryptoMethod.RC4, CryptoMethod.PLAINTEXT | CryptoMethod.RC4)
INITIAL_BYTES = (0, 0, 0, 68, 68, 68, 68, 0, 68, 68, 65_535)
STEP_BYTES = 4  # at which byte the damage is, how it is done, with what
SETUP_BYTES = 4
MOST_HELD_BYTES = 65_535 + 2 * KEY_BYTES + 4 * MAX_PAD_BYTES

SHORT_EXPONENT = 0xFFF


@lru_cache(10_000)
def short_pow(base, exponent, modulus):
    """Return a power with a short exponent: Diffie-Hellman agrees all the same, 40 times faster."""
    return pow(base, exponent & SHORT_EXPONENT | 2, modulus)


encryption_keys.pow = short_pow  # type: ignore[attr-defined]


def dialler(seed, methods, initial):
    """Return a handshake of who dials."""
    return DiallerHandshake(INFO_HASH, methods, rng=random.Random(seed), initial=initial)


def listener(seed, methods, *, prefers_rc4):
    """Return a handshake of who is dialled."""
    known = {req2_hash(INFO_HASH): INFO_HASH}
    return ListenerHandshake(
        known.get, methods, rng=random.Random(seed + 1), prefers_rc4=prefers_rc4
    )


@in_time
def fuzz_one(data):
    """Check one input: how both sides are set up, then damage to what one of them says."""
    setup, damage = data[:SETUP_BYTES].ljust(SETUP_BYTES, b"\0"), data[SETUP_BYTES:]
    seed, methods, kind, chunk = setup
    offered, allowed = METHODS[methods % 3], METHODS[methods // 3 % 3]
    one = dialler(seed, offered, bytes(INITIAL_BYTES[kind % len(INITIAL_BYTES)]))
    other = listener(seed, allowed, prefers_rc4=bool(kind & 64))
    agreed = None
    with suppress(EncryptionError):
        agreed = _talk(one, other, bool(kind & 128), damage, 1 + 8 * chunk)
    if not damage:
        assert (agreed is None) is not bool(offered & allowed)
        assert agreed is None or (len(agreed[0]), agreed[1]) == (1, 2)


def _talk(one, other, is_dialler_bad, damage, chunk_bytes):
    """Let both talk, what one of them says damaged; return what they agreed on, and how many."""
    agreed = {}
    for turn in range(6):
        speaker, hearer = (one, other) if turn % 2 == 0 else (other, one)
        said = speaker.data_to_send()
        if (speaker is one) is is_dialler_bad:
            damage, said = _damaged(damage, said)
        for read in reads(said, chunk_bytes):
            if hearer in agreed:
                _check_is_over(hearer)
                break
            agreement = hearer.receive_data(read)
            assert len(hearer._received) <= MOST_HELD_BYTES
            assert len(hearer._to_send) <= KEY_BYTES + 3 * MAX_PAD_BYTES + 65_535
            if agreement is not None:
                agreed[hearer] = agreement
                assert agreement.info_hash == INFO_HASH
                assert agreement.method in METHODS[:2]
    return {agreement.method for agreement in agreed.values()}, len(agreed)


def _check_is_over(handshake):
    try:
        handshake.receive_data(b"more")
    except LocalProtocolError:
        return
    raise AssertionError("a handshake that is over went on")


def _damaged(damage, said):
    """Return what is left of the damage to do, and the bytes with one step of it done."""
    if len(damage) < STEP_BYTES or not said:
        return damage, said
    step, damage = damage[:STEP_BYTES], damage[STEP_BYTES:]
    at, how, what = int.from_bytes(step[:2], "big") % len(said), step[2], step[3]
    front, back = said[:at], said[at:]
    changed = (
        lambda: front + bytes([back[0] ^ (what or 1)]) + back[1:],
        lambda: front,
        lambda: front + bytes([what]) * (4 * what) + back,
        lambda: front + back[1 + what :],
        lambda: bytes([what]) * KEY_BYTES + said[KEY_BYTES:],
        lambda: PROTOCOL_STRING + said,
        lambda: said + said,
        lambda: said,
    )[how % 8]()
    return damage, changed


def mutated(rng):
    """Return a set-up and up to three steps of damage, mostly where fields are."""
    setup = bytes([rng.randrange(256), rng.randrange(9), rng.randrange(256), _chunk(rng)])
    return setup + b"".join(_step(rng) for _ in range(rng.choice((0, 1, 1, 2, 3))))


def _chunk(rng):
    return rng.choice((0, 1, 5, 64, 255, 255, 255))


def _step(rng):
    at = rng.choice((0, 0, rng.randrange(KEY_BYTES), rng.randrange(160), rng.randrange(2000)))
    return at.to_bytes(2, "big") + bytes(
        [rng.choice((0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 7)), rng.randrange(256)]
    )


TARGETS = {
    "encryption": FuzzTarget(fuzz_one, mutated, max_bytes=SETUP_BYTES + 6 * STEP_BYTES),
}
