"""Settings that change at run time: overlay, origins, pins, all or none, and the schema."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.errors import ConfigError
from torrent_engine.daemon.settings.engine_config import (
    manager_config,
    parse_node,
    parse_proxy,
    present_rates,
)
from torrent_engine.daemon.settings.fields import Applies
from torrent_engine.daemon.settings.loading import Places
from torrent_engine.daemon.settings.merge import Merged
from torrent_engine.daemon.settings.model import SPECS, DaemonSettings
from torrent_engine.daemon.settings.overlay import MemoryOverlay
from torrent_engine.daemon.settings.schema import settings_schema
from torrent_engine.daemon.settings.store import (
    PinnedError,
    SettingsChange,
    SettingsStore,
    UnknownSettingError,
)

KEY = "limits.download_kb_s"


def store(
    *options: str,
    table: MemoryOverlay | None = None,
    config: Path | None = None,
    **parts: Any,
) -> SettingsStore:
    places = Places({"XDG_CONFIG_HOME": "/nonexistent"}, options, config, Path("/nonexistent/a"))
    return SettingsStore(places, table, now=lambda: 1_000.0, **parts)


def test_changed_setting_shows_its_origin_and_outlives_the_process() -> None:
    table = MemoryOverlay()
    settings = store(table=table)
    change = settings.change({KEY: 500, "listen.hosts": ["nas"]}, "phone")
    assert change == SettingsChange(live=frozenset({KEY, "listen.hosts"}))
    again = store(table=table)
    assert again.now.limits.download_kb_s == 500
    assert again.now.listen.hosts == ("nas",)
    view = again.view(KEY)
    assert (view.value, view.origin, view.changed_by, view.changed_at) == (
        500,
        "changed at run time",
        "phone",
        1_000.0,
    )
    assert again.reset(KEY).live == {KEY}
    assert again.view(KEY).origin == "default"
    assert store(table=table).now.limits.download_kb_s == 0


def test_table_that_is_empty_is_used_all_the_same() -> None:
    """A table that tells its length is false while it is empty."""

    class Sized(MemoryOverlay):
        def __len__(self) -> int:
            return len(list(self.items()))

    table = Sized()
    store(table=table).change({KEY: 1}, "a")
    assert len(table) == 1


def test_null_resets_a_setting_that_has_no_empty_value() -> None:
    settings = store()
    settings.change({KEY: 500, "seeding.ratio": 2.0}, "a")
    settings.change({KEY: None, "seeding.ratio": None}, "a")
    assert settings.view(KEY).origin == "default"
    assert settings.now.seeding.ratio is None
    assert settings.view("seeding.ratio").origin == "changed at run time"


def test_pinned_setting_cannot_be_changed_and_says_by_what() -> None:
    settings = store(f"{KEY}=7")
    with pytest.raises(PinnedError, match="given by the command line"):
        settings.change({KEY: 500}, "a")
    assert settings.view(KEY).is_pinned
    assert settings.now.limits.download_kb_s == 7


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({KEY: -1}, ConfigError, "0 or more"),
        ({KEY: True}, ConfigError, "a whole number"),
        ({KEY: "5"}, ConfigError, "a whole number"),
        ({KEY: 1.5}, ConfigError, "a whole number"),
        ({"limits.download": 1}, UnknownSettingError, "the nearest is 'limits.download_kb_s'"),
        ({"network.encryption": "x"}, ConfigError, "one of"),
        ({"auth.password": "x"}, ConfigError, "configuration file only"),
        ({"listen.address": "0.0.0.0:80"}, ConfigError, "configuration file only"),
        ({"seeding.ratio": float("nan")}, ConfigError, "0 or more"),
        ({"seeding.ratio": float("inf")}, ConfigError, "a finite number"),
        ({"seeding.ratio": 10**400}, ConfigError, "or less"),
        ({"seeding.time_min": 10**30}, ConfigError, "or less"),
        ({"auth.user": "a\0"}, ConfigError, "control characters"),
        ({"paths.incomplete": "/a\0"}, ConfigError, "control characters"),
        ({"listen.hosts": ["a", "\ud800"]}, ConfigError, "control characters"),
    ],
)
def test_wrong_value_is_refused_and_nothing_of_the_request_is_done(
    values: dict[str, Any], error: type[Exception], words: str
) -> None:
    settings = store()
    heard: list[SettingsChange] = []
    settings.listen(heard.append)
    with pytest.raises(error, match=words):
        settings.change({"limits.upload_kb_s": 9, **values}, "a")
    assert settings.now == DaemonSettings()
    assert heard == []


def test_settings_that_do_not_go_together_are_refused_and_not_kept() -> None:
    def check(merged: Merged) -> None:
        if merged.settings.limits.peers < merged.settings.limits.peers_per_torrent:
            raise ConfigError("limits.peers: fewer than those of one torrent")

    table = MemoryOverlay()
    settings = store(table=table, check=check)
    with pytest.raises(ConfigError, match="fewer than"):
        settings.change({"limits.peers": 10}, "a")
    assert list(table.items()) == []
    assert settings.change({"limits.peers": 10, "limits.peers_per_torrent": 5}, "a")


def test_file_only_settings_are_changed_by_the_own_command() -> None:
    settings = store()
    settings.change({"auth.password_hash": "scrypt$..."}, "a", is_local=True)
    assert settings.now.auth.password_hash == "scrypt$..."
    assert settings.view("auth.password_hash").value == "********"


def test_reload_takes_what_changed_in_the_file_and_nothing_of_a_wrong_one(tmp_path: Path) -> None:
    file = tmp_path / "daemon.toml"
    file.write_text("[limits]\nupload_kb_s = 1\n[network]\nport = 1000\n")
    settings = store(config=file)
    settings.change({KEY: 5}, "a")
    heard: list[SettingsChange] = []
    settings.listen(heard.append)
    file.write_text("[limits]\nupload_kb_s = 2\n[network]\nport = 2000\n[metrics]\nenabled=false\n")
    change = settings.reload()
    assert change == SettingsChange(
        live=frozenset({"limits.upload_kb_s"}),
        restart=frozenset({"network.port"}),
        process=frozenset({"metrics.enabled"}),
    )
    assert heard == [change]
    assert settings.now.limits.download_kb_s == 5
    file.write_text("[limits]\nupload_kb_s = 'x'\n")
    with pytest.raises(ConfigError, match="upload_kb_s"):
        settings.reload()
    assert settings.now.limits.upload_kb_s == 2
    assert len(heard) == 1


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ('[[watch]]\nfolder = "/in"\n', SettingsChange(live=frozenset({"watch"}))),
        ('[[category]]\nname = "tv"\n', SettingsChange(live=frozenset({"category"}))),
        ('[[blocklist]]\nfile = "/a"\n', SettingsChange(restart=frozenset({"blocklist"}))),
        (
            '[[hook]]\nevent = "disk_low"\ncommand = ["/bin/true"]\n',
            SettingsChange(restart=frozenset({"hook"})),
        ),
        ('[[listeners]]\naddress = "[::1]:1"\n', SettingsChange(process=frozenset({"listeners"}))),
    ],
    ids=["watch", "category", "blocklist", "hook", "listeners"],
)
def test_tables_that_changed_are_named(tmp_path: Path, table: str, change: SettingsChange) -> None:
    file = tmp_path / "daemon.toml"
    file.write_text("")
    settings = store(config=file)
    file.write_text(table)
    assert settings.reload() == change
    assert not settings.reload()


def test_damaged_or_newer_overlay_is_left_out() -> None:
    table = MemoryOverlay()
    for key, value in (
        (KEY, {"value": "x", "changed_at": 1.0, "by": "a"}),
        ("future.key", {"value": 1, "changed_at": 1.0, "by": "a"}),
        ("limits.upload_kb_s", 5),
        ("queue.downloads", {"value": 3, "changed_at": 1.0, "by": "a"}),
    ):
        table.put(key, value)
    settings = store(table=table)
    assert settings.now.limits == DaemonSettings().limits
    assert settings.now.queue.downloads == 3


def test_revision_moves_with_every_change_and_only_then() -> None:
    settings = store()
    before = settings.revision
    settings.change({KEY: 0}, "a")
    assert settings.revision == before
    settings.change({KEY: 1}, "a")
    assert settings.revision == before + 1


@pytest.mark.parametrize("key", SPECS)
def test_every_setting_has_an_origin_and_is_changed_pinned_or_kept_from_interfaces(
    key: str,
) -> None:
    spec = SPECS[key]
    other = other_value(key)
    settings = store()
    assert settings.view(key).origin == "default"
    if spec.meaning.is_file_only:
        with pytest.raises(ConfigError, match="configuration file only"):
            settings.change({key: other}, "a")
    change = settings.change({key: other}, "a", is_local=True)
    own = {Applies.LIVE: change.live, Applies.RESTART: change.restart,
           Applies.PROCESS: change.process}  # fmt: skip
    assert own.pop(spec.meaning.applies) == {key}
    assert not any(own.values())
    assert settings.view(key).origin == "changed at run time"
    text = ",".join(other) if isinstance(other, list) else str(other)
    pinned = store(f"{key}={text}")
    with pytest.raises(PinnedError):
        pinned.change({key: other}, "a", is_local=True)


def other_value(key: str) -> Any:
    """Return a value of a setting that is not its default."""
    spec = SPECS[key]
    if spec.meaning.choices:
        return next(each for each in spec.meaning.choices if each != spec.default)
    if spec.kind is bool:
        return not spec.default
    if spec.kind in {int, float}:
        low = spec.meaning.minimum or 0
        return spec.kind(low + 1 if low + 1 != spec.default else low)
    return ["other"] if spec.kind is tuple else "other"


# -- schema ----------------------------------------------------------------------------------------


TYPES: dict[str, type | tuple[type, ...]] = {
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "string": str,
    "array": list,
    "null": type(None),
}


@pytest.mark.parametrize("key", SPECS)
def test_schema_describes_the_default_and_another_value_of_every_setting(key: str) -> None:
    described = settings_schema()["properties"][key]
    names = described["type"] if isinstance(described["type"], list) else [described["type"]]
    kinds = tuple(TYPES[name] for name in names)
    for value in (described["default"], other_value(key)):
        assert isinstance(value, kinds)
        assert value in described.get("enum", [value])
        if isinstance(value, int | float) and not isinstance(value, bool):
            assert described.get("minimum", value) <= value <= described.get("maximum", value)
    assert described["description"] == SPECS[key].meaning.text


def test_schema_has_every_setting_and_no_more() -> None:
    schema = settings_schema()
    assert set(schema["properties"]) == set(SPECS)
    assert schema["additionalProperties"] is False
    assert schema["properties"]["auth.password"]["writeOnly"] is True


# -- the engine ------------------------------------------------------------------------------------


def test_engine_gets_what_is_set(tmp_path: Path) -> None:
    settings = store(
        "network.port=7000",
        "network.dht=false",
        "network.dht_bootstrap=here.example:7001,[::1]:7002",
        "network.utp=false",
        "network.encryption=required",
        "network.proxy=socks5://user:p%40ss@proxy.example:1080",
        "limits.download_kb_s=10",
        "limits.peers=77",
        "queue.downloads=3",
        "seeding.ratio=1.5",
        "seeding.time_min=2",
        f"paths.download={tmp_path}/d",
    ).now
    config = manager_config(settings, tmp_path)
    shared = config.shared
    assert (shared.listen_port, shared.dht.enabled, shared.pool.max_connections) == (
        7000,
        False,
        77,
    )
    assert shared.dht.bootstrap == (("here.example", 7_001), ("::1", 7_002))
    assert (shared.network.utp.incoming, shared.network.utp.outgoing) == (False, False)
    assert shared.network.encryption.outgoing.value == "required"
    assert shared.network.proxy is not None
    assert (shared.network.proxy.username, shared.network.proxy.password) == ("user", "p@ss")
    assert shared.max_download_bytes_per_s == 10_000
    assert (shared.seeding.seed_ratio, shared.seeding.seed_time_s) == (1.5, 120.0)
    assert config.queue.max_active_downloads == 3
    assert str(config.save_path) == f"{tmp_path}/d"
    assert str(shared.state_dir) == str(tmp_path)


def test_alternative_rates_hold_while_they_are_on() -> None:
    settings = store("limits.alt_enabled=true", "limits.alt_download_kb_s=1").now
    assert present_rates(settings) == (1_000, 50_000)
    assert present_rates(DaemonSettings()) == (0, 0)


@pytest.mark.parametrize("url", ["x", "ftp://h:1", "socks5://h", "http://:80", "http://s3cret@h:x"])
def test_wrong_proxy_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError, match=r"network\.proxy") as wrong:
        parse_proxy(url)
    assert "s3cret" not in str(wrong.value)


WRONG_NODES = (
    *("x", ":1", "h:", "h:0", "h:65536", "h:-1", "h:\u0661", "h:123456", "a b:1", " h:1", "h:1/"),
    *("::1:5", "[::1]", "[h]:1", "http://h:1", "u@h:1"),
)


@pytest.mark.parametrize("text", WRONG_NODES)
def test_wrong_node_to_enter_the_dht_by_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"network\.dht_bootstrap"):
        parse_node(text)


@given(st.text(max_size=30) | st.from_regex(r"[\[\]0-9a-f:.]{0,12}:[0-9]{0,6}", fullmatch=True))
def test_any_text_is_a_node_or_refused(text: str) -> None:
    with suppress(ConfigError):
        host, port = parse_node(text)
        assert host
        assert 0 < port < 65_536


def test_dht_is_entered_by_public_nodes_unless_others_are_named(tmp_path: Path) -> None:
    shared = manager_config(store().now, tmp_path).shared
    assert shared.dht.bootstrap == DhtConfig().bootstrap
