"""Write tokens (BEP 5): bound to an address and a key, good for five to ten minutes (row C2)."""

import pytest

from torrent_engine.protocol.dht.tokens import WriteTokens

HOST, KEY, SECRET = b"\xc0\x00\x02\x01", b"k" * 20, b"s" * 32


def test_bep5_token_is_taken_until_the_secret_changed_twice() -> None:
    tokens = WriteTokens(SECRET, 300.0)
    token = tokens.token(HOST, KEY, 100.0)
    assert tokens.is_valid(token, HOST, KEY, 100.0)
    assert tokens.is_valid(token, HOST, KEY, 599.0)
    assert not tokens.is_valid(token, HOST, KEY, 600.0)


def test_bep5_next_secret_makes_another_token() -> None:
    tokens = WriteTokens(SECRET, 300.0)
    assert tokens.token(HOST, KEY, 299.0) != tokens.token(HOST, KEY, 300.0)


def test_c2_token_is_for_one_address_and_one_key() -> None:
    tokens = WriteTokens(SECRET, 300.0)
    token = tokens.token(HOST, KEY, 0.0)
    assert not tokens.is_valid(token, b"\xc0\x00\x02\x02", KEY, 0.0)
    assert not tokens.is_valid(token, HOST, b"x" * 20, 0.0)


def test_c2_token_of_another_node_is_refused() -> None:
    token = WriteTokens(b"t" * 32, 300.0).token(HOST, KEY, 0.0)
    assert not WriteTokens(SECRET, 300.0).is_valid(token, HOST, KEY, 0.0)


@pytest.mark.parametrize("token", [None, b"", b"x", b"x" * 8, 7, [], b"x" * 1_000])
def test_c2_invented_token_is_refused(token: object) -> None:
    assert not WriteTokens(SECRET, 300.0).is_valid(token, HOST, KEY, 0.0)


def test_c2_secrets_behind_the_tokens_have_32_bytes() -> None:
    tokens = WriteTokens(SECRET, 300.0)
    tokens.token(HOST, KEY, 0.0)
    assert len(tokens._present) == len(tokens._previous) == 32
    assert tokens._present != tokens._previous
