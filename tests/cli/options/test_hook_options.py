"""Usage errors of --on-complete, on the command line and in the configuration file."""

import os
from pathlib import Path

import pytest

from tests.cli.options.test_config_file import params_of
from tests.cli.test_mistakes import invoke
from torrent_engine.cli.output.exit_codes import ExitCode


def program(folder: Path, name: str = "hook", *, mode: int = 0o755) -> Path:
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


@pytest.mark.parametrize("command", ["download", "run"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "there is no such program; give its path"),
        ("missing/hook", "is no file"),
        (".", "there is no such program; give its path"),
        ("./", "is no file"),
        ("no-program-is-called-so", "there is no such program; give its path"),
        ("./plain", "is not executable"),
    ],
)
def test_what_is_no_program_is_a_usage_error(
    command: str, name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "plain", mode=0o644)
    monkeypatch.chdir(tmp_path)
    result = invoke(command, "x.torrent", "--on-complete", name)
    assert result.exit_code == ExitCode.BAD_OPTION
    assert f"'--on-complete': {name!r}: {message}" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("value", ["", "x", "-1", "1y"])
def test_a_time_limit_that_is_none_is_a_usage_error(value: str, tmp_path: Path) -> None:
    hook = program(tmp_path)
    arguments = ["--on-complete", hook, "--on-complete-timeout", value]
    result = invoke("run", *arguments, "--state-dir", tmp_path)
    assert result.exit_code == ExitCode.BAD_OPTION
    assert "--on-complete-timeout" in result.stderr


@pytest.mark.parametrize("command", ["download", "run"])
def test_the_program_can_be_named_in_the_configuration_file(command: str, tmp_path: Path) -> None:
    hook, config = program(tmp_path), tmp_path / "config.toml"
    config.write_text(f'[{command}]\non-complete = "{hook}"\non-complete-timeout = "5m"\n')
    params = params_of(config, command, "x.torrent")
    assert (params["on_complete"], params["on_complete_timeout"]) == (hook, 300.0)


def test_a_program_in_path_or_in_the_home_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook, config = program(tmp_path), tmp_path / "config.toml"
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    for text in ("hook", "~/hook"):
        config.write_text(f'[common]\non-complete = "{text}"\n')
        assert params_of(config, "run")["on_complete"] == hook


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('"/nowhere/hook"', "on-complete in [run]: '/nowhere/hook': is no file"),
        ('"plain"', "on-complete in [run]: 'plain': there is no such program"),
        ('"{folder}/plain"', "/plain': is not executable"),
        ("true", "on-complete in [run]: text or a number is needed, not true or false"),
        ('["a", "b"]', "on-complete in [run]: text or a number is needed, not a list"),
    ],
)
def test_a_key_that_names_no_program_is_a_usage_error(
    value: str, message: str, tmp_path: Path
) -> None:
    program(tmp_path, "plain", mode=0o644)
    config = tmp_path / "config.toml"
    config.write_text(f"[run]\non-complete = {value.format(folder=tmp_path)}\n")
    result = invoke("run", "--config", config, "--state-dir", tmp_path)
    assert result.exit_code == ExitCode.BAD_OPTION
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
