"""Values of the DHT: targets and signatures (vectors of BEP 44 and 46), and their store."""

from dataclasses import replace

import pytest

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.errors import KrpcError
from torrent_engine.base.ids import NodeId
from torrent_engine.protocol.dht.item_store import ItemStore
from torrent_engine.protocol.dht.items import (
    MutableItem,
    immutable_target,
    mutable_target,
    sign_item,
    signed_bytes,
)
from torrent_engine.protocol.dht.krpc import Bencoded

VALUE = Bencoded(b"12:Hello World!")
KEY = bytes.fromhex("77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548")
BEP44_MUTABLE = {
    "plain": (
        b"",
        b"3:seqi1e1:v12:Hello World!",
        "4a533d47ec9c7d95b1ad75f576cffc641853b750",
        (
            "305ac8aeb6c9c151fa120f120ea2cfb923564e11552d06a5d856091e5e853cff"
            "1260d3f39e4999684aa92eb73ffd136e6f4f3ecbfda0ce53a1608ecd7ae21f01"
        ),
    ),
    "salt": (
        b"foobar",
        b"4:salt6:foobar3:seqi1e1:v12:Hello World!",
        "411eba73b6f087ca51a3795d9c8c938d365e32c1",
        (
            "6834284b6b24c3204eb2fea824d82f88883a3d95e8b4a21b8c0ded553d17d17d"
            "df9a8a7104b1258f30bed3787e6cb896fca78c58f8e03b5f18f14951a87d9a08"
        ),
    ),
}
BEP46_KEY = bytes.fromhex("8543d3e6115f0f98c944077a4493dcd543e49c739fd998550a1f614ab36ed63e")
SEED = b"\x07" * 32
HOST = "192.0.2.1"
CONFIG = DhtConfig()


def store(config: DhtConfig = CONFIG) -> ItemStore:
    return ItemStore(NodeId(bytes(20)), config)


def value(number: int) -> Bencoded:
    return Bencoded(b"i%de" % number)


@pytest.mark.parametrize(
    ("salt", "signed", "target", "signature"), BEP44_MUTABLE.values(), ids=BEP44_MUTABLE
)
def test_bep44_vector_of_a_mutable_value(salt, signed, target, signature) -> None:
    item = MutableItem(KEY, 1, VALUE, bytes.fromhex(signature), salt)
    assert signed_bytes(1, VALUE, salt) == signed
    assert item.target.hex() == target
    assert item.is_genuine()


def test_bep44_vector_of_an_immutable_value() -> None:
    assert immutable_target(VALUE).hex() == "e5f96f6f38320f0f33959cb4d3d656452117aadb"


@pytest.mark.parametrize(
    ("salt", "target"),
    [
        (b"", "cc3f9d90b572172053626f9980ce261a850d050b"),
        (b"n", "59ee7c2cb9b4f7eb1986ee2d18fd2fdb8a56554f"),
    ],
)
def test_bep46_vector_of_a_target(salt: bytes, target: str) -> None:
    assert mutable_target(BEP46_KEY, salt).hex() == target


@pytest.mark.parametrize(
    "change",
    [
        {"sequence": 2},
        {"value": Bencoded(b"12:Hello world!")},
        {"salt": b"foobaz"},
        {"salt": b""},
        {"signature": bytes(64)},
        {"signature": b"short"},
        {"key": BEP46_KEY},
        {"key": b"\xff" * 32},
        {"key": b"short"},
    ],
    ids="_".join,
)
def test_bep44_changed_value_is_not_genuine(change: dict) -> None:
    salt, _, _, signature = BEP44_MUTABLE["salt"]
    item = MutableItem(KEY, 1, VALUE, bytes.fromhex(signature), salt)
    assert not replace(item, **change).is_genuine()


def test_bep44_what_we_sign_is_genuine() -> None:
    item = sign_item(SEED, VALUE, 3, salt=b"s")
    assert item.is_genuine()
    assert (item.sequence, item.salt, len(item.key)) == (3, b"s", 32)
    with pytest.raises(ValueError, match="32"):
        sign_item(b"short", VALUE, 1)


def test_bep44_immutable_value_is_kept_for_two_hours_after_its_last_put() -> None:
    items = store()
    target = immutable_target(VALUE)
    items.put_immutable(VALUE, HOST, 0.0)
    items.put_immutable(VALUE, "192.0.2.2", 3_600.0)
    found = items.get(target, 10_799.0)
    assert found is not None
    assert found.value == VALUE
    assert len(items) == 1
    assert items.get(target, 10_800.0) is None
    assert len(items) == 0


def test_bep44_newer_version_replaces_the_older() -> None:
    items = store()
    items.put_mutable(sign_item(SEED, value(1), 1), HOST, 0.0, cas=None)
    newer = sign_item(SEED, value(2), 2)
    items.put_mutable(newer, HOST, 1.0, cas=None)
    found = items.get(newer.target, 2.0)
    assert found is not None
    assert found.mutable == newer
    assert len(items) == 1


@pytest.mark.parametrize(("sequence", "number"), [(4, 9), (5, 9), (0, 1)])
def test_bep44_lower_or_equal_sequence_number_is_refused(sequence: int, number: int) -> None:
    items = store()
    known = sign_item(SEED, value(1), 5)
    items.put_mutable(known, HOST, 0.0, cas=None)
    with pytest.raises(KrpcError) as caught:
        items.put_mutable(sign_item(SEED, value(number), sequence), HOST, 1.0, cas=None)
    assert caught.value.code == 302
    found = items.get(known.target, 1.0)
    assert found is not None
    assert found.mutable == known


def test_bep44_same_version_again_is_kept_for_longer() -> None:
    items = store()
    item = sign_item(SEED, value(1), 5)
    items.put_mutable(item, HOST, 0.0, cas=None)
    items.put_mutable(item, HOST, 7_000.0, cas=None)
    assert items.get(item.target, 14_000.0) is not None


def test_bep44_cas_must_be_the_sequence_number_that_is_kept() -> None:
    items = store()
    items.put_mutable(sign_item(SEED, value(1), 5), HOST, 0.0, cas=99)  # nothing to compare with
    newer = sign_item(SEED, value(2), 6)
    with pytest.raises(KrpcError) as caught:
        items.put_mutable(newer, HOST, 1.0, cas=4)
    assert caught.value.code == 301
    items.put_mutable(newer, HOST, 1.0, cas=5)
    found = items.get(newer.target, 1.0)
    assert found is not None
    assert found.mutable == newer


def test_bep44_forged_value_is_refused_and_changes_nothing() -> None:
    items = store()
    forged = replace(sign_item(SEED, value(1), 5), value=value(2))
    with pytest.raises(KrpcError) as caught:
        items.put_mutable(forged, HOST, 0.0, cas=None)
    assert caught.value.code == 206
    assert len(items) == 0


def test_bep44_salts_of_one_key_are_kept_apart() -> None:
    items = store()
    for salt in (b"", b"a", b"b"):
        items.put_mutable(sign_item(SEED, value(1), 1, salt=salt), HOST, 0.0, cas=None)
    assert len(items) == 3


def test_c2_seven_hundred_values_at_most_and_those_close_to_us_stay() -> None:
    items = store(replace(CONFIG, max_items_per_ip=10_000))
    for number in range(2_000):
        items.put_immutable(value(number), HOST, 0.0)
    assert len(items) == 700
    targets = sorted(immutable_target(value(number)) for number in range(2_000))
    assert all(items.get(target, 0.0) for target in targets[:600])


def test_c2_one_48_cannot_displace_the_values_of_others() -> None:
    items = store(replace(CONFIG, max_items=50))
    values = sorted((value(number) for number in range(1_000)), key=immutable_target)
    near, far = values[:960], values[960:]
    for number, each in enumerate(far):
        items.put_immutable(each, f"192.0.{number}.1", 0.0)
    for number, each in enumerate(near):
        items.put_immutable(each, f"2001:db8:5:{number:x}::1", 0.0)
    assert len(items) == 50
    assert all(items.get(immutable_target(each), 0.0) for each in far)
    assert items.get(immutable_target(near[-1]), 0.0)


def test_c2_values_whose_time_is_over_go_first() -> None:
    items = store(replace(CONFIG, max_items=2))
    near = min((value(number) for number in range(50)), key=immutable_target)
    items.put_immutable(near, HOST, 0.0)
    items.put_immutable(value(101), HOST, 7_000.0)
    items.put_immutable(value(102), HOST, 7_300.0)
    assert items.get(immutable_target(value(101)), 7_300.0) is not None
    assert items.get(immutable_target(near), 7_300.0) is None


def test_c2_one_address_puts_a_hundred_values_at_most() -> None:
    items = store()
    for number in range(100):
        items.put_immutable(value(number), HOST, 0.0)
    with pytest.raises(KrpcError) as caught:
        items.put_immutable(value(100), HOST, 0.0)
    assert caught.value.code == 202
    items.put_immutable(value(100), "192.0.2.2", 0.0)
    items.put_immutable(value(1), HOST, 1.0)  # one that is there already
    assert len(items) == 101
    assert items.get(immutable_target(value(0)), 9_000.0) is None
    items.put_immutable(value(200), HOST, 9_000.0)
    assert items.get(immutable_target(value(200)), 9_000.0) is not None


def test_c2_an_address_puts_values_again_when_the_time_of_its_first_ones_is_over() -> None:
    items = store()
    for number in range(100):
        items.put_immutable(value(number), HOST, float(number))
    with pytest.raises(KrpcError):
        items.put_immutable(value(100), HOST, 7_199.0)
    items.put_immutable(value(100), HOST, 7_200.0)
    assert len(items) == 100
    with pytest.raises(KrpcError):
        items.put_immutable(value(101), HOST, 7_200.0)
    items.put_immutable(value(99), HOST, 7_250.0)  # one that is there is kept for longer
    assert items.get(immutable_target(value(99)), 14_000.0) is not None
