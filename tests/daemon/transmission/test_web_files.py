"""A web interface of others: its own files and nothing else."""

import os
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.support.daemon_app import AppClient, make_client
from torrent_engine.daemon.common import web_files
from torrent_engine.daemon.settings.loading import Places, load
from torrent_engine.daemon.settings.model import DaemonSettings
from torrent_engine.service.regular_files import open_resolved

pytestmark = pytest.mark.anyio
WEB = "/transmission/web/"
PAGE = b"<!doctype html><title>ours</title>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "web"
    (root / "javascript").mkdir(parents=True)
    (root / "index.html").write_bytes(PAGE)
    (root / "javascript" / "main.js").write_bytes(b"0123456789")
    (root / "javascript" / ".secret").write_bytes(b"secret")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_bytes(b"secret")
    (root / "unknown.xyz").write_bytes(b"?")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    (root / "out.txt").symlink_to(tmp_path / "secret.txt")
    (root / "out").symlink_to(tmp_path)
    (root / "inside.js").symlink_to(root / "javascript" / "main.js")
    (root / "hidden.txt").symlink_to(root / "javascript" / ".secret")
    (root / "circle").symlink_to(root / "circle")
    os.mkfifo(root / "pipe")
    return root


def client_of(folder: Path | str) -> AppClient:
    settings = DaemonSettings()
    changed = replace(settings.transmission, web_root=str(folder))
    return make_client(settings=replace(settings, transmission=changed))


@pytest.fixture
def client(folder: Path) -> AppClient:
    return client_of(folder)


FILES = {
    "": ("text/html; charset=utf-8", PAGE),
    "index.html": ("text/html; charset=utf-8", PAGE),
    "javascript/main.js": ("text/javascript; charset=utf-8", b"0123456789"),
    "javascript//main.js": ("text/javascript; charset=utf-8", b"0123456789"),
    "inside.js": ("text/javascript; charset=utf-8", b"0123456789"),
    "unknown.xyz": ("application/octet-stream", b"?"),
}


async def test_folder_that_becomes_a_link_after_the_check_is_not_followed(
    client: AppClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = folder.parent / "secret"
    secret.mkdir()
    (secret / "main.js").write_bytes(b"secret")

    def exchanged(path: Path) -> AbstractContextManager[BinaryIO]:
        (folder / "javascript").rename(folder / "old")
        (folder / "javascript").symlink_to(secret)
        return open_resolved(path)

    monkeypatch.setattr(web_files, "open_resolved", exchanged)
    assert (await client.ask("GET", f"{WEB}javascript/main.js")).status == 404


@pytest.mark.parametrize(("path", "expected"), FILES.items())
async def test_files_are_sent_to_everybody(
    client: AppClient, path: str, expected: tuple[str, bytes]
) -> None:
    answer = await client.ask("GET", WEB + path)
    assert (answer.header("content-type"), answer.body) == expected
    assert answer.status == 200
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("content-security-policy") == "frame-ancestors 'self'"
    assert answer.header("cache-control") == "no-cache"


NOT_SENT = [
    "javascript",
    "javascript/",
    "nothing.html",
    "../secret.txt",
    "%2e%2e/secret.txt",
    "..%2fsecret.txt",
    "%2e%2e%2fsecret.txt",
    "javascript/../../secret.txt",
    "javascript/..%5c..%5csecret.txt",
    "..\\secret.txt",
    "/../secret.txt",
    "//etc/passwd",
    "%2fetc%2fpasswd",
    "javascript/.secret",
    ".git/config",
    ".git",
    ".",
    "..",
    "out.txt",
    "out/secret.txt",
    "hidden.txt",
    "circle",
    "pipe",
    "index.html%00.js",
    "index.html/x",
    "a" * 5_000,
]


@pytest.mark.parametrize("path", NOT_SENT)
async def test_nothing_else_is_sent(client: AppClient, path: str) -> None:
    answer = await client.ask("GET", WEB + path)
    assert answer.status == 404, answer.body
    assert b"secret" not in answer.body


async def test_a_file_that_is_the_same_is_not_sent_again(client: AppClient, folder: Path) -> None:
    first = await client.ask("GET", WEB)
    etag = first.header("etag") or ""
    again = await client.ask("GET", WEB, headers={"if-none-match": etag})
    assert (again.status, again.body, again.header("etag")) == (304, b"", etag)
    dated = {"if-modified-since": first.header("last-modified") or ""}
    assert (await client.ask("GET", WEB, headers=dated)).status == 304
    (folder / "index.html").write_bytes(b"another one")
    assert (await client.ask("GET", WEB, headers={"if-none-match": etag})).status == 200


RANGES = {
    "bytes=2-4": (206, b"234", "bytes 2-4/10"),
    "bytes=7-": (206, b"789", "bytes 7-9/10"),
    "bytes=-2": (206, b"89", "bytes 8-9/10"),
    "bytes=0-99": (206, b"0123456789", "bytes 0-9/10"),
    "lines=1-2": (200, b"0123456789", None),
}


@pytest.mark.parametrize(("asked", "expected"), RANGES.items())
async def test_parts_of_files_are_sent(
    client: AppClient, asked: str, expected: tuple[int, bytes, str | None]
) -> None:
    answer = await client.ask("GET", f"{WEB}javascript/main.js", headers={"range": asked})
    assert (answer.status, answer.body, answer.header("content-range")) == expected
    assert answer.header("accept-ranges") == "bytes"


async def test_a_part_that_is_not_there_is_refused(client: AppClient) -> None:
    answer = await client.ask("GET", f"{WEB}javascript/main.js", headers={"range": "bytes=10-"})
    assert (answer.status, answer.header("content-range")) == (416, "bytes */10")


async def test_head_has_the_fields_of_get(client: AppClient) -> None:
    answer = await client.ask("HEAD", f"{WEB}javascript/main.js")
    assert answer.status == 200
    assert answer.header("content-length") == "10"


@pytest.mark.parametrize("path", ["/transmission", "/transmission/", "/transmission/web"])
async def test_shorter_paths_lead_to_the_page(client: AppClient, path: str) -> None:
    answer = await client.ask("GET", path)
    assert (answer.status, answer.header("location")) == (301, WEB)
    without = await make_client().ask("GET", path)
    assert (without.status, without.header("location")) == (301, "/")


async def test_without_a_folder_there_are_no_files() -> None:
    client = make_client()
    assert (await client.ask("GET", f"{WEB}index.html")).status in {401, 404}
    assert (await client.bearer().ask("GET", f"{WEB}index.html")).status == 404


async def test_a_folder_that_is_not_there_has_no_files(tmp_path: Path) -> None:
    assert (await client_of(tmp_path / "none").ask("GET", WEB)).status == 404


def test_the_variable_of_transmission_counts_where_ours_is_missing(tmp_path: Path) -> None:
    env = {"TRANSMISSION_WEB_HOME": "/theirs", "XDG_CONFIG_HOME": str(tmp_path)}
    places = Places(env, system_file=tmp_path / "none.toml")
    assert load(places).settings.transmission.web_root == "/theirs"
    env["TORRENT_ENGINE_TRANSMISSION__WEB_ROOT"] = "/ours"
    assert load(places).settings.transmission.web_root == "/ours"
