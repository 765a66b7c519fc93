"""What we and libtorrent make of the same damaged torrents and magnet links."""

from collections import Counter

import pytest

from fuzz.differential import compare_magnet, compare_torrent, verdicts
from torrent_engine.codec.bencode import encode

LINK = b"magnet:?xt=urn:btih:0123456789abcdef0123456789abcdef01234567"


def test_every_disagreement_with_libtorrent_has_a_reason() -> None:
    counted: Counter[str] = Counter()
    unexplained = []
    for data, verdict in verdicts(1_500, seed=3):
        counted[verdict.kind] += 1
        unexplained += [(data, verdict)] * (not verdict.is_explained)
    assert unexplained == []
    assert counted["agree"] > 500
    assert counted["both refuse"] > 500


def test_a_torrent_that_is_not_the_same_for_both_is_a_difference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = encode(
        {"info": {"length": 5, "name": "n", "piece length": 16_384, "pieces": bytes(20)}},
    )
    assert compare_torrent(data).kind == "agree"
    monkeypatch.setattr("fuzz.differential._our_torrent", lambda _data: "for no reason")
    verdict = compare_torrent(data)
    assert (verdict.kind, verdict.is_explained) == ("we refuse", False)


@pytest.mark.parametrize(
    ("link", "kind"),
    [
        (LINK, "agree"),
        (b"magnet:?dn=x", "both refuse"),
        (b"magnet:?xt=urn:btmh:1220" + b"ab" * 32, "agree"),
    ],
)
def test_links_are_compared_by_their_info_hash(link: bytes, kind: str) -> None:
    assert compare_magnet(link).kind == kind
