"""The one line that is printed of an error."""

import os
from pathlib import Path

import pytest

from torrent_engine.base.errors import (
    FileInUseError,
    ForeignFileError,
    HiddenNameError,
    StorageError,
)
from torrent_engine.cli.output.exit_codes import ExitCode, exit_code_of, message_of
from torrent_engine.disk.files.disk_files import _FOREIGN
from torrent_engine.disk.safe_open import HAS_DIR_FD, Folder


@pytest.mark.skipif(not HAS_DIR_FD, reason="links need descriptors of folders")
def test_a_link_that_is_not_written_through_names_the_option(tmp_path: Path) -> None:
    (tmp_path / "save/top").mkdir(parents=True)
    (tmp_path / "else").mkdir()
    (tmp_path / "save/top/sub").symlink_to(tmp_path / "else")
    folder = Folder(tmp_path / "save", create=False)
    with folder.accepting_links():
        folder.is_link(("top", "sub", "a"))
        with pytest.raises(StorageError) as raised:
            folder.open_file(("top", "sub", "a"), os.O_RDWR | os.O_CREAT)
    folder.close()
    assert message_of(raised.value).endswith("not written through without --follow-links")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "out of memory"),
        (RuntimeError("can't start new thread"), "the system has no more threads"),
        (ExceptionGroup("", [MemoryError()]), "out of memory"),
    ],
)
def test_what_the_system_has_no_more_of_is_no_bug(error: Exception, message: str) -> None:
    assert (message_of(error), exit_code_of(error)) == (message, ExitCode.IO_ERROR)
    assert message_of(RuntimeError("other")).startswith("unexpected RuntimeError: other")
    assert exit_code_of(RuntimeError("other")) is ExitCode.UNKNOWN


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (ForeignFileError("a", _FOREIGN), "not overwritten without --overwrite"),
        (FileInUseError("a", bytes(20), may_overwrite=True), "not overwritten without --overwrite"),
        (FileInUseError("a", bytes(20)), f"is a file of torrent {'00' * 20}, too"),
        (HiddenNameError("a", "not created without allow_hidden"), "without --allow-hidden"),
        (StorageError("a", "overwrite is a word"), "a: overwrite is a word"),
    ],
)
def test_a_setting_that_would_allow_it_is_named_as_an_option(error: StorageError, end: str) -> None:
    assert message_of(error).endswith(end)
