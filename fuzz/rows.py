"""Fuzz target of the resume database: tampered rows with correct checksums.

How to run it: ``python -m fuzz --help``.
"""

import json
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from fuzz.damage import damaged
from fuzz.runner import FuzzTarget, in_time
from torrent_engine.base.errors import StateDatabaseError
from torrent_engine.base.ids import InfoHash
from torrent_engine.disk.moves.plan import read_plan
from torrent_engine.disk.state.job_table import read_job_row
from torrent_engine.disk.state.records import (
    checksum,
    read_dht_row,
    read_progress_row,
    read_stamp_row,
    read_torrent_row,
    row_checksum,
)
from torrent_engine.disk.state.session_table import read_session_row

INFO_HASH = InfoHash(b"\xaa" * 20)
KEY = {"hex": "aa" * 20}
JOB = ["id", "owner", "download", KEY, "name", "running", 1.0, 2.0, None, 0.5, 9, 4, None, None]
STAMP = [1, 2, 3, {"hex": "00" * 16}, {"hex": "00" * 8}, 4]
RENAMES = {"0": ["a", "b"], "7": ["c"]}
PLAN = {
    "source": "/a", "target": "/b", "items": [[0, ["a"], ["b"]]], "renames": [[0, ["b"]]],
    "old_folders": [["a"]], "new_roots": ["b"], "device": 5, "total_bytes": 7,
}  # fmt: skip


def _checksum_of_row(*fields: Any) -> bytes:
    return row_checksum(fields)


READERS: tuple[tuple[Callable[[tuple[Any, ...]], object], Callable[..., bytes], list[Any]], ...] = (
    (
        read_torrent_row,
        checksum,
        [KEY, "name", "/save", 1.5, json.dumps(RENAMES), json.dumps({"peers": []})],
    ),
    (
        read_progress_row,
        checksum,
        [KEY, 9, {"hex": "ffff"}, {"hex": "0000"}, {"hex": "0000"}, "boot", 1],
    ),
    (read_dht_row, checksum, [0, KEY, {"hex": "bb" * 52}]),
    (read_session_row, _checksum_of_row, [KEY, 3, json.dumps({"state": "paused"})]),
    (read_job_row, _checksum_of_row, JOB),
)
"""What reads a row, the checksum behind its fields, and fields that are right."""
SCRAPS = (b"null", b"[]", b"{}", b'"', b"-1", b"1e400", b"\\u0000", b'{"hex": "00"}', b",", b"..")


@in_time
def fuzz_one(data: bytes) -> None:
    """Check one row, its fields as JSON: its reader takes it, or says that it is damaged."""
    try:
        fields = json.loads(data[1:])
    except (ValueError, RecursionError):
        return
    number = data[0] % (len(READERS) + 2)
    if number == len(READERS):
        with suppress(StateDatabaseError):
            read_plan(INFO_HASH, json.dumps(fields), is_placed=False)
    elif isinstance(fields, list):
        row = tuple(_value(each) for each in fields)
        if number > len(READERS):
            read_stamp_row((*row, *STAMP)[: len(STAMP)])
            return
        read, digest, good = READERS[number]
        row = (*row, *map(_value, good[len(row) :]))[: len(good)]
        with suppress(StateDatabaseError):
            read((*row, digest(*row)))


def _value(value: Any) -> Any:
    """Return what SQLite would give: no containers, 64 bits at most."""
    if isinstance(value, dict):
        with suppress(ValueError, TypeError):
            return bytes.fromhex(value.get("hex", ""))
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        is_small = not isinstance(value, int) or -(2**63) <= value < 2**63
        return value if is_small else None
    return None


def mutated(rng: random.Random) -> bytes:
    """Return the number of a reader and a row for it, mostly damaged, as text or in a value."""
    rows = [*(list(good) for _, _, good in READERS), PLAN, STAMP]
    number = rng.randrange(len(rows))
    row = rows[number]
    if rng.randrange(2) and isinstance(row, list):
        odd = (None, -1, 2**63 - 1, "", "x", {"hex": ""}, 1e300, "[]", '{"0": 1}', "[" * 50)
        row = list(row)
        row[rng.randrange(len(row))] = rng.choice(odd)
    return bytes([number]) + damaged(json.dumps(row).encode(), rng, SCRAPS)


TARGETS = {
    "rows": FuzzTarget(fuzz_one, mutated, max_bytes=512),
}
