"""Help pages: sections, widths, and the defaults that they name."""

from collections import Counter

import click
import pytest

from tests.cli.options.test_config_file import all_commands
from torrent_engine.cli.options.sections import SECTIONS, SectionedCommand, sections_of

COMMANDS = all_commands()
SECTIONED = {path: each for path, each in COMMANDS.items() if isinstance(each, SectionedCommand)}
MANY_OPTIONS = 15


def context_of(path: tuple[str, ...], command: click.Command) -> click.Context:
    name = " ".join(("torrent-engine", *path))
    return click.Context(command, info_name=name, help_option_names=["-h", "--help"])


def help_of(path: tuple[str, ...]) -> str:
    with context_of(path, COMMANDS[path]) as context:
        return COMMANDS[path].get_help(context)


def test_every_command_with_many_options_has_sections() -> None:
    def count(command: click.Command) -> int:
        return sum(isinstance(option, click.Option) for option in command.params)

    many = {path for path, command in COMMANDS.items() if count(command) > MANY_OPTIONS}
    assert many == set(SECTIONED)
    assert {("download",), ("seed",), ("run",)} <= many


@pytest.mark.parametrize("path", SECTIONED, ids=".".join)
def test_every_option_is_listed_once_and_under_a_heading_of_its_own_choice(
    path: tuple[str, ...],
) -> None:
    command = SECTIONED[path]
    with context_of(path, command) as context:
        listed = [each for _, options in sections_of(command, context) for each in options]
        expected = [p for p in command.get_params(context) if isinstance(p, click.Option)]
    assert sorted(map(str, listed)) == sorted(map(str, expected))
    named = {name for _, names in SECTIONS for name in names}
    left = [option.opts[-1] for option in listed if option.name not in named]
    assert left == ["--help"]


def test_every_name_of_a_section_is_that_of_an_option_and_in_one_section() -> None:
    names = Counter(name for _, names in SECTIONS for name in names)
    assert [name for name, count in names.items() if count > 1] == []
    known = {option.name for command in SECTIONED.values() for option in command.params}
    assert set(names) - known == set()


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: ".".join(path) or "program")
@pytest.mark.parametrize("width", [60, 80, 200])
def test_every_line_of_a_help_page_fits_the_terminal(
    path: tuple[str, ...], width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("LINES", "24")
    lines = help_of(path).splitlines()
    assert [line for line in lines if len(line) > min(width, 80)] == []
    assert sum("--help" in line for line in lines) >= 1


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: ".".join(path) or "program")
def test_the_default_of_every_option_with_a_value_is_told(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    with context_of(path, command) as context:
        untold = [
            option.opts
            for option in command.params
            if isinstance(option, click.Option)
            and not (option.is_flag or option.multiple or option.required)
            and "[default: " not in (option.get_help_record(context) or ("", ""))[1]
        ]
    assert untold == []


@pytest.mark.parametrize(
    ("command", "default"), [("download", "do not seed"), ("seed", "no limit"), ("run", "no limit")]
)
def test_the_defaults_of_the_seeding_rules_differ(command: str, default: str) -> None:
    text = " ".join(help_of((command,)).split())
    section = text.split(" Seeding: ")[1].split(" Limits: ")[0]
    assert section.count(f"[default: {default}]") == 3
