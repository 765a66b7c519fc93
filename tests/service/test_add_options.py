"""One set of options for every way in which torrents are added."""

from pathlib import Path

import pytest

from tests.cli import torrents
from torrent_engine.base.config import SeedingConfig, SessionConfig
from torrent_engine.base.errors import ConfigError
from torrent_engine.base.ids import OwnerTie
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.runs.file_selection import choose_files
from torrent_engine.service.add_options import AddOptions, StopAfter

MAGNET = Magnet.parse("1" * 40)


@pytest.fixture
def metainfo(tmp_path: Path) -> Metainfo:
    return Metainfo.read(torrents.multi(tmp_path))


def test_what_a_call_says_goes_before_its_category_and_that_before_the_defaults() -> None:
    call = AddOptions(save_path="/call", paused=False)
    category = AddOptions(save_path="/category", labels=("a",), paused=True)
    defaults = AddOptions(sequential=True, labels=("b",))
    merged = call.over(category).over(defaults)
    assert merged == AddOptions(save_path="/call", paused=False, labels=("a",), sequential=True)


def test_nothing_said_leaves_the_configuration() -> None:
    base = SessionConfig(sequential=True, seed_ratio=2.0, peers=(("a", 1),))
    assert AddOptions().session_config(MAGNET, base) == base


def test_every_option_of_the_engine_reaches_its_configuration() -> None:
    options = AddOptions(
        sequential=False,
        paused=True,
        max_download_bytes_per_s=7,
        max_upload_bytes_per_s=8,
        seed_rules=SeedingConfig(1.5, None, 60.0),
        owner=OwnerTie("tab", 3),
        peers=(("b", 2),),
    )
    base = SessionConfig(sequential=True, peers=(("a", 1),))
    assert options.session_config(MAGNET, base) == SessionConfig(
        paused=True,
        max_download_bytes_per_s=7,
        max_upload_bytes_per_s=8,
        seed_ratio=1.5,
        seed_idle_s=60.0,
        owner=OwnerTie("tab", 3),
        peers=(("a", 1), ("b", 2)),
    )


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (StopAfter.METADATA, SessionConfig(metadata_only=True)),
        (StopAfter.CHECK, SessionConfig(check_only=True)),
    ],
)
def test_a_torrent_can_stop_before_it_downloads(after: StopAfter, expected: SessionConfig) -> None:
    assert AddOptions(stop_after=after).session_config(MAGNET, SessionConfig()) == expected


CHOICES = {
    "wanted": (AddOptions(files_wanted=(1,)), (0, 4, 0)),
    "priorities": (AddOptions(file_priorities={0: 0, 2: 7}), (0, 4, 7)),
    "both": (AddOptions(files_wanted=(1, 2), file_priorities={2: 7}), (0, 4, 7)),
    "none_wanted": (AddOptions(files_wanted=()), (0, 0, 0)),
}


@pytest.mark.parametrize(("options", "expected"), CHOICES.values(), ids=CHOICES)
def test_files_are_chosen_the_same_way_for_a_file_and_for_a_link(
    options: AddOptions, expected: tuple[int, ...], metainfo: Metainfo
) -> None:
    count = len(metainfo.files)
    padded = (*expected, *(expected[0] if options.files_wanted is not None else 4,) * count)[:count]
    base = SessionConfig()
    from_file = options.session_config(metainfo, base).file_priorities
    from_link = choose_files(options.session_config(MAGNET, base), MAGNET, metainfo)
    assert from_file == from_link.file_priorities == padded


@pytest.mark.parametrize("index", [100, 1_000_000])
def test_a_file_that_is_not_there_is_refused(index: int, metainfo: Metainfo) -> None:
    with pytest.raises(ConfigError, match=f"there is no file {index}"):
        AddOptions(files_wanted=(index,)).session_config(metainfo, SessionConfig())
    link = AddOptions(files_wanted=(index,)).session_config(MAGNET, SessionConfig())
    assert set(choose_files(link, MAGNET, metainfo).file_priorities or ()) == {0}
