"""Which addresses are of the own machine or its network."""

import pytest

from torrent_engine.policy.addresses import is_local

LOCAL = [
    "127.0.0.1",
    "::1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.255.255",
    "169.254.7.7",
    "fe80::1",
    "fe80::1%eth0",
    "fd12:3456::1",
    "::ffff:192.168.1.1",
]
FAR = ["8.8.8.8", "100.64.0.1", "172.32.0.1", "192.169.0.1", "2600::1", "::ffff:8.8.8.8"]


@pytest.mark.parametrize("host", LOCAL)
def test_addresses_of_the_local_network(host: str) -> None:
    assert is_local(host)


@pytest.mark.parametrize("host", FAR)
def test_addresses_of_others(host: str) -> None:
    assert not is_local(host)


def test_a_name_is_no_address() -> None:
    with pytest.raises(ValueError, match="example"):
        is_local("example.org")
