"""Downloads through symbolic links: those that were there are the user's, no later one is."""

from pathlib import Path

import pytest

from tests.support.swarm import content, download, reach, resources, seed
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import FileExistsStorageError
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

pytestmark = pytest.mark.anyio

FILES = {"a.bin": payload_of(100_000, 1), "in/b.bin": payload_of(150_000, 2)}
SEVERAL = make_torrent(FILES)
ONE = make_torrent(payload_of(200_000, 3))


def linked(tmp_path: Path, name: str, *, is_folder: bool) -> Path:
    """Make a link below the save path to something empty elsewhere; return the latter."""
    far = tmp_path / "far"
    far.mkdir() if is_folder else far.touch()
    link = tmp_path / "out" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(far)
    return far


@pytest.mark.parametrize("what", ["folder", "file"])
async def test_a_linked_top_is_downloaded_through_and_stays(tmp_path: Path, what: str) -> None:
    metainfo, payload = SEVERAL if what == "folder" else ONE
    far = linked(tmp_path, "payload", is_folder=what == "folder")
    async with (
        seed(tmp_path / "seed", metainfo, payload) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        session = await download(shared, metainfo, tmp_path / "out", address)
    assert session.state is State.STOPPED
    assert session.error is None
    assert (tmp_path / "out/payload").is_symlink()
    assert content(metainfo, tmp_path / "out") == payload
    found = far if what == "file" else far / "in/b.bin"
    assert found.read_bytes() == (payload if what == "file" else FILES["in/b.bin"])


@pytest.mark.parametrize(("name", "is_folder"), [("in", True), ("in/b.bin", False)])
@pytest.mark.parametrize("follow", [False, True])
async def test_a_link_further_in_is_written_through_only_if_the_user_says_so(
    tmp_path: Path, name: str, is_folder: bool, follow: bool
) -> None:
    metainfo, payload = SEVERAL
    far = linked(tmp_path, f"payload/{name}", is_folder=is_folder)
    async with (
        seed(tmp_path / "seed", metainfo, payload) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        config = SessionConfig(peers=(address,), seed_time_s=0.0, follow_links=follow)
        session = await Session.create(metainfo, shared, save_path=tmp_path / "out", config=config)
        async with session:
            assert await reach(session, State.STOPPED, State.ERROR) is (
                State.STOPPED if follow else State.ERROR
            )
            error = session.error
    if follow:
        assert content(metainfo, tmp_path / "out") == payload
        assert (far / "b.bin" if is_folder else far).read_bytes() == FILES["in/b.bin"]
    else:
        assert isinstance(error, FileExistsStorageError)
        assert "follow_links" in str(error)
        assert not list(far.iterdir()) if is_folder else far.read_bytes() == b""
    assert (tmp_path / "out/payload" / name).is_symlink()


async def test_what_lies_behind_links_is_seeded_without_being_asked(tmp_path: Path) -> None:
    metainfo, payload = SEVERAL
    write_files(metainfo, payload, tmp_path / "seed/files")
    folder = tmp_path / "seed/files/payload/in"
    folder.rename(tmp_path / "far")
    folder.symlink_to(tmp_path / "far")
    async with resources(tmp_path / "seed") as theirs, resources(tmp_path / "leech") as shared:
        source = await Session.create(metainfo, theirs, save_path=tmp_path / "seed/files")
        async with source:
            await reach(source, State.SEEDING)
            address = ("127.0.0.1", theirs.listen_port)
            await download(shared, metainfo, tmp_path / "out", address)
    assert content(metainfo, tmp_path / "out") == payload


@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("name", ["in", "in/b.bin", "a.bin"])
async def test_a8_a_link_that_appears_during_a_run_is_never_followed(
    tmp_path: Path, name: str, follow: bool
) -> None:
    """It is made while the download waits for its peer; files are made with the first block."""
    metainfo, payload = SEVERAL
    far = tmp_path / "far"
    far.mkdir() if name == "in" else far.touch()
    async with (
        seed(tmp_path / "seed", metainfo, payload) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        config = SessionConfig(follow_links=follow, seed_time_s=0.0)
        session = await Session.create(metainfo, shared, save_path=tmp_path / "out", config=config)
        async with session:
            await reach(session, State.DOWNLOADING)
            link = tmp_path / "out/payload" / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(far)
            await session.add_peer(*address)
            await reach(session, State.ERROR)
            error = session.error
    assert isinstance(error, FileExistsStorageError), error
    assert not list(far.iterdir()) if name == "in" else far.read_bytes() == b""
