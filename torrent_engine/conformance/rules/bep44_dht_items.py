"""Rules of values that nodes of the DHT store (BEP 44)."""

from collections.abc import Mapping
from typing import Final

from torrent_engine.conformance.bencoding import Bencodable, bencode
from torrent_engine.conformance.dht.dht_case import DhtCase, random_hash
from torrent_engine.conformance.dht.items import (
    BEP44_KEY,
    BEP44_SALT,
    BEP44_SALTED_SIGNATURE,
    BEP44_SALTED_TARGET,
    BEP44_SIGNATURE,
    BEP44_TARGET,
    BEP44_VALUE,
    IMMUTABLE_TARGET,
    KitItem,
    immutable_target,
)
from torrent_engine.conformance.dht.kit_node import KitNode
from torrent_engine.conformance.dht.krpc import KrpcMessage
from torrent_engine.conformance.errors import NotOfferedError, UndecidedError
from torrent_engine.conformance.rule import Outcome, rule
from torrent_engine.conformance.verdicts import Level, Role, Verdict

P, N, F = Verdict.PASS, Verdict.NON_STRICT, Verdict.FAIL
DHT: Final = Role.DHT
TOO_BIG: Final = 205
BAD_SIGNATURE: Final = 206
LONG_SALT: Final = 207
CAS_MISMATCH: Final = 301
OLD_SEQUENCE: Final = 302
BAD_TOKEN: Final = 203
STORED: Final = "stored"
NOT_STORED: Final = "not stored"
RIGHT: Final = "right"
ANOTHER: Final = "another error"
SILENT: Final = "silence"


class KitStorage:
    """One node of the kit, and what it stores with the program."""

    def __init__(self, case: DhtCase, node: KitNode) -> None:
        self._case = case
        self._node = node

    @classmethod
    async def of(cls, case: DhtCase) -> "KitStorage":
        """Return one at a new address. Raises NotOfferedError if the program stores nothing."""
        storage = cls(case, await case.node())
        await storage.get(random_hash())
        return storage

    async def get(self, target: bytes, **more: int) -> KrpcMessage:
        """Return the answer to a "get". Raises NotOfferedError if it is an error, or none."""
        extra: dict[bytes, Bencodable] = {key.encode(): value for key, value in more.items()}
        node = self._node
        for _ in range(2):
            found = await node.try_asking(self._case.target, "get", {b"target": target, **extra})
            if found is not None and found.text(b"token"):
                return found
        raise NotOfferedError("it answers no get with a token")

    async def put(
        self, target: bytes, arguments: Mapping[bytes, Bencodable], token: bytes = b""
    ) -> KrpcMessage | None:
        """Send a "put" with the token that belongs to it, or another; twice if nothing comes."""
        token = token or (await self.get(target)).text(b"token")
        sent: dict[bytes, Bencodable] = {b"token": token, **arguments}
        for _ in range(2):
            if answer := await self._node.try_asking(self._case.target, "put", sent):
                return answer
        return None

    async def must_put(self, item: KitItem, value: Bencodable, sequence: int) -> None:
        """Store an item. Raises NotOfferedError if it is refused, as BEP44-ST-06 finds."""
        answer = await self.put(item.target, item.put(value, sequence))
        if answer is None or answer.kind != b"r":
            raise NotOfferedError("it refuses a good item")


async def _refused(
    storage: KitStorage,
    target: bytes,
    answer: KrpcMessage | None,
    code: int,
    kept: Bencodable = b"",
) -> str:
    """Return what a "put" came to that should be refused with a code; ``kept`` stays there."""
    found = (await storage.get(target)).values.get(b"v", b"")
    if found != kept:
        return STORED
    if answer is None:
        return SILENT
    if answer.kind == b"r":
        return NOT_STORED
    return str(code) if answer.error == code else ANOTHER


def _refusals(code: int) -> dict[str, Verdict]:
    return {str(code): P, ANOTHER: N, SILENT: N, NOT_STORED: N, STORED: F}


@rule("BEP44-ST-01", Level.STATED, 15, {RIGHT: P, "no nodes": F}, role=DHT)
async def get_of_nothing(case: DhtCase) -> Outcome:
    """Answer a "get" of something unknown with nodes and a token.

    BEP 44: "Responses to get should always include nodes and nodes6"; "It should also include a
    write token".
    """
    storage = await KitStorage.of(case)
    found = await storage.get(random_hash())
    return Outcome(RIGHT if b"nodes" in found.values else "no nodes", repr(found.content)[:200])


@rule("BEP44-ST-02", Level.STATED, 20, {RIGHT: P, "another value": F, NOT_STORED: F}, role=DHT)
async def value_that_cannot_change(case: DhtCase) -> str:
    """Store a value under the SHA-1 hash of its encoding.

    BEP 44: "Immutable items are stored under their SHA-1 hash"; the target of its third test vector
    is e5f96f6f38320f0f33959cb4d3d656452117aadb.
    """
    storage = await KitStorage.of(case)
    await storage.put(IMMUTABLE_TARGET, {b"v": BEP44_VALUE})
    found = (await storage.get(IMMUTABLE_TARGET)).values.get(b"v")
    if found is None:
        return NOT_STORED
    return RIGHT if found == BEP44_VALUE else "another value"


@rule("BEP44-ST-03", Level.STATED, 20, _refusals(BAD_TOKEN), role=DHT)
async def put_with_a_wrong_token(case: DhtCase) -> str:
    """Refuse a "put" whose token you did not give.

    BEP 44: "The token field also has the same semantics as the standard DHT message get_peers and
    announce_peer".
    """
    storage, value = await KitStorage.of(case), random_hash()
    target = immutable_target(value)
    answer = await storage.put(target, {b"v": value}, b"forged!!")
    return await _refused(storage, target, answer, BAD_TOKEN)


@rule(
    "BEP44-ST-04",
    Level.STATED,
    20,
    {**_refusals(TOO_BIG), STORED: N},
    role=DHT,
)
async def value_that_is_too_big(case: DhtCase) -> str:
    """Refuse a value of more than 1,000 bytes with the error 205.

    BEP 44: "Storing nodes MAY reject put requests where the bencoded form of v is longer than 1000
    bytes"; "205: message (v field) too big."
    """
    storage, value = await KitStorage.of(case), random_hash() * 50
    target = immutable_target(value)
    answer = await storage.put(target, {b"v": value})
    return await _refused(storage, target, answer, TOO_BIG)


@rule("BEP44-ST-05", Level.MUST, 20, _refusals(BAD_SIGNATURE), role=DHT)
async def signature_that_is_wrong(case: DhtCase) -> str:
    """Refuse a value whose signature is wrong with the error 206.

    BEP 44: "the signature MUST be verified before accepting the store command."
    """
    storage, item = await KitStorage.of(case), KitItem()
    arguments = item.put(b"signed", 1) | {b"v": b"forged"}
    answer = await storage.put(item.target, arguments)
    return await _refused(storage, item.target, answer, BAD_SIGNATURE)


@rule("BEP44-ST-06", Level.MUST, 20, {RIGHT: P, "wrong": F}, role=DHT)
async def value_that_can_change(case: DhtCase) -> Outcome:
    """Store a signed value, and return it with its key, sequence number and signature.

    BEP 44: "The data MUST be stored under the SHA-1 hash of the public key"; it is its first test
    vector.
    """
    storage = await KitStorage.of(case)
    sent: dict[bytes, Bencodable] = {
        b"k": BEP44_KEY,
        b"seq": 1,
        b"sig": BEP44_SIGNATURE,
        b"v": BEP44_VALUE,
    }
    await storage.put(BEP44_TARGET, sent)
    found = (await storage.get(BEP44_TARGET)).values
    is_right = all(found.get(key) == value for key, value in sent.items())
    return Outcome(RIGHT if is_right else "wrong", f"keys {sorted(found)}")


@rule("BEP44-ST-07", Level.MUST, 20, _refusals(OLD_SEQUENCE), role=DHT)
async def older_value(case: DhtCase) -> str:
    """Refuse a value with a lower sequence number than the stored one.

    BEP 44: "a node hosting the list node MUST not downgrade a list head from a higher sequence
    number to a lower one"; "302: sequence number less than current."
    """
    storage, item = await KitStorage.of(case), KitItem()
    await storage.must_put(item, b"new", 5)
    answer = await storage.put(item.target, item.put(b"old", 4))
    return await _refused(storage, item.target, answer, OLD_SEQUENCE, b"new")


@rule(
    "BEP44-ST-08",
    Level.MUST,
    20,
    {"refused": P, SILENT: N, NOT_STORED: N, STORED: F},
    role=DHT,
)
async def other_value_with_the_same_number(case: DhtCase) -> str:
    """Refuse another value with the sequence number of the stored one.

    BEP 44: "Storing nodes receiving a put request where seq is lower than or equal to what's
    already stored on the node, MUST reject the request."
    """
    storage, item = await KitStorage.of(case), KitItem()
    await storage.must_put(item, b"first", 5)
    answer = await storage.put(item.target, item.put(b"second", 5))
    name = await _refused(storage, item.target, answer, OLD_SEQUENCE, b"first")
    return "refused" if name in {str(OLD_SEQUENCE), ANOTHER} else name


@rule("BEP44-ST-09", Level.SHOULD, 20, {"accepted": P, "refused": N, STORED: F}, role=DHT)
async def same_value_again(case: DhtCase) -> str:
    """Take the same value with the same sequence number as a sign of life.

    BEP 44: "If the sequence number is equal, and the value is also the same, the node SHOULD reset
    its timeout counter"; the sentence before has it that such a "put" is rejected.
    """
    storage, item = await KitStorage.of(case), KitItem()
    await storage.must_put(item, b"same", 5)
    answer = await storage.put(item.target, item.put(b"same", 5))
    name = await _refused(storage, item.target, answer, OLD_SEQUENCE, b"same")
    return {NOT_STORED: "accepted", STORED: STORED}.get(name, "refused")


@rule("BEP44-ST-10", Level.MUST, 20, _refusals(CAS_MISMATCH) | {ANOTHER: F, SILENT: F}, role=DHT)
async def number_that_was_not_expected(case: DhtCase) -> str:
    """Refuse a value with the error 301 if "cas" is not the sequence number of the stored one.

    BEP 44: "An implementation MUST emit 301 errors if the cas mismatches."
    """
    storage, item = await KitStorage.of(case), KitItem()
    await storage.must_put(item, b"stored", 5)
    answer = await storage.put(item.target, item.put(b"other", 6) | {b"cas": 4})
    return await _refused(storage, item.target, answer, CAS_MISMATCH, b"stored")


@rule("BEP44-ST-11", Level.STATED, 20, _refusals(LONG_SALT), role=DHT)
async def salt_that_is_too_long(case: DhtCase) -> str:
    """Refuse a salt of more than 64 bytes with the error 207.

    BEP 44: "The salt string MUST NOT be longer than 64 bytes"; "207: salt (salt field) too big."
    """
    storage, item = await KitStorage.of(case), KitItem(b"s" * 65)
    answer = await storage.put(item.target, item.put(b"salted", 1))
    return await _refused(storage, item.target, answer, LONG_SALT)


@rule("BEP44-ST-12", Level.SHOULD, 20, {"left out": P, "sent": F}, role=DHT)
async def value_that_is_known_already(case: DhtCase) -> Outcome:
    """Leave out the value if the one who asks has its sequence number.

    BEP 44: if "its sequence number is less than or equal to the seq field then the k, v, and sig
    fields SHOULD be omitted from the response."
    """
    storage, item = await KitStorage.of(case), KitItem()
    await storage.must_put(item, b"known", 5)
    found = (await storage.get(item.target, seq=5)).values
    older = (await storage.get(item.target, seq=4)).values
    if older.get(b"v") != b"known":
        raise UndecidedError("the value is not sent either to one with an older number")
    sent = [key.decode() for key in (b"k", b"v", b"sig") if key in found]
    return Outcome("sent" if sent else "left out", ", ".join(sent))


@rule("BEP44-ST-13", Level.MUST, 20, {RIGHT: P, NOT_STORED: F}, role=DHT)
async def salted_value(case: DhtCase) -> str:
    """Store a signed value with a salt under the SHA-1 hash of the key and the salt.

    BEP 44: "The data MUST be stored under the SHA-1 hash of the public key (as it appears in the
    bencoded dict) and the salt (if present)"; it is its second test vector.
    """
    storage = await KitStorage.of(case)
    arguments: dict[bytes, Bencodable] = {
        b"k": BEP44_KEY,
        b"salt": BEP44_SALT,
        b"seq": 1,
        b"sig": BEP44_SALTED_SIGNATURE,
        b"v": BEP44_VALUE,
    }
    await storage.put(BEP44_SALTED_TARGET, arguments)
    found = (await storage.get(BEP44_SALTED_TARGET)).values
    return RIGHT if found.get(b"v") == BEP44_VALUE else NOT_STORED


@rule("BEP44-ST-14", Level.MUST, 20, {RIGHT: P, "the old one": F}, role=DHT)
async def number_that_was_expected(case: DhtCase) -> str:
    """Store a value if "cas" is the sequence number of the stored one.

    BEP 44: "Only if the cas matches the stored sequence number is the put performed."
    """
    storage, item = await KitStorage.of(case), KitItem()
    await storage.must_put(item, b"before", 5)
    await storage.put(item.target, item.put(b"after", 6) | {b"cas": 5})
    found = (await storage.get(item.target)).values
    return RIGHT if found.get(b"v") == b"after" else "the old one"


KINDS: Final[tuple[Bencodable, ...]] = (
    -7,
    [b"a", [1, 2]],
    {b"key": {b"deep": b"value"}, b"number": 3},
    b"",
)


@rule("BEP44-ST-15", Level.STATED, 30, {RIGHT: P, "not all": F}, role=DHT)
async def values_of_every_kind(case: DhtCase) -> Outcome:
    """Store integers, lists and dictionaries as well as strings.

    BEP 44: "It is allowed to be any bencoded type (list, dict, string or integer)."
    """
    storage, missing = await KitStorage.of(case), []
    for value in KINDS:
        target = immutable_target(value)
        await storage.put(target, {b"v": value})
        if (await storage.get(target)).values.get(b"v") != value:
            missing.append(bencode(value).decode())
    return Outcome("not all" if missing else RIGHT, ", ".join(missing))


@rule("BEP44-ST-16", Level.MUST, 20, {"the newer one": P, "the old one": F}, role=DHT)
async def newer_value(case: DhtCase) -> str:
    """Replace a value by one with a higher sequence number.

    BEP 44: "the sequence number seq must be monotonically increasing for each update"; a node is to
    "only upgrade".
    """
    storage, item = await KitStorage.of(case), KitItem()
    await storage.must_put(item, b"old", 1)
    await storage.put(item.target, item.put(b"new", 2**40))
    found = (await storage.get(item.target)).values
    is_new = (found.get(b"v"), found.get(b"seq")) == (b"new", 2**40)
    return "the newer one" if is_new else "the old one"
