"""Flips bytes of a resume database and opens it: the short form of row F6's 10,000 flips.

python -m tests.disk.damage 10000
"""

import logging
import shutil
import sqlite3
import sys
import tempfile
from functools import partial
from pathlib import Path
from random import Random

import anyio

from tests.disk.helpers import CONFIG
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.disk.state.job_table import JobFilter, read_jobs, read_unfinished, write_changes
from torrent_engine.disk.state.records import DhtRecord, Progress, TorrentRecord
from torrent_engine.disk.state.session_table import SessionRecord, load_sessions, save_sessions
from torrent_engine.disk.state.store import StateStore

TORRENTS = 12
PIECES = 4_000
SETTINGS = {"save_path": "/x", "state": "seeding"}
DHT = DhtRecord(is_ipv6=False, node_id=bytes(20), nodes=bytes(26) * 200)


def add_job(db: sqlite3.Connection, *, info_hash: bytes) -> None:
    job = {"kind": "seed", "info_hash": info_hash, "name": "n", "status": "running"}
    write_changes(db, "0" * 32, {info_hash.hex(): {**job, "created_s": 1.0, "updated_s": 1.0}})


async def make_state(folder: Path) -> dict[bytes, bytes]:
    """Fill a database; return the ``have`` of each torrent."""
    random, haves = Random(1), {}
    async with await StateStore.open(folder, config=CONFIG) as store:
        for number in range(TORRENTS):
            metainfo, _ = make_torrent(payload_of(500, number))
            have = random.randbytes(PIECES // 8)
            record = TorrentRecord(metainfo.info_hash, str(number), "/x")
            await store.save_torrent(record)
            progress = Progress(PIECES, have, have, bytes(PIECES // 8), "boot", is_clean=True)
            await store.save_progress(metainfo.info_hash, progress, partial={1: 7, 9: 1})
            haves[bytes(metainfo.info_hash)] = have
            session = SessionRecord(metainfo.info_hash, number, SETTINGS, metainfo.source)
            await save_sessions(store, [session])
            await store.run(partial(add_job, info_hash=metainfo.info_hash))
        await store.save_dht([DHT])
    return haves


async def flip_and_open(folder: Path, *, flips: int, seed: int) -> int:
    """Return how many damaged databases opened, with every ``have`` right or not there."""
    random, state, good = Random(seed), folder / "state", folder / "good"
    haves = await make_state(state)
    state.rename(good)
    data = (good / "state.db").read_bytes()
    opened = 0
    for _ in range(flips):
        shutil.copytree(good, state)
        damaged = bytearray(data)
        for _ in range(random.choice((1, 1, 10))):
            damaged[random.randrange(len(data))] ^= 1 << random.randrange(8)
        (state / "state.db").write_bytes(damaged)
        async with await StateStore.open(state, config=CONFIG) as store:
            for info_hash, have in haves.items():
                record = await store.load(info_hash)  # type: ignore[arg-type]
                if record is not None and record.progress is not None:
                    assert record.progress.have == have
            assert {record.info_hash for record in await store.load_all()} == set(haves)
            assert await store.load_dht() in ([DHT], [])
            sessions = await load_sessions(store)
            assert {record.info_hash for record in sessions} == set(haves)
            assert all(record.settings == SETTINGS for record in sessions)
            jobs = await store.run(lambda db: read_jobs(db, JobFilter()))
            assert {owned.job.info_hash for owned in jobs} <= set(haves)
            assert len(await store.run(read_unfinished)) <= len(haves)
        opened += 1
        shutil.rmtree(state)
    return opened


def main() -> None:
    logging.disable()
    flips = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as name:

        async def run() -> int:
            return await flip_and_open(Path(name), flips=flips, seed=flips)

        print(f"{anyio.run(run)} of {flips} damaged databases opened, no false bit")


if __name__ == "__main__":
    main()
