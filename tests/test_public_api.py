"""What ``import torrent_engine`` gives, what it does not import, and the blocking download."""

import subprocess
import sys
from dataclasses import is_dataclass, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import anyio
import anyio.to_thread
import pytest

import torrent_engine
from tests.support.swarm import content, seed, shared_config
from tests.support.torrents import make_torrent, payload_of
from torrent_engine import (
    BencodeError,
    HttpError,
    Magnet,
    MagnetError,
    Metainfo,
    SessionConfig,
    SessionError,
    SessionStats,
    State,
    download,
)

METAINFO, PAYLOAD = make_torrent({"a": payload_of(50_000), "b": b"", "c/d": payload_of(70_000, 1)})

PUBLIC_NAMES: list[str] = vars(torrent_engine)["__all__"]


def imported_by(statement: str) -> set[str]:
    """Return the modules that a fresh interpreter has after a statement."""
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    return set(done.stdout.split())


def test_importing_the_package_imports_nothing_heavy() -> None:
    modules = imported_by("import torrent_engine; dir(torrent_engine)")
    heavy = {"anyio", "asyncio", "uvloop", "httpx2", "click", "rich", "cryptography", "sqlite3"}
    assert not modules & heavy
    ours = {name for name in modules if name.startswith("torrent_engine")}
    assert ours == {"torrent_engine"}


def test_the_codec_alone_imports_no_event_loop() -> None:
    modules = imported_by("from torrent_engine import Metainfo, BencodeError, SessionConfig")
    assert not modules & {"anyio", "asyncio", "uvloop", "httpx2", "click", "rich"}


def test_the_engine_imports_no_command_line() -> None:
    modules = imported_by("from torrent_engine import *")
    assert not modules & {"click", "rich"}


@pytest.mark.parametrize("name", PUBLIC_NAMES)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(torrent_engine, name)
    assert name in dir(torrent_engine)
    assert getattr(value, "__doc__", None) or not callable(value)


def test_all_is_sorted_and_complete() -> None:
    assert sorted(set(PUBLIC_NAMES)) == sorted(PUBLIC_NAMES)
    assert set(dir(torrent_engine)) >= set(PUBLIC_NAMES)


def test_events_errors_and_numbers_are_public() -> None:
    from torrent_engine.base import errors
    from torrent_engine.engine import events

    for module, base in ((errors, errors.TorrentEngineError), (events, events.Event)):
        kinds = {name for name, each in vars(module).items() if is_a(each, base)}
        assert kinds <= set(PUBLIC_NAMES)


def is_a(each: object, base: type) -> bool:
    return isinstance(each, type) and issubclass(each, base)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(torrent_engine, "no_such_name")  # noqa: B009 - mypy knows that it is not there


# -- download() -----------------------------------------------------------------------------------


async def in_thread(call) -> Path:
    with anyio.fail_after(30):
        path: Path = await anyio.to_thread.run_sync(call, abandon_on_cancel=True)
    return path


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["path", "bytes", "metainfo", "magnet", "link", "info_hash"])
async def test_download_blocks_until_all_is_there(tmp_path: Path, kind: str) -> None:
    torrent = tmp_path / "a.torrent"
    torrent.write_bytes(METAINFO.source)
    sources: dict[str, Any] = {
        "path": torrent,
        "bytes": METAINFO.source,
        "metainfo": METAINFO,
        "magnet": Magnet(METAINFO.info_hash),
        "link": str(Magnet.of(METAINFO)),
        "info_hash": METAINFO.info_hash.hex(),
    }
    seen: list[SessionStats] = []
    async with seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address):
        call = partial(
            download,
            sources[kind],
            tmp_path / "out",
            config=SessionConfig(peers=(address,)),
            shared_config=shared_config(tmp_path),
            on_progress=seen.append,
        )
        assert await in_thread(call) == tmp_path / "out/payload"
    assert content(METAINFO, tmp_path / "out") == PAYLOAD
    assert (seen[-1].state, seen[-1].completed_bytes) == (State.STOPPED, len(PAYLOAD))


class Torrents(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/a.torrent" else 404)
        self.end_headers()
        self.wfile.write(METAINFO.source)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.anyio
async def test_download_takes_a_url_and_says_what_is_wrong_with_another(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Torrents)
    thread = Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        async with seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address):
            call = partial(
                download,
                config=SessionConfig(peers=(address,)),
                shared_config=shared_config(tmp_path),
            )
            await in_thread(partial(call, f"{url}/a.torrent", tmp_path / "out"))
            with pytest.raises(HttpError, match="404"):
                await in_thread(partial(call, f"{url}/other", tmp_path / "other"))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert content(METAINFO, tmp_path / "out") == PAYLOAD
    assert not (tmp_path / "other").exists()


def test_download_raises_its_errors_as_themselves(tmp_path: Path) -> None:
    config = shared_config(tmp_path)
    with pytest.raises(FileNotFoundError):
        download(tmp_path / "no.torrent", tmp_path, shared_config=config)
    with pytest.raises(BencodeError):
        download(b"nonsense", tmp_path, shared_config=config)
    with pytest.raises(MagnetError):
        download("magnet:?dn=name", tmp_path, shared_config=config)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SessionError, match="file"):
        download(METAINFO, tmp_path / "file/out", shared_config=config)


def test_download_of_what_is_there_is_a_check(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(payload_of(30_000))
    (tmp_path / "payload").write_bytes(payload)
    config = replace(SessionConfig(), check_only=True)
    found = download(metainfo, tmp_path, config=config, shared_config=shared_config(tmp_path / "s"))
    assert found == tmp_path / "payload"
    assert Metainfo.from_bytes(metainfo.source).info_hash == metainfo.info_hash


def test_every_configuration_is_public() -> None:
    from torrent_engine import config
    from torrent_engine.base import config as all_of_them

    kinds = {
        name
        for name, each in vars(all_of_them).items()
        if isinstance(each, type) and is_dataclass(each)
    }
    assert kinds <= set(config.__all__)
    assert {name for name in config.__all__ if not hasattr(config, name)} == set()
