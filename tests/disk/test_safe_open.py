import errno
import os
import threading
from contextlib import closing, suppress
from pathlib import Path
from random import Random

import pytest

from torrent_engine.base.errors import FileExistsStorageError, StorageError
from torrent_engine.disk import safe_open
from torrent_engine.disk.safe_open import Folder, check_parts

WRITE = os.O_RDWR | os.O_CREAT
HOSTILE = {
    "nothing": (),
    "parent": ("a", "..", "b"),
    "here": (".", "b"),
    "empty": ("a", "", "b"),
    "slash": ("a/../../b",),
    "absolute": ("/etc", "passwd"),
    "nul": ("a\0b",),
}


@pytest.fixture(params=["dir_fd", "by_name"])
def any_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "by_name":
        monkeypatch.setattr(safe_open, "HAS_DIR_FD", False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "canary").write_bytes(b"canary")
    return tmp_path / "root"


def assert_canary(root: Path) -> None:
    outside = root.parent / "outside"
    assert [path.name for path in outside.iterdir()] == ["canary"]
    assert (outside / "canary").read_bytes() == b"canary"


@pytest.mark.parametrize("parts", HOSTILE.values(), ids=HOSTILE.keys())
def test_a6_hostile_path_is_refused(parts: tuple[str, ...]) -> None:
    with pytest.raises(StorageError):
        check_parts(parts)


@pytest.mark.parametrize("name", ["C:", "C:x", "a:stream", "nul", "COM1.txt", "end.", "end ", "a?"])
def test_a9_what_windows_reads_otherwise_is_refused_there_only(name: str) -> None:
    assert check_parts(("a", name), windows=False) == ("a", name)
    for parts in (("a", name), (name, "b")):
        with pytest.raises(StorageError, match="Windows"):
            check_parts(parts, windows=True)


def test_a9_where_names_are_looked_up_whole_they_are_checked(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safe_open, "HAS_DIR_FD", False)
    folder = Folder(root, create=False)
    with pytest.raises(StorageError):
        folder.open_file(("..", "outside", "canary"), WRITE)
    folder.close()
    assert_canary(root)


def test_a6_paths_that_pass_the_check_stay_below_the_root(root: Path) -> None:
    random, folder = Random(6), Folder(root, create=False)
    alphabet = ["a", "b", "..", ".", "/", "\0", "", "~", "c\\d", "C:", "\x1b"]
    for _ in range(2_000):
        parts = ["".join(random.choices(alphabet, k=2)) for _ in range(random.randrange(4))]
        with suppress(StorageError, OSError):
            os.close(folder.open_file(check_parts(parts), WRITE))
    folder.close()
    assert_canary(root)
    assert sorted(path.name for path in root.parent.iterdir()) == ["outside", "root"]
    assert any(root.iterdir())


@pytest.mark.usefixtures("any_system")
def test_a8_links_are_not_followed_anywhere_on_the_way(root: Path) -> None:
    (root / "file").symlink_to("../outside/canary")
    (root / "folder").symlink_to("../outside")
    (root / "dangling").symlink_to("../outside/new")
    folder = Folder(root, create=False)
    for parts in (("file",), ("folder", "canary"), ("folder", "new"), ("dangling",)):
        with pytest.raises((OSError, StorageError)):
            folder.open_file(parts, WRITE)
    folder.close()
    assert_canary(root)


@pytest.mark.usefixtures("any_system")
def test_a8_what_is_no_file_or_has_other_names_is_not_written(root: Path) -> None:
    os.mkfifo(root / "fifo")
    (root / "folder").mkdir()
    os.link(root.parent / "outside" / "canary", root / "linked")
    folder = Folder(root, create=False)
    for name in ("fifo", "folder", "linked"):
        with pytest.raises((OSError, StorageError)):
            folder.open_file((name,), WRITE)
    os.close(folder.open_file(("linked",), os.O_RDONLY))  # reading harms nobody
    folder.close()
    assert_canary(root)


def test_a8_swapping_a_folder_for_a_link_never_leads_out(root: Path) -> None:
    """A thread swaps a folder of the path for a link that leads out, all the time."""
    folder, stop, swaps = Folder(root, create=False), threading.Event(), [0]
    (root / "link").symlink_to("../outside")

    def swap() -> None:
        while not stop.is_set():
            with suppress(OSError):
                swaps[0] += 1
                (root / "way").rename(root / f"old{swaps[0]}")
                (root / "link").rename(root / "way")
                for _ in range(20):
                    list(root.iterdir())  # let the other thread see it
                (root / "way").rename(root / "link")

    swapper = threading.Thread(target=swap)
    swapper.start()
    opened = refused = 0
    while opened + refused < 3_000 or swaps[0] <= 10:  # on a busy machine it swaps rarely
        try:
            os.close(folder.open_file(("way", f"f{opened % 7}"), WRITE))
            opened += 1
        except (OSError, StorageError):
            refused += 1
    stop.set()
    swapper.join()
    folder.close()
    assert opened + refused >= 3_000
    assert_canary(root)


def test_a8_a_folder_that_became_a_link_between_two_calls_is_refused_until_it_is_back(
    root: Path,
) -> None:
    """The same without chance: each way of the swap is seen."""
    folder = Folder(root, create=False)
    (root / "link").symlink_to("../outside")
    for turn in range(20):
        os.close(folder.open_file(("way", f"f{turn}"), WRITE))
        (root / "way").rename(root / "old")
        (root / "link").rename(root / "way")
        with pytest.raises((OSError, StorageError)):
            folder.open_file(("way", "canary"), WRITE)
        (root / "way").rename(root / "link")
        (root / "old").rename(root / "way")
    folder.close()
    assert len(list((root / "way").iterdir())) == 20
    assert_canary(root)


@pytest.mark.usefixtures("any_system")
def test_files_are_made_found_renamed_and_removed(root: Path) -> None:
    folder = Folder(root, create=False)
    assert folder.stat(("a", "b", "c")) is None
    descriptor = folder.open_file(("a", "b", "c"), WRITE)
    os.write(descriptor, b"x")
    os.close(descriptor)
    found = folder.stat(("a", "b", "c"))
    assert found is not None
    assert found.st_size == 1
    folder.sync_folder(("a", "b"))
    folder.rename(("a", "b", "c"), ("a", "b", "d"))
    assert (root / "a" / "b" / "d").read_bytes() == b"x"
    folder.rmdir_if_empty(("a", "b"))
    folder.unlink(("a", "b", "d"))
    folder.unlink(("a", "b", "d"))
    folder.rmdir_if_empty(("a", "b"))
    assert list((root / "a").iterdir()) == []
    folder.close()
    folder.close()


def test_f11_a_look_at_many_files_opens_each_folder_once_and_follows_no_planted_link(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a" / "b").mkdir(parents=True)
    (root / "outside").mkdir()
    (root / "outside" / "x").write_bytes(b"secret")
    paths = [("a", "b", str(n)) for n in range(20)]
    for path in paths[:10]:
        root.joinpath(*path).write_bytes(b"x")
    opened: list[str] = []
    really_open = safe_open._open_folder

    def counted(name: str, parent: int, *, create: bool) -> int:
        opened.append(name)
        return really_open(name, parent, create=create)

    with closing(Folder(root, create=False)) as folder:
        expected = [folder.stat(path) for path in paths]
        monkeypatch.setattr(safe_open, "_open_folder", counted)
        with folder.looking() as look:
            assert [look(path) for path in paths] == expected
            assert opened == ["a", "b"]
            assert look(("gone", "x")) is None
            assert look(("gone", "y")) is None
            assert opened == ["a", "b", "gone"]
            found = look(("a",))
            assert found is not None
            (root / "link").symlink_to("outside")
            with pytest.raises(OSError, match=r"directory|symbolic"):
                look(("link", "x"))
            assert look(paths[0]) == expected[0]


def test_f3_a_folder_that_is_gone_is_not_made_again(root: Path) -> None:
    folder = Folder(root / "new" / "deep", create=True)
    (root / "new" / "deep").rmdir()
    with pytest.raises(FileNotFoundError):
        folder.open_file(("a", "b"), WRITE)
    folder.close()
    assert not (root / "new" / "deep").exists()


def test_a_folder_that_is_closed_meanwhile_is_closed_once(root: Path) -> None:
    """A second close of the same number would be that of whoever has it by then."""
    folder = Folder(root, create=False)
    if not safe_open.HAS_DIR_FD:
        pytest.skip("folders have no descriptors here")
    with folder.parent_of(("name",), create=False) as (descriptor, _):
        folder.close()
        others = os.open(root, os.O_RDONLY)
        if others != descriptor:
            os.dup2(others, descriptor)
            os.close(others)
    os.fstat(descriptor)
    os.close(descriptor)
    with pytest.raises(FileNotFoundError):
        folder.open_file(("name",), os.O_RDONLY)


LINKED = {
    "top folder": ("outside", ("link", "canary")),
    "top file": ("outside/canary", ("link",)),
    "folder further in": ("../outside", ("in", "link", "canary")),
    "file further in": ("../outside/canary", ("in", "link")),
}


def accepted(root: Path, target: str, parts: tuple[str, ...], *, follow: bool = False) -> Folder:
    """Make a link, and return a folder that saw it at its first look."""
    link = root.joinpath(*parts[: parts.index("link") + 1])
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(f"../{target}")
    folder = Folder(root, create=False, follow_links=follow)
    with folder.accepting_links():
        found = folder.stat(parts)
    assert found is not None
    assert found.st_size == len(b"canary")
    return folder


@pytest.mark.usefixtures("any_system")
@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize(("target", "parts"), LINKED.values(), ids=LINKED)
def test_a8_a_link_that_was_there_is_read_and_written_through_where_it_may_be(
    root: Path, target: str, parts: tuple[str, ...], follow: bool
) -> None:
    folder = accepted(root, target, parts, follow=follow)
    os.close(folder.open_file(parts, os.O_RDONLY))
    if follow or parts[0] == "link":
        descriptor = folder.open_file(parts, WRITE)
        os.write(descriptor, b"CANARY")
        os.close(descriptor)
        assert (root.parent / "outside" / "canary").read_bytes() == b"CANARY"
    else:
        with pytest.raises(FileExistsStorageError, match="follow_links"):
            folder.open_file(parts, WRITE)
        with pytest.raises(FileExistsStorageError, match="follow_links"):
            folder.open_file((*parts[:-1], "link", "new"), WRITE)
        assert_canary(root)
    folder.close()


@pytest.mark.usefixtures("any_system")
@pytest.mark.parametrize("what", ["link", "target"])
@pytest.mark.parametrize(("target", "parts"), LINKED.values(), ids=LINKED)
def test_a8_a_link_that_leads_elsewhere_later_is_refused(
    root: Path, target: str, parts: tuple[str, ...], what: str
) -> None:
    (root.parent / "user").mkdir()
    (root.parent / "user" / "canary").write_bytes(b"canary")
    folder = accepted(root, target.replace("outside", "user"), parts, follow=True)
    if what == "target":
        (root.parent / "user").rename(root.parent / "old")
        (root.parent / "user").symlink_to("outside")
    else:
        link = root.joinpath(*parts[: parts.index("link") + 1])
        link.unlink()
        link.symlink_to(f"../{target}")
    for flags in (os.O_RDONLY, WRITE):
        with pytest.raises((OSError, StorageError)):
            folder.open_file(parts, flags)
    folder.close()
    assert_canary(root)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="descriptors are counted there")
@pytest.mark.parametrize("name", ["top file", "folder further in"])
def test_f8_a_link_that_cannot_be_looked_at_again_leaves_no_descriptor(
    root: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = accepted(root, *LINKED[name])
    before = len(list(Path("/proc/self/fd").iterdir()))

    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", fail)
        with pytest.raises((OSError, StorageError), match="Input/output"):
            folder.open_file(LINKED[name][1], os.O_RDONLY)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    folder.close()


@pytest.mark.usefixtures("any_system")
def test_a8_a_link_of_somebody_else_in_a_folder_of_everybody_is_not_accepted(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hasattr(os, "geteuid") or os.geteuid():
        pytest.skip("only root can give a link to somebody else")
    root.chmod(0o1777)
    (root / "link").symlink_to("../outside")
    os.lchown(root / "link", 12_345, -1)
    folder = Folder(root, create=False, follow_links=True)
    with folder.accepting_links(), pytest.raises((OSError, StorageError)):
        folder.stat(("link", "canary"))
    assert folder.links == frozenset()
    root.chmod(0o755)
    with folder.accepting_links():
        assert folder.stat(("link", "canary")) is not None
    folder.close()
    assert_canary(root)


def test_a8_swapping_an_accepted_link_never_leads_elsewhere(root: Path) -> None:
    """A thread swaps the user's link for one that leads to a canary, all the time."""
    (root.parent / "user").mkdir()
    (root.parent / "user" / "canary").write_bytes(b"canary")
    folder, stop, swaps = accepted(root, "user", ("link", "canary")), threading.Event(), [0]

    def swap() -> None:
        while not stop.is_set():
            for target in ("../outside", "../user"):
                (root / "next").symlink_to(target)
                (root / "next").replace(root / "link")
                list(root.iterdir())  # let the other thread see it
            swaps[0] += 1

    swapper = threading.Thread(target=swap)
    swapper.start()
    opened = refused = 0
    while (swaps[0] < 20 or not opened or not refused) and opened + refused < 200_000:
        try:
            descriptor = folder.open_file(("link", f"f{opened % 7}"), WRITE)
            os.close(descriptor)
            opened += 1
        except (OSError, StorageError):
            refused += 1
    stop.set()
    swapper.join()
    folder.close()
    assert opened
    assert swaps[0] >= 20
    assert_canary(root)


# -- the way to the folder ------------------------------------------------------------------------

needs_passing = pytest.mark.skipif(not safe_open._PASSING, reason="needs O_PATH")


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of links that are somebody else's, in a folder of everybody."""
    monkeypatch.setattr(safe_open, "_is_users", lambda name, _: name != "planted")
    return "planted"


@needs_passing
@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize("way", ["planted", "planted/below", "own/below", "outside/../planted"])
def test_a8_a_planted_link_on_the_way_to_the_folder_is_refused(
    root: Path, planted: str, way: str, *, create: bool
) -> None:
    (root.parent / planted).symlink_to("outside")
    (root.parent / "own").symlink_to(planted)
    with pytest.raises(FileExistsStorageError, match="somebody else"):
        Folder(root.parent / way, create=create)
    assert_canary(root)


@needs_passing
def test_a8_a_link_of_another_user_on_the_way_is_refused_for_real(root: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can make links of other users")
    root.chmod(0o1777)
    (root / "link").symlink_to("../outside")
    os.lchown(root / "link", 12_345, 12_345)
    with pytest.raises(FileExistsStorageError, match="somebody else"):
        Folder(root / "link", create=True)
    root.chmod(0o755)
    Folder(root / "link", create=True).close()


WAYS = {
    "relative": ("link", "outside"),
    "absolute": ("link", "{base}/outside"),
    "behind another": ("second", "link"),
    "up and down": ("root/../link/../outside", "outside"),
    "up from the top": ("link/.", "../../../../../../../../../../../../{base}/outside"),
    "the top itself": ("link{base}/outside", "/"),
}


@pytest.mark.parametrize(("way", "target"), WAYS.values(), ids=WAYS)
def test_a8_links_of_the_user_on_the_way_to_the_folder_are_followed(
    root: Path, way: str, target: str
) -> None:
    base = root.parent
    (base / "link").symlink_to("outside" if target == "link" else target.format(base=base))
    (base / "second").symlink_to("link")
    folder = Folder(base / way.format(base=base), create=False)
    assert folder.stat(("canary",)) is not None
    folder.close()


def test_a8_links_in_a_circle_lead_to_no_folder(root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        Folder(root / "a", create=False)


@needs_passing
def test_a8_exchanging_the_folder_for_a_link_never_leads_out(root: Path, planted: str) -> None:
    """The check of a path says nothing of what stands there a moment later."""
    base, stop, opened = root.parent, threading.Event(), [0]
    folder, aside, link = base / planted, base / "aside", base / "link"
    folder.mkdir()
    inside, outside = folder.stat().st_ino, (base / "outside").stat().st_ino

    def swap() -> None:
        while not stop.is_set():
            folder.rename(aside)
            link.symlink_to("outside")
            link.rename(folder)
            folder.unlink()
            aside.rename(folder)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(2_000):
            with suppress(FileNotFoundError, NotADirectoryError, FileExistsStorageError):
                found = Folder(folder, create=False)
                opened[0] += 1
                assert os.fstat(found._descriptor).st_ino == inside != outside
                found.close()
    finally:
        stop.set()
        thread.join()
