"""Links that lead nowhere, in circles or to where nobody may look: they are not in the way."""

import os
from pathlib import Path

from torrent_engine.daemon.common.folder_entries import is_folder_entry
from torrent_engine.daemon.common.web_files import read_page_file
from torrent_engine.daemon.jobs.orphans import _measured, _remove


def test_a_link_in_a_circle_is_no_folder_and_hides_none(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "gone").symlink_to("nothing")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    with os.scandir(tmp_path) as entries:
        found = {entry.name: is_folder_entry(entry) for entry in entries}
    assert found == {"circle": False, "gone": False, "folder": True, "link": True}


def test_a_link_to_where_nothing_can_be_is_an_orphan_like_others(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("n" * 300)
    (one,) = _measured(tmp_path, ["link"])
    assert (one.name, one.size_bytes) == ("link", link.lstat().st_size)
    _remove(link)
    assert not link.is_symlink()


def test_a_web_root_that_cannot_be_looked_at_has_no_page(tmp_path: Path) -> None:
    assert read_page_file(tmp_path / ("n" * 300), "/", is_known=True) is None
