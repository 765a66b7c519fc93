"""Files of an IP filter: what is in them, and what is wrong with them."""

import gzip
from pathlib import Path

import pytest

from tests.policy.ip_filter.test_p2b import RANGES, VERSIONS
from torrent_engine.base.config import AddressClass, ClassRule, IpFilterConfig
from torrent_engine.base.errors import ConfigError, IpFilterError, StorageError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.disk.ip_filter_files import load_filter
from torrent_engine.policy.ip_filter.filter import IpFilter
from torrent_engine.policy.ip_filter.lists import ListFacts

P2P = b"# a list\nSome Name:1.2.3.0-1.2.3.255\nOther:9.0.0.0-9.0.0.9\n"
DAT = b"001.002.003.000 - 001.002.003.255 , 000 , x\r\n5.0.0.0 - 5.0.0.9 , 200 , y\r\n"
CIDR = b"1.2.3.0/24\n2001:db8::/32\n"
LISTS = {"p2p": P2P, "dat": DAT, "cidr": CIDR, "p2b_1": VERSIONS["1"], "p2b_3": VERSIONS["3"]}


def allows(ip_filter: IpFilter, host: str) -> bool:
    return ip_filter.allows(PeerAddress(host, 6881))


@pytest.mark.parametrize("data", LISTS.values(), ids=LISTS)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_lists_of_all_formats_are_read(data: bytes, pack, tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(pack(data))
    loaded = load_filter(IpFilterConfig(paths=(str(path),)))
    assert not allows(loaded.ip_filter, "1.2.3.4")
    assert allows(loaded.ip_filter, "8.8.8.8")
    assert loaded.files[0].path == str(path)
    assert loaded.files[0].facts.ranges == {P2P: 2, DAT: 1, CIDR: 2}.get(data, len(RANGES))


def test_a_gzip_file_of_several_members_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "list.gz"
    path.write_bytes(gzip.compress(b"1.2.3.4\n") + gzip.compress(b"1.2.3.5\n"))
    assert load_filter(IpFilterConfig(paths=(str(path),))).files[0].facts.ranges == 2


def test_all_files_and_classes_count_together(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(P2P)
    two.write_bytes(b"8.8.0.0/16\nnonsense\n")
    friends = AddressClass("friends", ClassRule.ALLOWED, ("1.2.3.7", "8.8.8.0-8.8.8.9"))
    near = AddressClass("near", ClassRule.UNLIMITED, paths=(str(two),))
    more = AddressClass("more", ranges=("7.0.0.0/8",))
    config = IpFilterConfig(
        (str(one), str(two)),
        (friends, near, more),
        blocked_ports=((1, 9),),
        always_allow_local=True,
    )
    loaded = load_filter(config)
    hosts = ("1.2.3.4", "1.2.3.7", "8.8.8.8", "8.8.9.9", "7.1.1.1", "6.6.6.6")
    assert [allows(loaded.ip_filter, host) for host in hosts] == [0, 1, 1, 0, 0, 1]
    assert loaded.ip_filter.is_unlimited("8.8.9.9")
    assert loaded.ip_filter.blocked_by("7.1.1.1") == "more"
    assert not loaded.ip_filter.allows_dial(PeerAddress("6.6.6.6", 9))
    assert [each.facts.bad_lines for each in loaded.files] == [0, 1, 1]


def test_an_empty_file_blocks_nobody(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(b"")
    loaded = load_filter(IpFilterConfig(paths=(str(path),)))
    assert allows(loaded.ip_filter, "1.2.3.4")
    assert loaded.files[0].facts == ListFacts()


def test_a_missing_file_and_a_folder_are_named_in_the_error(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none", "no such file"), (tmp_path, "is no regular file")):
        with pytest.raises(StorageError, match=f"{path}: {reason}"):
            load_filter(IpFilterConfig(paths=(str(path),)))


PACKED = gzip.compress(b"1.2.3.4\n" * 1_000)
DAMAGED = {
    "cut": PACKED[:-9],
    "header_cut": PACKED[:5],
    "other_method": PACKED[:2] + b"\x07" + PACKED[3:],
    "wrong_sum": PACKED[:-8] + bytes(4) + PACKED[-4:],
    "wrong_stream": PACKED[:10] + b"\xff" * 30 + PACKED[40:],
    "behind_it": PACKED + b"garbage",
    "p2b_cut": VERSIONS["3"][:-2],
    "p2b_cut_packed": gzip.compress(VERSIONS["1"][:-2]),
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_named_in_the_error(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(data)
    with pytest.raises(IpFilterError, match=str(path)):
        load_filter(IpFilterConfig(paths=(str(path),)))


@pytest.mark.parametrize("text", ["", "x", "1.2.3.4/33", "1.2.3.5-1.2.3.4", "name:1.2.3.4-1.2.3.5"])
def test_a_configured_range_that_is_none_is_a_mistake(text: str) -> None:
    config = IpFilterConfig(classes=(AddressClass("mine", ranges=(text,)),))
    with pytest.raises(ConfigError, match="class 'mine' of the IP filter"):
        load_filter(config)


def test_lists_that_are_too_long_together_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(b"1.2.3.4\n1.2.3.5\n1.2.3.6\n")
    others = AddressClass("others", paths=(str(path),))
    load_filter(IpFilterConfig((str(path),), (others,), max_ranges=6))
    with pytest.raises(IpFilterError, match=f"{path}: more than"):
        load_filter(IpFilterConfig((str(path),), (others,), max_ranges=5))


def test_a_bomb_of_a_gzip_file_is_refused_before_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "list.gz"
    path.write_bytes(gzip.compress(b"1.2.3.4\n" * 2_000_000, 1))
    chunks: list[int] = []
    with pytest.raises(IpFilterError, match="more than 1,000 ranges"):
        load_filter(IpFilterConfig(paths=(str(path),), max_ranges=1_000), lambda: chunks.append(1))
    assert len(chunks) <= 1
