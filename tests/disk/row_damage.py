"""Damage inside rows: one bit of one field of one row, of whatever type the field is."""

import sqlite3
import struct
from random import Random
from typing import Any


def flip_a_field(db: sqlite3.Connection, table: str, random: Random) -> bytes:
    """Flip one bit of a random field of a random row; return the rowid of that row as bytes."""
    rowids = [row[0] for row in db.execute(f"SELECT rowid FROM {table}")]
    rowid = random.choice(rowids)
    cursor = db.execute(f"SELECT * FROM {table} WHERE rowid = ?", (rowid,))
    columns = [column[0] for column in cursor.description]
    row = cursor.fetchone()
    number = random.choice([n for n, value in enumerate(row) if value not in (None, "", b"")])
    value, is_text = flipped(row[number], random)
    mark = "CAST(? AS TEXT)" if is_text else "?"
    db.execute(f"UPDATE {table} SET {columns[number]} = {mark} WHERE rowid = ?", (value, rowid))
    return int(rowid).to_bytes(8, "big")


def flipped(value: Any, random: Random) -> tuple[Any, bool]:
    """Return a value with one bit changed, and whether it is to be stored as text."""
    if isinstance(value, int):
        return value ^ 1 << random.randrange(40), False
    if isinstance(value, float):
        bits = int.from_bytes(struct.pack(">d", value), "big") ^ 1 << random.randrange(52)
        return struct.unpack(">d", bits.to_bytes(8, "big"))[0], False
    data = bytearray(value.encode() if isinstance(value, str) else value)
    data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return bytes(data), isinstance(value, str)
