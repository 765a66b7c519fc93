"""The configuration file: values for options, behind the command line and the environment."""

import tomllib
from pathlib import Path
from typing import Any

import click
import pytest

from tests.cli.test_mistakes import invoke
from torrent_engine.cli.main import cli
from torrent_engine.cli.options.config_file import default_path, defaults_of, keys_of
from torrent_engine.cli.output.exit_codes import CliError, ExitCode

GUIDE = (Path(__file__).parents[3] / "docs/how-to/command-line.md").read_text()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def params_of(config: Path, *arguments: str) -> dict[str, Any]:
    """Return what a command is told by its arguments and a configuration file."""
    with cli.make_context("x", ["--config", str(config), *arguments]) as root:
        context: click.Context = root
        words = [*context._protected_args, *context.args]
        while isinstance(group := context.command, click.Group):
            name, command, words = group.resolve_command(context, words)
            assert command is not None
            context = command.make_context(name, words, parent=context)
            words = [*context._protected_args, *context.args]
        return context.params


def all_commands(
    command: click.Command = cli, path: tuple[str, ...] = ()
) -> dict[tuple[str, ...], click.Command]:
    found = {path: command}
    if isinstance(command, click.Group):
        with click.Context(command) as context:
            for name in command.list_commands(context):
                below = command.get_command(context, name)
                assert below is not None
                found |= all_commands(below, (*path, name))
    return found


def sample_of(option: click.Option) -> object:
    """Return a value that a configuration file may have for an option."""
    if option.is_flag:
        return True
    if isinstance(option.type, click.Choice):
        return option.type.choices[0]
    if isinstance(option.type, click.Path) and option.type.exists:
        return "."
    if isinstance(option.type, click.Path | click.types.StringParamType):
        return "x"
    for value in (1, "1.2.3.4:5", "1.2.3.4", "rc4", "tcp", "x", "0" * 40, "tracker.*", "peers"):
        try:
            option.type.convert(str(value), option, None)
        except click.BadParameter:
            continue
        return value
    return None


def test_every_command_takes_a_configuration_file() -> None:
    without = [
        path
        for path, command in all_commands().items()
        if "config" not in {option.name for option in command.params}
        # The settings of the daemon are in a file of their own; the kit tries other programs.
        and path[:1] not in {("daemon",), ("conformance",), ("stream",)}
    ]
    assert without == []


@pytest.mark.parametrize("path", [path for path in all_commands() if path], ids=".".join)
def test_every_option_of_every_command_can_stand_in_the_file(
    path: tuple[str, ...], config: Path
) -> None:
    command = all_commands()[path]
    keys = {key: sample_of(option) for key, option in keys_of(command).items()}
    keys = {key: value for key, value in keys.items() if value is not None}
    shown = (
        f"{key} = {str(value).lower() if value is True else repr(value)}\n"
        for key, value in keys.items()
    )
    config.write_text(f"[{'.'.join(path)}]\n{''.join(shown)}")
    with cli.make_context("x", [], resilient_parsing=True) as root:
        context: click.Context = root
        for name in path:
            group = context.command
            assert isinstance(group, click.Group)
            below = group.get_command(context, name)
            assert below is not None
            context = click.Context(below, parent=context, info_name=name)
        values = defaults_of(context, config)
    options = {option.name for option in command.params if isinstance(option, click.Option)}
    assert values is not None
    assert set(values) == {keys_of(command)[key].name for key in keys}
    assert options - set(values) <= {"config"} | {
        option.name for option in keys_of(command).values() if sample_of(option) is None
    }


def test_a_value_of_the_file_is_read_as_one_of_the_command_line(config: Path) -> None:
    config.write_text(
        '[download]\nport = 7000\nmax-download-limit = "5M"\nsequential = true\n'
        'dht-bootstrap = ["1.2.3.4:5", "5.6.7.8:9"]\nseed-ratio = 1.5\nmulti = false\n'
        'tracker = "http://a/announce"\nsave-path = "~/there"\n'
    )
    params = params_of(config, "download", "x")
    assert (params["port"], params["max_download"], params["sequential"]) == (7000, 5 << 20, True)
    assert [node.port for node in params["dht_bootstrap"]] == [5, 9]
    assert (params["seed_ratio"], params["multi"]) == (1.5, False)
    assert params["trackers"] == ("http://a/announce",)
    assert params["folder"] == Path("~/there").expanduser()


def test_the_command_line_comes_before_the_environment_and_that_before_the_file(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text('[common]\nmax-torrent-size = "1M"\nno-dht = false\n')
    monkeypatch.delenv("TORRENT_ENGINE_NO_DHT")
    params = params_of(config, "download", "x")
    assert (params["max_torrent_size"], params["no_dht"]) == (1 << 20, False)
    monkeypatch.setenv("TORRENT_ENGINE_MAX_TORRENT_SIZE", "2M")
    monkeypatch.setenv("TORRENT_ENGINE_NO_DHT", "1")
    params = params_of(config, "download", "x")
    assert (params["max_torrent_size"], params["no_dht"]) == (2 << 20, True)
    params = params_of(config, "download", "x", "--max-torrent-size", "3M")
    assert params["max_torrent_size"] == 3 << 20


def test_the_table_of_a_command_comes_before_the_common_one(config: Path) -> None:
    config.write_text("[download]\nport = 2\n[common]\nport = 1\nfiles = true\n")
    assert params_of(config, "download", "x")["port"] == 2
    assert params_of(config, "seed", "x")["port"] == 1
    assert params_of(config, "show", "x")["what"] == "files"
    config.write_text("[show]\nfiles = false\n")
    assert params_of(config, "show", "x")["what"] is None


def test_a_command_below_another_has_a_table_below_its_own(config: Path) -> None:
    config.write_text("[jobs.list]\njson = true\n")
    assert params_of(config, "jobs", "list")["as_json"] is True
    config.write_text("[jobs.list]\njsno = true\n")
    with pytest.raises(CliError, match=r"no key in \[jobs.list\] is called 'jsno'.*'json'"):
        params_of(config, "jobs", "list")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[download]\nprot = 1\n", "no key in [download] is called 'prot'; the nearest is 'port'"),
        ("[seed]\nsequentail = true", "no key in [seed] is called 'sequentail'"),
        (
            "[common]\nstate-dri = 'x'",
            "no key in [common] is called 'state-dri'; the nearest is 's",
        ),
        ("[downlaod]\nport = 1\n", "no table is called 'downlaod'; the nearest is 'download'"),
        ("port = 1\n", "'port' stands in a table, such as [common]"),
        ("download = 1\n", "'download' is a table: [download]"),
        (
            "[download]\nsequential = 'yes'\n",
            "sequential in [download]: true or false is needed, not text",
        ),
        (
            "[download]\nsequential = 1\n",
            "sequential in [download]: true or false is needed, not a number",
        ),
        ("[download]\nport = true\n", "port in [download]: text or a number is needed, not true"),
        ("[download]\nport = [1]\n", "port in [download]: text or a number is needed, not a list"),
        ("[download]\nport = 1979-05-27\n", "not a time"),
        ("[download]\ndir = 5\n", "dir in [download]: text is needed, not a number"),
        ("[common]\nport = 70000\n", "port in [common]: '70000': a port is a number from 0 to"),
        ("[common\n", "config.toml: is no TOML: "),
        ("a = \xff\n", "config.toml: is no TOML: "),
    ],
)
def test_a_mistake_in_the_file_is_one_line_that_says_where(
    text: str, message: str, config: Path
) -> None:
    config.write_bytes(text.encode("latin-1"))
    result = invoke("download", "nothing.torrent", "--config", config)
    assert result.exit_code == ExitCode.BAD_OPTION
    assert message in result.stderr
    assert str(config) in result.stderr
    assert result.stderr.count("\n") == 1


def test_d4_a_password_in_the_file_is_not_repeated(config: Path) -> None:
    config.write_text("[common]\nproxy = 'socks9://user:sesame@host'\n")
    result = invoke("download", "nothing.torrent", "--config", config)
    assert result.exit_code == ExitCode.BAD_OPTION
    assert "proxy in [common]" in result.stderr
    assert "sesame" not in result.stderr


def test_a_file_that_is_named_must_be_there_the_default_one_need_not(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert invoke("show", "x", "--config", config).exit_code == ExitCode.NOT_FOUND
    monkeypatch.setenv("TORRENT_ENGINE_CONFIG", str(config))
    assert "config.toml: no such file" in invoke("show", "x").stderr
    monkeypatch.setenv("TORRENT_ENGINE_CONFIG", "")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(config.parent))
    assert "x: no such file" in invoke("show", "x").stderr


def test_the_default_file_lies_in_the_configuration_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORRENT_ENGINE_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    default_path().parent.mkdir()
    default_path().write_text("[show]\nwrong = 1\n")
    assert f"{tmp_path}/torrent_engine/config.toml: no key" in invoke("show", "x").stderr
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_path() == tmp_path / ".config" / "torrent_engine" / "config.toml"


def test_the_example_of_the_guide_is_right(config: Path) -> None:
    example = GUIDE.partition("```toml\n")[2].partition("```")[0]
    config.write_text(example)
    assert set(tomllib.loads(example)) == {"common", "run", "dht"}
    params = params_of(config, "run")
    assert (params["max_upload"], params["seed_ratio"], params["no_lsd"]) == (2 << 20, 2.0, True)
    assert params["watched"] == (Path("~/watched").expanduser(),)
