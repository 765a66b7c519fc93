"""What we say to a peer first."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import PexConfig, SharedConfig
from torrent_engine.engine.swarm.handshake import MagnetGreeting, TorrentGreeting


def torrent_greeting(*, is_private: bool) -> TorrentGreeting:
    metainfo, _ = make_torrent(payload_of(20_000), is_private=is_private)
    torrent: Any = SimpleNamespace(metainfo=metainfo, shared_config=SharedConfig())
    return TorrentGreeting(torrent, lambda: 6881)


@pytest.mark.parametrize(
    ("is_private", "is_adopted", "number"),
    [(False, False, 1), (False, True, 1), (True, False, None), (True, True, 0)],
)
def test_b10_ut_pex_is_not_named_for_a_private_torrent_and_taken_back_if_it_was(
    is_private: bool, is_adopted: bool, number: int | None
) -> None:
    peer: Any = SimpleNamespace(is_adopted=is_adopted)
    named = torrent_greeting(is_private=is_private)._extensions_for(peer)
    assert named.get("ut_pex") == number
    assert named["lt_donthave"]


def test_b10_the_swarm_of_a_private_torrent_does_not_learn_where_our_dht_node_is() -> None:
    assert torrent_greeting(is_private=False).dht_port() == 6881
    assert torrent_greeting(is_private=True).dht_port() is None


def test_bep11_nothing_is_named_that_is_switched_off() -> None:
    off = SharedConfig(pex=PexConfig(enabled=False))
    assert "ut_pex" in MagnetGreeting(SharedConfig(), lambda: None).extensions
    assert "ut_pex" not in MagnetGreeting(off, lambda: None).extensions
