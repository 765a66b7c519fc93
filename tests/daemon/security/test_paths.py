"""Paths that leave the allowed folders, in every form that somebody thought of."""

import os
from pathlib import Path

import pytest

from torrent_engine.daemon.problems import ProblemError
from torrent_engine.daemon.security.paths import PathRule

pytestmark = pytest.mark.anyio


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with links that lead out and in, and files that are nobody's business."""
    (tmp_path / "downloads" / "sub").mkdir(parents=True)
    (tmp_path / "downloads-other").mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").write_text("x")
    root = tmp_path / "downloads"
    (root / "out").symlink_to(tmp_path / "secret")
    (root / "out-relative").symlink_to("../secret")
    (root / "out-file").symlink_to(tmp_path / "secret" / "file")
    (root / "dangling").symlink_to(tmp_path / "nothing" / "there")
    (root / "circle").symlink_to(root / "circle")
    (root / "twice").symlink_to(root / "out")
    (root / "slash").symlink_to("/")
    (root / "inside").symlink_to(root / "sub")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path.resolve()


ESCAPES = [
    "/",
    "/etc/passwd",
    "/proc/self/root",
    "/dev/null",
    "",
    ".",
    "..",
    "downloads",
    "sub",
    "./sub",
    "{root}/..",
    "{root}/../secret",
    "{root}/../secret/file",
    "{root}/sub/../../secret",
    "{root}/./../secret",
    "{root}//../secret",
    "{root}/nothing/../../secret",
    "{root}/../downloads-other",
    "{root}-other",
    "{root}-other/x",
    "{root}/out",
    "{root}/out/file",
    "{root}/out/new",
    "{root}/out-relative",
    "{root}/out-file",
    "{root}/dangling",
    "{root}/dangling/x",
    "{root}/twice/file",
    "{root}/slash/etc",
    "{root}/inside/../../secret",
    "{root}/\0",
    "{root}/sub\0/../../secret",
    "{root}/a\nb",
    "{root}/\x1b[31m",
    "{root}/\ud800",
    "{root}/" + "a/" * 3_000,
    "~/secret",
    "~root/x",
    "~nobody-has-this-name/x",
    "file:///etc/passwd",
    "file://{root}/sub",
    "\\\\server\\share",
    "C:\\Windows",
    "$HOME/secret",
    "%2e%2e/secret",
]


@pytest.mark.parametrize("form", ESCAPES)
async def test_path_that_leaves_the_allowed_folders_is_refused(home: Path, form: str) -> None:
    rule = PathRule(lambda: [home / "downloads"])
    path = form.replace("{root}", str(home / "downloads"))
    assert not await rule.allows(path)
    with pytest.raises(ProblemError) as refused:
        await rule.checked(path)
    assert refused.value.problem.code == "path_not_allowed"
    assert str(home) not in refused.value.problem.detail  # says nothing of what is there


ALLOWED = {
    "{root}": "downloads",
    "{root}/": "downloads",
    "{root}/sub": "downloads/sub",
    "{root}/not-there/yet": "downloads/not-there/yet",
    "{root}/./sub/../sub": "downloads/sub",
    "{root}/inside": "downloads/sub",
    "{root}/inside/new": "downloads/sub/new",
    "{root}/..\\secret": "downloads/..\\secret",
    "{root}/%2e%2e": "downloads/%2e%2e",
    "{root}/ñame with spaces": "downloads/ñame with spaces",
    "~/downloads/sub": "downloads/sub",
}


@pytest.mark.parametrize("form", ALLOWED)
async def test_path_below_an_allowed_folder_is_returned_without_links(
    home: Path, form: str
) -> None:
    rule = PathRule(lambda: [home / "downloads"])
    path = form.replace("{root}", str(home / "downloads"))
    assert await rule.checked(path) == home / ALLOWED[form]


async def test_path_in_a_circle_is_refused_or_stays_inside(home: Path) -> None:
    rule = PathRule(lambda: [home / "downloads"])
    path = str(home / "downloads" / "circle" / "x")
    if await rule.allows(path):  # newer Pythons keep what they cannot resolve
        assert (await rule.checked(path)).is_relative_to((home / "downloads").resolve())
    else:
        assert not await rule.allows(path)


async def test_allowed_folder_may_be_a_link_itself(home: Path) -> None:
    (home / "link").symlink_to(home / "downloads")
    rule = PathRule(lambda: [home / "link"])
    assert await rule.allows(str(home / "link" / "sub"))
    assert await rule.allows(str(home / "downloads" / "sub"))


async def test_folders_are_looked_up_at_each_request(home: Path) -> None:
    roots: list[Path] = []
    rule = PathRule(lambda: roots)
    assert not await rule.allows(str(home / "downloads"))
    roots.append(home / "downloads")
    assert await rule.allows(str(home / "downloads"))


async def test_link_that_was_exchanged_leads_out_no_more(home: Path) -> None:
    """What is returned has no link of the request any more: an exchange later does not matter."""
    rule = PathRule(lambda: [home / "downloads"])
    checked = await rule.checked(str(home / "downloads" / "inside" / "new"))
    (home / "downloads" / "inside").unlink()
    (home / "downloads" / "inside").symlink_to(home / "secret")
    assert checked == (home / "downloads" / "sub" / "new").resolve()
    assert not await rule.allows(str(home / "downloads" / "inside" / "new"))


async def test_no_folder_allows_nothing() -> None:
    for roots in ([], [""]):
        assert not await PathRule(lambda roots=roots: roots).allows(os.sep)  # type: ignore[misc]


async def test_the_table_is_large() -> None:
    assert len(ESCAPES) >= 30
