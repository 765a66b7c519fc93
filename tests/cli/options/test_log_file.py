"""--log and --log-level: what is written, and what rotation does to it."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_mistakes import invoke
from torrent_engine.cli.options.log_file import LOGGER, open_log
from torrent_engine.cli.output.exit_codes import ExitCode

LINE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d (INFO|ERROR) torrent_engine\.test (.*)"
)


@pytest.fixture(autouse=True)
def level_as_before() -> Iterator[None]:
    before = LOGGER.level
    yield
    LOGGER.setLevel(before)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """Log to a file for the length of a test."""
    LOGGER.setLevel(logging.INFO)
    close = open_log(tmp_path / "log")
    yield tmp_path / "log"
    close()


def say(message: str, *values: object) -> None:
    logging.getLogger("torrent_engine.test").info(message, *values)


def test_a_line_has_its_time_with_the_zone_and_its_level(log: Path) -> None:
    say("hello %s", "you")
    match = LINE.fullmatch(log.read_text().removesuffix("\n"))
    assert match is not None
    assert match.groups() == ("INFO", "hello you")


def test_what_others_named_begins_no_line_of_its_own(log: Path) -> None:
    say("connected to %s", "x\n2000-01-01 forged\x1b[2J")
    assert log.read_text().count("\n") == 1
    assert "\x1b" not in log.read_text()


def test_a_file_that_was_renamed_away_is_opened_anew(log: Path) -> None:
    say("before")
    log.rename(log.with_suffix(".1"))
    say("after")
    assert "before" in log.with_suffix(".1").read_text()
    assert "after" in log.read_text()
    assert "before" not in log.read_text()


def test_a_file_that_was_cut_short_is_written_from_its_beginning(log: Path) -> None:
    say("before")
    log.write_bytes(b"")
    say("after")
    assert LINE.fullmatch(log.read_text().removesuffix("\n")) is not None


def test_a_log_that_cannot_be_opened_anew_ends_nothing(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log.rename(log.with_suffix(".1"))
    log.mkdir()
    say("lost")
    say("lost, too")
    assert capsys.readouterr().err == ""
    log.rmdir()
    say("found")
    say("as usual")
    words = [line.split(" ", 4)[-1] for line in log.read_text().splitlines()]
    assert words == ["found", "as usual"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no device that is always full")
def test_a_full_disk_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    LOGGER.setLevel(logging.INFO)
    close = open_log(Path("/dev/full"))
    say("lost")
    close()
    assert capsys.readouterr().err == ""
    assert LOGGER.handlers == []


def test_a_new_log_goes_on_behind_the_old_one(tmp_path: Path) -> None:
    LOGGER.setLevel(logging.INFO)
    for text in ("first", "second"):
        close = open_log(tmp_path / "log")
        say(text)
        close()
        say("nobody writes this")
    assert [line.split()[-1] for line in (tmp_path / "log").read_text().splitlines()] == [
        "first",
        "second",
    ]


@pytest.mark.parametrize(
    ("options", "level"),
    [
        ([], logging.INFO),
        (["--log-level", "debug"], logging.DEBUG),
        (["--log-level", "WARNING"], logging.WARNING),
    ],
)
@pytest.mark.parametrize("is_before", [True, False], ids=["before", "behind"])
def test_the_options_choose_file_and_level(
    options: list[str], level: int, *, is_before: bool, tmp_path: Path
) -> None:
    arguments = ["--log", str(tmp_path / "log"), *options]
    words = [*arguments, "show"] if is_before else ["show", *arguments]
    result = invoke(*words, "nothing.torrent")
    assert result.exit_code == ExitCode.NOT_FOUND
    assert LOGGER.level == level
    assert (tmp_path / "log").exists()
    assert LOGGER.handlers == []


def test_both_can_stand_in_the_configuration_file(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f"[common]\nlog = '{tmp_path}/log'\nlog-level = 'error'\n")
    invoke("show", "nothing.torrent", "--config", config)
    assert (tmp_path / "log").exists()
    assert LOGGER.level == logging.ERROR


def test_a_log_that_cannot_be_written_is_a_mistake_at_once(tmp_path: Path) -> None:
    result = invoke("show", "nothing.torrent", "--log", tmp_path / "no" / "log")
    assert result.exit_code == ExitCode.NOT_FOUND
    assert "log: no such file or directory" in result.stderr
    assert "'--log-level'" in invoke("--log-level", "loud", "show", "x").stderr
