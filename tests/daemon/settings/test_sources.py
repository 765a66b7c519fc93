"""Settings from files, the environment and options: precedence, types, and every error at once."""

from pathlib import Path

import pytest

from torrent_engine.base.errors import ConfigError
from torrent_engine.daemon.settings.loading import (
    Places,
    SettingsError,
    config_files,
    load,
    state_folder,
)
from torrent_engine.daemon.settings.model import SPECS
from torrent_engine.daemon.settings.sources import read_environment, read_file, read_options

NOWHERE = Path("/nonexistent/daemon.toml")


def toml(folder: Path, text: str, name: str = "daemon.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def places(config: Path | None = None, *options: str, **environment: str) -> Places:
    return Places({"XDG_CONFIG_HOME": "/nonexistent", **environment}, options, config, NOWHERE)


def test_option_comes_before_environment_before_overlay_before_file_before_default(
    tmp_path: Path,
) -> None:
    key = "limits.download_kb_s"
    file = toml(tmp_path, "[limits]\ndownload_kb_s = 1\n")
    variable = {"TORRENT_ENGINE_LIMITS__DOWNLOAD_KB_S": "3"}
    everything = load(places(file, f"{key}=4", **variable), {key: 2})
    assert (everything.settings.limits.download_kb_s, everything.origins[key]) == (
        4,
        "command line",
    )
    assert key in everything.pinned
    no_option = load(places(file, **variable), {key: 2})
    assert (no_option.values[key], no_option.origins[key]) == (3, "environment")
    assert key in no_option.pinned
    changed = load(places(file), {key: 2})
    assert (changed.values[key], changed.origins[key]) == (2, "changed at run time")
    assert key not in changed.pinned
    assert load(places(file)).values[key] == 1
    assert load(places(file)).origins[key] == str(file)
    assert (load(places()).values[key], load(places()).origins[key]) == (0, "default")


def test_file_of_the_user_comes_before_that_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "torrent_engine").mkdir()
    user = toml(tmp_path / "torrent_engine", "[limits]\ndownload_kb_s = 1\n")
    system = toml(tmp_path, "[limits]\ndownload_kb_s = 2\nupload_kb_s = 3\n")
    both = Places({"XDG_CONFIG_HOME": str(tmp_path)}, system_file=system)
    assert config_files(both) == [user, system]
    limits = load(both).settings.limits
    assert (limits.download_kb_s, limits.upload_kb_s) == (1, 3)


def test_file_that_was_named_is_the_only_one_and_must_be_there(tmp_path: Path) -> None:
    named = toml(tmp_path, "", "named.toml")
    assert config_files(places(named)) == [named]
    by_variable = places(TORRENT_ENGINE_DAEMON_CONFIG=str(named))
    assert config_files(by_variable) == [named]
    with pytest.raises(SettingsError, match="No such file"):
        load(places(tmp_path / "missing.toml"))


def test_everything_that_is_wrong_is_told_at_once_with_the_nearest_name(tmp_path: Path) -> None:
    file = toml(
        tmp_path,
        """
        [limit]
        [limits]
        download_kbs = 1
        upload_kb_s = "fast"
        peers = 0
        [network]
        dht = 1
        encryption = "sometimes"
        [listen]
        hosts = "nas"
        [[watch]]
        folder = "/w"
        labls = ["a"]
        [[hook]]
        event = "torrent_complete"
        command = ["/bin/true"]
        [[category]]
        save_path = "/x"
        """,
    )
    environment = {
        "TORRENT_ENGINE_QUEUE__DOWNLOADS": "many",
        "TORRENT_ENGINE_QUEUE__DOWNLOAD": "1",
    }
    with pytest.raises(SettingsError) as wrong:
        load(places(file, "seeding.ratio=NaN", "seeding=1", "no equals", **environment))
    found = "\n".join(wrong.value.errors)
    for expected in (
        "there is no section 'limit'; the nearest is 'limits'",
        "[limits]: there is no setting 'download_kbs'; the nearest is 'download_kb_s'",
        "limits.upload_kb_s: 'fast': a whole number is needed",
        "limits.peers: 0: 1 or more is needed",
        "network.dht: 1: true or false is needed",
        "network.encryption: 'sometimes': one of 'disabled'",
        "listen.hosts: 'nas': a list of texts is needed",
        "[[watch]] 1: there is no setting 'labls'; the nearest is 'labels'",
        "[[hook]] 1: event: one of",
        "[[category]] 1: name: is missing",
        "QUEUE__DOWNLOADS: 'many': a whole number is needed",
        "QUEUE__DOWNLOAD: there is no setting 'queue.download'; the nearest is 'queue.downloads'",
        "seeding.ratio: 'NaN': 0 or more is needed",
        "there is no setting 'seeding'",
        "there is no setting 'no equals'; it is KEY=VALUE",
    ):
        assert expected in found, expected
    assert len(wrong.value.errors) == 15


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[limits\n", "Expected"),
        ("limits = 1\n", "is a section: [limits]"),
        ("[watch]\nfolder = 'a'\n", "is a list of tables: [[watch]]"),
        ("watch = [1]\n", "is a list of tables: [[watch]]"),
        ("a = '\x00'\n", "line 1"),
        ("#" * 1_100_000, "is longer than"),
    ],
)
def test_file_that_is_no_configuration_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    source = read_file(toml(tmp_path, text))
    assert reason in source.errors[0]
    assert source.values == {}


def test_variable_of_a_file_reads_it_and_a_secret_is_never_repeated(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    source = read_environment(
        {"TORRENT_ENGINE_AUTH__PASSWORD_FILE": str(tmp_path / "password"), "OTHER__VARIABLE": "1"}
    )
    assert source.values == {"auth.password": "s3cret"}
    missing = read_environment({"TORRENT_ENGINE_AUTH__PASSWORD_FILE": str(tmp_path / "missing")})
    assert "No such file" in missing.errors[0]
    file = toml(tmp_path, "[network]\nproxy = 5\n[auth]\npassword = ['s3cret']\n")
    assert "s3cret" not in "".join(read_file(file).errors)
    assert len(read_file(file).errors) == 2


def test_variables_of_other_commands_are_left_alone() -> None:
    source = read_environment({"TORRENT_ENGINE_NO_DHT": "1", "TORRENT_ENGINE_CONFIG": "x"})
    assert (source.values, source.errors) == ({}, [])


@pytest.mark.parametrize(
    ("assignment", "key", "value"),
    [
        ("network.dht=off", "network.dht", False),
        ("network.dht=TRUE", "network.dht", True),
        ("listen.hosts=a, b,,c", "listen.hosts", ("a", "b", "c")),
        ("listen.hosts=", "listen.hosts", ()),
        ("seeding.ratio=1.5", "seeding.ratio", 1.5),
        ("seeding.ratio=2", "seeding.ratio", 2.0),
        ("seeding.ratio=none", "seeding.ratio", None),
        ("seeding.time_min=", "seeding.time_min", None),
        ("limits.download_kb_s=1_000", "limits.download_kb_s", 1000),
        ("paths.download=a=b", "paths.download", "a=b"),
    ],
)
def test_option_is_read_by_the_type_of_its_setting(
    assignment: str, key: str, value: object
) -> None:
    source = read_options([assignment])
    assert source.errors == []
    assert source.values == {key: value}


@pytest.mark.parametrize("key", SPECS)
def test_every_setting_can_be_given_in_each_way(tmp_path: Path, key: str) -> None:
    """The default of each setting, written down, is read back as it is."""
    spec = SPECS[key]
    section, _, name = key.partition(".")
    if spec.default is None:
        return_value: object = spec.kind(1)
    else:
        return_value = spec.default
    text = ",".join(return_value) if isinstance(return_value, tuple) else str(return_value)
    assert read_options([f"{key}={text}"]).values == {key: return_value}
    variable = f"TORRENT_ENGINE_{section}__{name}".upper()
    assert read_environment({variable: text}).values == {key: return_value}
    quoted = f"'{return_value}'" if isinstance(return_value, str) else text.lower()
    if isinstance(return_value, tuple):
        quoted = str(list(return_value))
    assert read_file(toml(tmp_path, f"[{section}]\n{name} = {quoted}\n")).values == {
        key: return_value
    }
    assert spec.meaning.text.endswith(".")


def test_lists_of_tables_are_those_of_the_first_file_that_has_them(tmp_path: Path) -> None:
    (tmp_path / "torrent_engine").mkdir()
    toml(
        tmp_path / "torrent_engine",
        "[[watch]]\nfolder = '/a'\nlabels = ['x']\n[[watch]]\nfolder = '/b'\npaused = true\n",
    )
    system = toml(tmp_path, "[[watch]]\nfolder = '/c'\n[[category]]\nname = 'tv'\nratio = 2\n")
    tables = load(Places({"XDG_CONFIG_HOME": str(tmp_path)}, system_file=system)).tables
    assert [(each.folder, each.labels, each.paused) for each in tables.watch] == [
        ("/a", ("x",), False),
        ("/b", (), True),
    ]
    assert [(each.name, each.ratio) for each in tables.category] == [("tv", 2.0)]


def test_state_folder_is_that_of_option_variable_systemd_or_user(tmp_path: Path) -> None:
    default = tmp_path / "default"
    systemd = {"STATE_DIRECTORY": "/var/lib/torrent_engine:/var/lib/other"}
    variable = {**systemd, "TORRENT_ENGINE_STATE_DIR": "/srv/state"}
    assert state_folder({}, None, default) == default
    assert state_folder(systemd, None, default) == Path("/var/lib/torrent_engine")
    assert state_folder(variable, None, default) == Path("/srv/state")
    assert state_folder(variable, tmp_path / "option", default) == tmp_path / "option"


def test_settings_error_is_a_configuration_error() -> None:
    assert issubclass(SettingsError, ConfigError)
    assert str(SettingsError(["a", "b"])) == "a; b"
