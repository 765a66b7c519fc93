import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import bencodepy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.cpu_time import cpu_time
from torrent_engine.base.config import BencodeLimits
from torrent_engine.base.errors import BencodeError, MetainfoError
from torrent_engine.codec.bencode import decode, decode_prefix, decode_with_spans, encode
from torrent_engine.codec.metainfo import Metainfo

MALFORMED = {
    "nothing": b"",
    "unknown_type": b"x",
    "unknown_type_in_list": b"lxe",
    "open_list": b"l",
    "open_list_after_item": b"li1e",
    "open_dict": b"d",
    "open_dict_after_key": b"d1:a",
    "open_dict_after_value": b"d1:ai1e",
    "end_alone": b"e",
    "trailing_end": b"lee",
    "trailing_byte_after_string": b"1:ab",
    "trailing_byte_after_integer": b"i1e ",
    "trailing_newline": b"de\n",
    "key_without_value": b"d1:ae",
    "integer_key": b"di1e1:ae",
    "list_key": b"dle1:ae",
    "dict_key": b"dde1:ae",
    "integer_key_of_inner_dict": b"ldi1e1:aee",
    "duplicate_key": b"d1:ai1e1:ai2ee",
    "duplicate_key_apart": b"d1:ai1e1:bi1e1:ai2ee",
    "duplicate_key_inner": b"ld1:ai1e1:ai2eee",
    "short_string": b"5:spam",
    "short_string_in_list": b"l5:spame",
    "string_without_colon": b"4spam",
    "string_length_only": b"4",
    "string_length_only_in_list": b"l4",
    "string_without_colon_at_the_end": b"l11:0123456789a10x",
    "integer_without_end_at_the_end": b"l11:0123456789ai12x",
    "string_length_leading_zero": b"01:a",
    "string_length_leading_zero_in_list": b"l01:ae",
    "string_length_two_zeros_in_list": b"l00:e",
    "string_length_negative": b"-1:a",
    "string_length_space": b"1 :a",
    "string_length_underscore_in_list": b"l1_0:aaaaaaaaaae",
    "string_length_unicode_digit": "\u0661:a".encode(),
    "a3_string_length_huge": b"99999999999:",
    "a3_string_length_huge_in_list": b"l99999999999:e",
    "a3_string_length_ten_digits": b"l9999999999:e",
    "a3_string_length_long": b"l" + b"9" * 100_000 + b":e",
    "empty_integer": b"ie",
    "open_integer": b"i1",
    "open_integer_in_list": b"li1",
    "minus_only": b"i-e",
    "plus": b"i+1e",
    "integer_space": b"i 1e",
    "integer_underscore": b"i1_0e",
    "integer_unicode_digit": "i\u0661e".encode(),
    "integer_fraction": b"li1.5ee",
    "a3_minus_zero": b"i-0e",
    "a3_minus_zero_in_list": b"li-0ee",
    "a3_leading_zero": b"i03e",
    "a3_leading_zero_in_list": b"li03ee",
    "a3_two_zeros_in_dict": b"d1:ai00ee",
    "a3_minus_leading_zero": b"i-03e",
    "a3_above_int64": b"i9223372036854775808e",
    "a3_below_int64": b"li-9223372036854775809ee",
    "a3_twenty_digits": b"i10000000000000000000e",
    "a3_million_digits": b"i" + b"1" * 10**6 + b"e",
    "a3_million_digits_in_list": b"li" + b"1" * 10**6 + b"ee",
    "a1_depth_bomb_of_lists": b"l" * 10**6,
    "a1_depth_bomb_of_dicts": b"d0:" * 10**6,
    "a1_depth_101": b"l" * 101 + b"e" * 101,
}
VALID = {
    "zero": (b"i0e", 0),
    "minus_one": (b"i-1e", -1),
    "int64_max": (b"i9223372036854775807e", 2**63 - 1),
    "int64_min": (b"i-9223372036854775808e", -(2**63)),
    "int64_in_list": (b"li9223372036854775807ei-9223372036854775808ee", [2**63 - 1, -(2**63)]),
    "zero_in_dict": (b"d1:ai0ee", {b"a": 0}),
    "empty_string": (b"0:", b""),
    "empty_string_in_list": (b"l0:e", [b""]),
    "empty_key": (b"d0:0:e", {b"": b""}),
    "string_of_10": (b"l10:0123456789e", [b"0123456789"]),
    "string_of_1234": (b"l1234:" + b"x" * 1234 + b"e", [b"x" * 1234]),
    "empty_list": (b"le", []),
    "empty_dict": (b"de", {}),
    "nested": (b"d1:ad1:bl1:cdeeee", {b"a": {b"b": [b"c", {}]}}),
    "list_after_dict_in_list": (b"ldelei1ee", [{}, [], 1]),
    "unsorted_keys": (b"d1:bi1e1:ai2ee", {b"b": 1, b"a": 2}),
    "depth_100": (b"l" * 100 + b"e" * 100, None),
}
VALUES = st.recursive(
    st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.binary(max_size=8), inner, max_size=5)
    ),
    max_leaves=30,
)
BENCODE_LIKE = st.text("0123456789ilde:-a").map(str.encode)


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_bep3_bencode_rejects(data: bytes) -> None:
    with pytest.raises(BencodeError) as caught:
        decode(data)
    assert 0 <= caught.value.offset_bytes <= len(data)


@pytest.mark.parametrize(("data", "value"), VALID.values(), ids=VALID.keys())
def test_bep3_bencode_accepts(data: bytes, value: object) -> None:
    decoded = decode(data)
    assert value is None or decoded == value
    assert decode(bytearray(data)) == decode(memoryview(data)) == decoded


@given(st.binary(max_size=512) | BENCODE_LIKE)
def test_decode_raises_nothing_but_bencode_error(data: bytes) -> None:
    with suppress(BencodeError):
        decode(data)
    with suppress(BencodeError):
        assert encode(decode(data, canonical=True)) == data  # one spelling per value
    with suppress(BencodeError):
        decode_prefix(data)
    with suppress(BencodeError):
        decode_with_spans(data)


@given(VALUES)
def test_encode_then_decode_is_the_same_value(value: object) -> None:
    data = encode(value)  # type: ignore[arg-type]
    assert decode(data, canonical=True) == value
    assert decode_prefix(data + b"tail") == (value, len(data))


@given(VALUES)
def test_the_oracle_encodes_and_decodes_the_same(value: object) -> None:
    data = encode(value)  # type: ignore[arg-type]
    assert bencodepy.encode(value) == data
    assert bencodepy.decode(data) == value


@given(st.binary(max_size=60) | BENCODE_LIKE)
def test_what_we_accept_the_oracle_reads_the_same(data: bytes) -> None:
    with suppress(BencodeError):
        assert decode(data) == bencodepy.decode(data)


@given(st.dictionaries(st.binary(max_size=8), VALUES, max_size=6))
def test_spans_are_where_the_values_stand(value: dict[bytes, object]) -> None:
    data = encode(value)  # type: ignore[arg-type]
    decoded, spans = decode_with_spans(data, canonical=True)
    assert decoded == value
    assert {key: decode(data[start:end]) for key, (start, end) in spans.items()} == value


@pytest.mark.parametrize(
    "data",
    [b"", b"le", b"i1e", b"d", b"d1:a", b"di1ei1ee", b"d1:ai1e1:ai1ee", b"dee", b"d1:ax", b"dlee"],
)
def test_decode_with_spans_rejects(data: bytes) -> None:
    with pytest.raises(BencodeError):
        decode_with_spans(data)


UNSORTED = [b"d1:bi1e1:ai2ee", b"ld1:bi1e1:ai2eee", b"d1:ad1:bi1e1:ai2eee"]


@pytest.mark.parametrize("data", UNSORTED)
def test_bep3_unsorted_keys_are_refused_when_canonical(data: bytes) -> None:
    decode(data)
    with pytest.raises(BencodeError, match="order"):
        decode(data, canonical=True)
    with pytest.raises(BencodeError):
        decode_with_spans(data, canonical=True)


def test_prefix_leaves_the_tail_alone() -> None:
    assert decode_prefix(b"d8:msg_typei1eeRAW") == ({b"msg_type": 1}, 15)
    assert decode_prefix(b"3:abcdef") == (b"abc", 5)
    assert decode_prefix(b"i-7eee") == (-7, 4)


def test_a1_depth_limit_counts_containers() -> None:
    limits = BencodeLimits(max_depth=3)
    assert decode(b"d1:alleee", limits=limits) == {b"a": [[]]}
    assert decode_with_spans(b"d1:alleee", limits=limits)[0] == {b"a": [[]]}
    for data in (b"d1:allleeee", b"llldeeee"):
        with pytest.raises(BencodeError, match="deep"):
            decode(data, limits=limits)
    with pytest.raises(BencodeError, match="deep"):
        decode_with_spans(b"d1:allleeee", limits=limits)
    with pytest.raises(BencodeError, match="deep"):
        decode(b"le", limits=BencodeLimits(max_depth=0))


def test_a2_token_limit_counts_values_and_keys() -> None:
    four = b"d1:ali1eee"
    assert decode(four, limits=BencodeLimits(max_tokens=4)) == {b"a": [1]}
    assert decode_with_spans(four, limits=BencodeLimits(max_tokens=4))[0] == {b"a": [1]}
    for function in (decode, decode_with_spans):
        with pytest.raises(BencodeError, match="tokens"):
            function(four, limits=BencodeLimits(max_tokens=3))
    with pytest.raises(BencodeError, match="tokens"):
        decode(b"i1e", limits=BencodeLimits(max_tokens=0))
    with pytest.raises(BencodeError, match="tokens"):
        decode(b"le", limits=BencodeLimits(max_tokens=0))
    with pytest.raises(BencodeError, match="tokens"):
        decode_with_spans(b"d1:ai1ee", limits=BencodeLimits(max_tokens=2))


ROOT = Path(__file__).parents[2]
BOMB = """
import gc, resource, sys
from tests.support.cpu_time import cpu_time
from torrent_engine.base.errors import BencodeError
from torrent_engine.codec.bencode import decode
token = sys.argv[1].encode()
data = b"l" + token * ((10 * 1024 * 1024 - 2) // len(token)) + b"e"
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with cpu_time() as spent:
    gc.enable()  # what its collections take counts here
    try:
        decode(data)
    except BencodeError:
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(spent.seconds, grown * 1024 / len(data))
"""


BOMB_TOKENS = ("i0e", "le")


@pytest.fixture(scope="module")
def bombs() -> Iterator[dict[str, subprocess.Popen[str]]]:
    """A process for each bomb, so that nothing else is measured; both run at once."""
    with ExitStack() as children:
        yield {
            token: children.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", BOMB, token],
                    stdout=subprocess.PIPE,
                    text=True,
                    cwd=ROOT,
                )
            )
            for token in BOMB_TOKENS
        }


@pytest.mark.no_cover
@pytest.mark.parametrize("token", BOMB_TOKENS)
def test_a2_token_bomb_is_refused_soon_and_in_little_memory(
    bombs: dict[str, subprocess.Popen[str]], token: str
) -> None:
    printed = bombs[token].communicate()[0]
    assert bombs[token].returncode == 0
    seconds, memory_per_input = map(float, printed.split())
    assert seconds < 5  # about 1 on a machine that has nothing else to do
    assert memory_per_input < 20


def test_a4_input_longer_than_the_limit_is_refused() -> None:
    limits = BencodeLimits(max_bytes=4)
    assert decode(b"2:ab", limits=limits) == b"ab"
    for function in (decode, decode_prefix, decode_with_spans):
        with pytest.raises(BencodeError, match="more than 4"):
            function(b"3:abc", limits=limits)


def test_encode_takes_text_tuples_and_sorts_keys_as_bytes() -> None:
    assert encode({"b": ("x", 1), "a": "\u00e9"}) == b"d1:a2:\xc3\xa91:bl1:xi1eee"
    assert encode({b"\xff": 1, b"a": 2}) == b"d1:ai2e1:\xffi1ee"


@pytest.mark.parametrize("value", [None, 1.5, {1: 2}, {"a": None}, {"a": 1, b"a": 2}, {1, 2}])
def test_encode_refuses_what_bencoding_does_not_have(value: object) -> None:
    with pytest.raises(TypeError):
        encode(value)  # type: ignore[arg-type]


def test_encode_does_not_recurse() -> None:
    value: list[object] = []
    for _ in range(50_000):
        value = [value]
    assert encode(value) == b"l" * 50_001 + b"e" * 50_001  # type: ignore[arg-type]
    while value:  # taken apart from the outside, or freeing it would recurse
        value = value[0]  # type: ignore[assignment]


A3_NUMBERS: dict[str, bytes] = {
    "a_million_digits": b"i" + b"9" * 10**6 + b"e",
    "a_million_digits_below_zero": b"i-" + b"1" * 10**6 + b"e",
    "a_million_zeros": b"i" + b"0" * 10**6 + b"e",
    "no_end": b"i" + b"1" * 10**6,
    "minus_zero": b"i-0e",
    "two_zeros": b"i00e",
    "leading_zero": b"i01e",
    "nothing": b"ie",
    "minus": b"i-e",
    "plus": b"i+1e",
    "space": b"i 1e",
    "underscore": b"i1_0e",
    "fraction": b"i1.5e",
    "above_int64": b"i9223372036854775808e",
    "below_int64": b"i-9223372036854775809e",
    "string_of_100_gb": b"99999999999:",
    "string_length_of_a_million_digits": b"9" * 10**6 + b":",
    "string_length_with_zeros": b"0000000001:x",
    "string_length_below_zero": b"-1:x",
    "string_one_byte_short": b"5:spam",
}


@pytest.mark.parametrize("inside", [b"%b", b"l%be", b"d1:a%be", b"d4:infod6:lengthi1e4:name%bee"])
@pytest.mark.parametrize("number", A3_NUMBERS.values(), ids=A3_NUMBERS.keys())
def test_a3_hostile_numbers_and_lengths_are_refused_at_once(number: bytes, inside: bytes) -> None:
    data = inside % number
    with cpu_time() as spent:
        for read in (decode, decode_prefix, decode_with_spans):
            with pytest.raises(BencodeError):
                read(data)
    assert spent.seconds < 1.0  # int() of a million digits takes many seconds


A3_LENGTHS = {key: value for key, value in A3_NUMBERS.items() if key != "leading_zero"}


@pytest.mark.parametrize("number", A3_LENGTHS.values(), ids=A3_LENGTHS.keys())
def test_a3_hostile_lengths_of_files_are_refused(number: bytes) -> None:
    entry = b"d6:length%b4:pathl1:aee" % number
    data = b"d4:infod5:filesl%be4:name1:n12:piece lengthi16384e6:pieces20:%bee" % (entry, bytes(20))
    with pytest.raises((BencodeError, MetainfoError)):
        Metainfo.from_bytes(data)


@pytest.mark.parametrize("number", [-(2**63), -1, 0, 1, 2**63 - 1])
def test_a3_the_whole_range_of_64_bits_is_read(number: int) -> None:
    assert decode(b"li%dee" % number) == [number]
