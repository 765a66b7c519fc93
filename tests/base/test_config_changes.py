"""Which fields of two configurations differ, and how some are taken over."""

from dataclasses import replace

import pytest

from torrent_engine.base.config import PoolConfig, SharedConfig
from torrent_engine.base.config.changes import changed_fields, with_fields

OLD = SharedConfig()
NEW = replace(OLD, listen_port=7000, pool=replace(OLD.pool, ban_s=5.0, max_connections=9))


def test_fields_are_named_with_their_place() -> None:
    assert changed_fields(OLD, NEW) == ("listen_port", "pool.max_connections", "pool.ban_s")
    assert changed_fields(OLD, OLD) == ()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), OLD),
        (("listen_port",), replace(OLD, listen_port=7000)),
        (("pool.ban_s",), replace(OLD, pool=PoolConfig(ban_s=5.0))),
        (("pool",), replace(OLD, pool=NEW.pool)),
        (changed_fields(OLD, NEW), NEW),
    ],
)
def test_only_named_fields_are_taken(names: tuple[str, ...], expected: SharedConfig) -> None:
    assert with_fields(OLD, NEW, names) == expected
