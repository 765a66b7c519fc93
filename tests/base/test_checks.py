"""What configurations refuse: each value where it is given, with the names of both."""

import math
import os
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from torrent_engine import config
from torrent_engine.base.checks import Checked, check_number, check_path, check_port
from torrent_engine.base.config import (
    DiskConfig,
    EncryptionConfig,
    EncryptionPolicy,
    ManagerConfig,
    NetworkConfig,
    ProxyConfig,
    ProxyKind,
    SessionConfig,
    SharedConfig,
    TransferConfig,
)
from torrent_engine.base.errors import ConfigError, TorrentEngineError

CONFIGS = sorted(
    {each for each in vars(config).values() if isinstance(each, type) and is_dataclass(each)},
    key=lambda cls: cls.__name__,
)
NEEDED: dict[str, dict[str, Any]] = {
    "ProxyConfig": {"kind": "socks5", "host": "h", "port": 1},
    "AddressClass": {"name": "n"},
}


def make(cls: type, **values: Any) -> Any:
    return cls(**{**NEEDED.get(cls.__name__, {}), **values})


def numbers() -> list[tuple[type, str]]:
    """Return every field of every configuration that is a number."""
    found = []
    for cls in CONFIGS:
        hints = get_type_hints(cls)
        for each in fields(cls):
            kinds = {hints[each.name], *get_args(hints[each.name])}
            if kinds & {int, float} and get_origin(hints[each.name]) is not tuple:
                found.append((cls, each.name))
    return found


@pytest.mark.parametrize("cls", CONFIGS, ids=lambda cls: cls.__name__)
def test_every_configuration_is_checked_and_its_defaults_pass(cls: type) -> None:
    assert issubclass(cls, Checked)
    made = make(cls)
    assert replace(made) == made


@pytest.mark.parametrize(
    ("cls", "name"), numbers(), ids=lambda each: getattr(each, "__name__", each)
)
def test_no_number_may_be_negative_or_nan_or_a_bool_or_text(cls: type, name: str) -> None:
    for value in (-1, True, "5", math.nan, [1]):
        with pytest.raises((ConfigError, TypeError), match=rf"{cls.__name__}\.{name}: "):
            make(cls, **{name: value})


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "port": (lambda: SharedConfig(listen_port=65_536), ConfigError, "listen_port: 65536"),
    "float_rate": (lambda: SharedConfig(max_upload_bytes_per_s=1.5), TypeError, "1.5"),  # type: ignore[arg-type]
    "ratio": (lambda: SessionConfig(seed_ratio=-0.1), ConfigError, "seed_ratio: -0.1"),
    "nan_ratio": (lambda: SessionConfig(seed_ratio=math.nan), ConfigError, "seed_ratio: nan"),
    "bool": (lambda: SessionConfig(paused=1), TypeError, "paused: must be True or False, not 1"),  # type: ignore[arg-type]
    "part": (lambda: SharedConfig(dht=False), TypeError, "dht: must be a DhtConfig, not False"),  # type: ignore[arg-type]
    "peer": (lambda: SessionConfig(peers=(("h", 0),)), ConfigError, r"peers\[0\]: 0"),
    "peers": (lambda: SessionConfig(peers="h:1"), TypeError, "peers: must be a tuple"),  # type: ignore[arg-type]
    "pair": (
        lambda: SessionConfig(peers=(("h",),)),  # type: ignore[arg-type]
        TypeError,
        r"peers\[0\]: must be a tuple of 2",
    ),
    "priority": (lambda: SessionConfig(file_priorities=(4, 8)), ConfigError, r"priorities\[1\]: 8"),
    "float_priority": (
        lambda: SessionConfig(file_priorities=(4.0,)),  # type: ignore[arg-type]
        TypeError,
        r"file_priorities\[0\]: must be a whole number, not 4.0",
    ),
    "function": (lambda: SessionConfig(file_priorities_of=3), TypeError, "must be a function"),  # type: ignore[arg-type]
    "enum": (lambda: EncryptionConfig(incoming="no"), ConfigError, "'no' is none of 'disabled'"),  # type: ignore[arg-type]
    "host": (lambda: SharedConfig(listen_hosts=("localhost",)), ConfigError, "'localhost'"),
    "no_threads": (lambda: DiskConfig(disk_threads=0), ConfigError, "disk_threads: 0"),
    "path": (lambda: ManagerConfig(save_path=3), TypeError, "save_path: must be a path, not 3"),  # type: ignore[arg-type]
    "nul": (lambda: ManagerConfig(save_path="a\0b"), ConfigError, "save_path: 'a.x00b'"),
    "not_utf8": (lambda: ManagerConfig(save_path="a\udcff"), ConfigError, "is not UTF-8"),
    "watermarks": (
        lambda: DiskConfig(write_queue_low_bytes=2, write_queue_high_bytes=1),
        ConfigError,
        "write_queue_low_bytes: 2 is more than write_queue_high_bytes 1",
    ),
    "requests": (lambda: TransferConfig(max_outstanding_requests=1), ConfigError, "min_outst"),
    "local_and_proxy": (
        lambda: NetworkConfig(loopback_only=True, proxy=ProxyConfig(ProxyKind.HTTP, "h", 1)),
        ConfigError,
        "loopback_only",
    ),
    "local_and_outside": (
        lambda: SharedConfig.local(listen_hosts=("0.0.0.0",)),
        ConfigError,
        "'0.0.0.0' is not on loopback",
    ),
}


@pytest.mark.parametrize(("make_it", "kind", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_value_is_refused_with_its_name(make_it: Any, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        make_it()


def test_a_configuration_error_is_a_value_error_and_ours() -> None:
    assert issubclass(ConfigError, ValueError)
    assert issubclass(ConfigError, TorrentEngineError)


def test_what_is_meant_is_taken() -> None:
    made = SessionConfig(file_priorities=[0, 7], peers=[["h", 5]], seed_ratio=2)  # type: ignore[arg-type]
    assert (made.file_priorities, made.peers, made.seed_ratio) == ((0, 7), (("h", 5),), 2)
    assert EncryptionConfig(incoming="required").incoming is EncryptionPolicy.REQUIRED  # type: ignore[arg-type]
    assert SessionConfig(seed_time_s=math.inf).seed_time_s == math.inf
    assert SharedConfig(state_dir=Path("x")).state_dir == "x"


def test_repr_is_one_line_of_what_differs_from_the_defaults_without_secrets() -> None:
    assert repr(SharedConfig()) == "SharedConfig()"
    proxy = ProxyConfig(ProxyKind.SOCKS5, "h", 1, username="me", password="s3cret")
    shown = repr(SharedConfig(listen_port=5, network=NetworkConfig(proxy=proxy)))
    assert shown.startswith("SharedConfig(listen_port=5, network=NetworkConfig(proxy=ProxyConfig(")
    assert "s3cret" not in shown
    assert "me," not in shown
    assert "\n" not in shown


@pytest.mark.parametrize("value", [0, 65_536, -1])
def test_a_port_of_a_peer_is_1_to_65535(value: int) -> None:
    with pytest.raises(ConfigError, match=f"port: {value}"):
        check_port("port", value)


def test_a_path_in_a_folder_that_is_not_utf8_is_not_utf8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / os.fsdecode(b"folder\xff")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system has no such names")
    monkeypatch.chdir(folder)
    with pytest.raises(ConfigError, match=r"save_path: '.*folder\\udcff/here' is not UTF-8"):
        check_path("save_path", "here")
    check_path("save_path", "/tmp")
    folder.rmdir()  # a folder that is gone has no name
    check_path("save_path", "here")


def test_single_values_are_checked_by_name() -> None:
    with pytest.raises(TypeError, match=r"rate: must be a whole number, not 0\.5"):
        check_number("rate", 0.5)
    with pytest.raises(TypeError, match="save_path: must be a path, not None"):
        check_path("save_path", None)
