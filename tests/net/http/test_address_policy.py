"""Which addresses a stranger's URL may lead to (fault model, row D1)."""

import pytest

from torrent_engine.base.errors import HttpError
from torrent_engine.net.http.address_policy import (
    TRACKER_POLICY,
    USER_POLICY,
    WEB_SEED_POLICY,
    allowed_addresses,
    check_address,
    is_global,
)

NEVER = [
    "169.254.169.254",
    "169.254.0.1",
    "fe80::1",
    "fe80::1%eth0",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "0.0.0.0",
    "::",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
    "240.0.0.1",
    "192.0.0.192",
    "::ffff:192.0.0.192",
    "100.100.100.200",
    "2002:6464:64c8::1",
    "fd00:ec2::254",
    "fd20:ce::254",
]
NOT_GLOBAL = [
    "127.0.0.1",
    "::1",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "fd00:ec2::253",
    "fec0::1",
    "192.0.0.8",
    "::ffff:192.0.0.8",
    "192.88.99.1",
    "3fff::1",
]
GLOBAL = ["1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("literal", NEVER)
@pytest.mark.parametrize("policy", [TRACKER_POLICY, WEB_SEED_POLICY, USER_POLICY])
def test_d1_link_local_and_the_like_are_refused_by_every_policy(literal, policy):
    with pytest.raises(HttpError, match="refused to connect"):
        check_address(literal, policy, path="/announce")


@pytest.mark.parametrize("literal", NOT_GLOBAL)
def test_d1_local_addresses_are_for_trackers_and_users_only(literal):
    check_address(literal, TRACKER_POLICY, path="/announce?x=1")
    check_address(literal, USER_POLICY, path="/anything")
    assert not is_global(literal)
    with pytest.raises(HttpError):
        check_address(literal, WEB_SEED_POLICY)


@pytest.mark.parametrize("literal", GLOBAL)
def test_d1_global_addresses_are_allowed(literal):
    check_address(literal, WEB_SEED_POLICY)
    assert is_global(literal)


@pytest.mark.parametrize("path", ["/", "/admin?announce", "/announce/reboot", ""])
def test_d1_a_tracker_on_loopback_is_asked_for_announces_only(path):
    with pytest.raises(HttpError, match="no such path"):
        check_address("127.0.0.1", TRACKER_POLICY, path=path)


def test_d1_only_the_allowed_addresses_of_a_name_are_used():
    assert allowed_addresses(["fe80::1", "192.168.1.1"], USER_POLICY) == ["192.168.1.1"]
    with pytest.raises(HttpError, match=r"10\.0\.0\.1"):
        allowed_addresses(["10.0.0.1", "fe80::1"], WEB_SEED_POLICY)
    with pytest.raises(HttpError, match="no address"):
        allowed_addresses([], USER_POLICY)
