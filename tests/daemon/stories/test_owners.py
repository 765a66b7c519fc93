"""Owners that move on, with a real daemon: cancelled, half-made files gone, others kept, told."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.daemon.stories import scene
from tests.daemon.stories.events import EventStream
from tests.support import gated_daemon
from tests.support import slow_http as http
from tests.support.libtorrent_client import LibtorrentClient
from tests.support.own_daemon import OwnDaemon
from tests.support.payload import Payload, make_payload
from tests.support.processes import wait_until

TAB = "/api/v1/owners/tab-1"
FOREIGN = "mine.txt"


def payload_in(folder: Path, name: str = "film") -> Payload:
    files = {"a.bin": 400_000, "sub/b.bin": 500_000, "c.bin": 300_000}
    return make_payload(folder, name, files, piece_bytes=32 * 1024)


def begin(daemon: OwnDaemon, owner: str = "tab-1") -> dict[str, Any]:
    """Let an owner begin a generation; return it as downloads name it."""
    told = daemon.ask("POST", f"/api/v1/owners/{owner}/generation")
    return {"owner": {"id": owner, "generation": told["generation"]}}


def files_in(folder: Path) -> set[str]:
    return {str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()}


@contextmanager
def foreign_files(daemon: OwnDaemon, payload: Payload) -> Iterator[Path]:
    """Have a file of somebody else, and one of the torrent's own, before a download begins."""
    folder = daemon.folder / "d"
    (folder / payload.name).mkdir(parents=True)
    (folder / payload.name / FOREIGN).write_text("mine")
    shutil.copy(payload.source_dir / payload.name / "a.bin", folder / payload.name / "a.bin")
    kept = (payload.source_dir / payload.name / "a.bin").read_bytes()
    yield folder
    assert files_in(folder) == {f"{payload.name}/{FOREIGN}", f"{payload.name}/a.bin"}
    assert (folder / payload.name / FOREIGN).read_text() == "mine"
    assert (folder / payload.name / "a.bin").read_bytes() == kept


def check_cancelled(daemon: OwnDaemon, stream: EventStream, payload: Payload) -> None:
    """The end is told over the stream and in the log, and the torrent is gone."""
    info_hash = payload.info_hash.hex()
    told = stream.until("job", kind="download", status="cancelled").data
    assert told["reason"] == "owner_changed"
    assert told["torrent"]["hash"] == info_hash
    wait_until(
        lambda: info_hash not in scene.hashes(daemon),
        timeout_s=scene.LIMIT_S,
        what="the torrent is gone",
    )
    words = f"torrent {info_hash}: cancelled, its owner 'tab-1' has moved on from generation 1 to 2"
    assert words in daemon.output()
    [job] = scene.jobs(daemon, payload)
    assert (job["status"], job["reason"]) == ("cancelled", "owner_changed")


def test_generation_moves_on_in_mid_download(tmp_path: Path) -> None:
    payload, daemon = payload_in(tmp_path), OwnDaemon(tmp_path)
    with (
        scene.seeded(tmp_path, payload, bytes_per_s=scene.SLOW) as seed,
        foreign_files(daemon, payload) as folder,
        daemon,
        EventStream(daemon) as stream,
    ):
        owner = begin(daemon)
        scene.add(daemon, payload, seed, **owner)
        scene.wait_for_bytes(daemon, payload, 450_000)
        assert len(files_in(folder)) > 2
        again = daemon.ask("POST", f"{TAB}/generation")
        assert again == {"generation": 2, "cancelled": 1}
        check_cancelled(daemon, stream, payload)
        late = _add_late(daemon, owner)
        assert (late.status_code, late.json()["code"]) == (409, "owner_changed")


def _add_late(daemon: OwnDaemon, owner: dict[str, Any]) -> httpx2.Response:
    body = {"source": f"magnet:?xt=urn:btih:{7:040x}", **owner}
    headers = {"Authorization": f"Bearer {daemon.token}"}
    return http.post(daemon.url("/api/v1/torrents"), json=body, headers=headers)


@pytest.mark.parametrize("gate", ["hold-verification", "hold-completion"])
def test_generation_moves_on_in_verification_and_before_completion_is_told(
    tmp_path: Path, gate: str
) -> None:
    payload = payload_in(tmp_path)
    daemon = OwnDaemon(tmp_path, program=(gated_daemon.__file__, str(tmp_path)))
    (tmp_path / gate).touch()
    with (
        scene.seeded(tmp_path, payload) as seed,
        foreign_files(daemon, payload),
        daemon,
        EventStream(daemon) as stream,
    ):
        scene.add(daemon, payload, seed, **begin(daemon))
        wait_until((tmp_path / "is-held").exists, timeout_s=scene.LIMIT_S, what="something is held")
        assert scene.torrent(daemon, payload)["status"] == "downloading"
        assert daemon.ask("POST", f"{TAB}/generation")["cancelled"] == 1
        (tmp_path / gate).unlink()
        check_cancelled(daemon, stream, payload)
        told = scene.jobs(daemon, payload)
        assert "completed" not in {each["status"] for each in told}


def test_two_tabs_have_downloads_of_their_own_and_others_belong_to_nobody(tmp_path: Path) -> None:
    mine, other, kept = (payload_in(tmp_path / name, name) for name in ("one", "two", "kept"))
    with (
        scene.seeded(tmp_path, mine, other, kept, bytes_per_s=scene.SLOW) as seed,
        OwnDaemon(tmp_path) as daemon,
        EventStream(daemon) as first,
        EventStream(daemon) as second,
    ):
        scene.add(daemon, mine, seed, **begin(daemon))
        scene.add(daemon, other, seed, **begin(daemon, "tab-2"))
        scene.add(daemon, kept, seed)
        for each in (mine, other, kept):
            scene.wait_for_bytes(daemon, each)
        begin(daemon)  # the first tab is loaded again
        for stream in (first, second):
            told = stream.until("job", status="cancelled").data
            assert told["torrent"]["hash"] == mine.info_hash.hex()
        wait_until(
            lambda: scene.hashes(daemon) == {other.info_hash.hex(), kept.info_hash.hex()},
            timeout_s=scene.LIMIT_S,
            what="only that of the first tab is gone",
        )
        _finish(daemon, seed, other, kept)
        daemon.ask("DELETE", "/api/v1/owners/tab-2")  # logged out: what is complete stays
        assert kept.info_hash.hex() in scene.hashes(daemon)
    assert kept.is_complete_in(tmp_path / "d")
    assert not (tmp_path / "d" / mine.name).exists()


def _finish(daemon: OwnDaemon, seed: LibtorrentClient, *payloads: Payload) -> None:
    seed.limit_uploads(0)
    for each in payloads:
        scene.wait_for(daemon, each, "seeding")


def test_generation_that_moved_on_is_over_after_a_restart_too(tmp_path: Path) -> None:
    with OwnDaemon(tmp_path) as daemon:
        old = begin(daemon)
        begin(daemon)
        wait_until((daemon.state / "daemon.db").exists, timeout_s=30, what="it is written")
        daemon.ask("POST", "/api/v1/shutdown")
        assert daemon.wait() == 0
        daemon.start()
        late = _add_late(daemon, old)
        assert (late.status_code, late.json()["code"]) == (409, "owner_changed")
        assert begin(daemon)["owner"]["generation"] == 3


@pytest.mark.parametrize("returns", [True, False], ids=["loaded again", "closed"])
def test_what_a_killed_daemon_leaves_goes_with_its_owner(tmp_path: Path, *, returns: bool) -> None:
    payload, daemon = payload_in(tmp_path), OwnDaemon(tmp_path)
    with (
        scene.seeded(tmp_path, payload, bytes_per_s=scene.SLOW) as seed,
        foreign_files(daemon, payload) as folder,
        daemon,
    ):
        scene.add(daemon, payload, seed, **begin(daemon))
        scene.wait_for_bytes(daemon, payload, 450_000)
        assert len(files_in(folder)) > 2
        seed.limit_uploads(1)
        daemon.kill()
        assert len(files_in(folder)) > 2
        daemon.start()
        with EventStream(daemon) as stream:
            assert payload.info_hash.hex() in scene.hashes(daemon)
            if returns:
                assert daemon.ask("POST", f"{TAB}/generation")["generation"] == 2
            else:
                daemon.ask("PUT", f"{TAB}/lease", {"lease_s": 0.5})
            check_cancelled(daemon, stream, payload)
        assert daemon.ask("GET", TAB)["torrents"] == []
        assert daemon.ask("GET", "/api/v1/health")["orphans"] == []
