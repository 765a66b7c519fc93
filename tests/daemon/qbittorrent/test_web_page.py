"""A web interface of others for this protocol: its files, and the routes below its address."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.daemon.contexts import TOKEN
from tests.daemon.qbittorrent.web_api_scene import ON, WebApiScene

pytestmark = pytest.mark.anyio
PAGE = "/qbittorrent/"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as qBittorrent's alternative interfaces have it."""
    for name in ("public", "private"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.html").write_text(f"<title>{name}</title>")
    (tmp_path / "public" / "app.js").write_text("both")
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "public" / "out.txt").symlink_to(tmp_path / "secret.txt")
    return tmp_path


def scene_of(root: Path | str) -> WebApiScene:
    return WebApiScene(qbittorrent=replace(ON, web_root=str(root)))


async def get(scene: WebApiScene, path: str, **options: Any) -> httpx2.Response:
    return await scene.client.get(path, **options)


async def test_the_page_and_the_interface_have_one_address(folder: Path) -> None:
    async with scene_of(folder).open(token=None) as scene:
        assert (await get(scene, "/qbittorrent")).headers["location"] == PAGE
        answer = await get(scene, PAGE)
        assert answer.text == "<title>public</title>"
        assert answer.headers["content-security-policy"] == "frame-ancestors 'self'"
        assert (await get(scene, f"{PAGE}api/v2/app/version")).status_code == 403
        login = {"username": "torrent", "password": TOKEN}
        done = await scene.client.post(f"{PAGE}api/v2/auth/login", data=login)
        assert done.text == "Ok."
        assert (await get(scene, f"{PAGE}api/v2/app/version")).text == "v5.1.4"
        assert (await scene.ask("GET", "app/version")).text == "v5.1.4"
        assert (await get(scene, f"{PAGE}api/v2/torrents/nothing")).status_code == 404


async def test_who_has_logged_in_gets_the_private_files_first(folder: Path) -> None:
    async with scene_of(folder).open(token=None) as scene:
        login = {"username": "torrent", "password": TOKEN}
        await scene.ask("POST", "auth/login", data=login)
        assert (await get(scene, PAGE)).text == "<title>private</title>"
        assert (await get(scene, f"{PAGE}app.js")).text == "both"
        await scene.ask("POST", "auth/logout")
        assert (await get(scene, PAGE)).text == "<title>public</title>"


@pytest.mark.parametrize(
    "path", ["secret.txt", "out.txt", "..%2fsecret.txt", "public/app.js", "no"]
)
async def test_other_files_are_not_sent(folder: Path, path: str) -> None:
    async with scene_of(folder).open(token=None) as scene:
        assert (await get(scene, f"{PAGE}{path}")).status_code == 404


async def test_a_folder_with_a_page_in_itself_is_served_too(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("plain")
    async with scene_of(tmp_path).open(token=None) as scene:
        assert (await get(scene, PAGE)).text == "plain"
        assert (await get(scene, f"{PAGE}index.html")).text == "plain"


async def test_without_a_folder_there_is_no_page() -> None:
    async with WebApiScene().open() as scene:
        for path in ("/qbittorrent", PAGE, f"{PAGE}api/v2/app/version"):
            assert (await get(scene, path)).status_code == 404
