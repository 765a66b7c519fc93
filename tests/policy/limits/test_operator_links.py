"""Row B5: how many links of all torrents each operator has."""

from dataclasses import replace

import pytest

from torrent_engine.base.config import PoolConfig
from torrent_engine.policy.limits.operator_links import OperatorLinks

CONFIG = PoolConfig(max_connections_per_ip_in_all=2)


@pytest.mark.parametrize(
    ("hosts", "operator"),
    [
        (["8.0.0.1", "8.0.0.1"], "8.0.0.1"),
        (["8.0.0.1", "::ffff:8.0.0.1"], "8.0.0.1"),
        (["2600:0:0:1::1", "2600:0:0:1::2"], "2600:0:0:1::/64"),
    ],
)
def test_b5_an_operator_has_its_links_until_one_ends(hosts: list[str], operator: str) -> None:
    links = OperatorLinks(CONFIG)
    links.joined(hosts[0])
    links.joined("8.0.0.2")
    assert not links.crowded
    links.joined(hosts[1])
    links.joined(hosts[1])
    assert list(links.crowded) == [operator]
    links.left(hosts[0])
    assert list(links.crowded) == [operator]
    links.left(hosts[1])
    links.left(hosts[1])
    links.left("8.0.0.2")
    assert not links.crowded
    assert not links._links


@pytest.mark.parametrize(
    ("config", "host"),
    [
        (CONFIG, "127.0.0.1"),
        (CONFIG, "::1"),
        (CONFIG, "192.168.0.1"),
        (CONFIG, "fd00::1"),
        (replace(CONFIG, allow_multiple_per_ip=True), "8.0.0.1"),
        (replace(CONFIG, max_connections_per_ip_in_all=0), "8.0.0.1"),
    ],
)
def test_b5_where_many_peers_may_share_an_address_none_is_crowded(
    config: PoolConfig, host: str
) -> None:
    links = OperatorLinks(config)
    for _ in range(10):
        links.joined(host)
    assert not links.crowded
    for _ in range(10):
        links.left(host)


def test_b5_a_name_counts_as_one_address() -> None:
    links = OperatorLinks(CONFIG)
    for _ in range(2):
        links.joined("peer.example")
    assert list(links.crowded) == ["peer.example"]
