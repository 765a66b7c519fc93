"""``torrent-engine dht get`` and ``put``: values that nodes keep (BEP 44)."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from torrent_engine.base.config import DHT_BENCODE_LIMITS
from torrent_engine.base.errors import BencodeError
from torrent_engine.base.ids import NodeId
from torrent_engine.cli.dht.access import Access, Summary, ask
from torrent_engine.cli.dht.lookups import print_stored
from torrent_engine.cli.options.common import CommandOptions
from torrent_engine.cli.output import render
from torrent_engine.cli.output.exit_codes import CliError, ExitCode
from torrent_engine.cli.output.text import safe
from torrent_engine.codec.bencode import BencodeValue, decode, encode
from torrent_engine.protocol.dht.events import DhtEvent, ItemFound
from torrent_engine.protocol.dht.items import (
    PUBLIC_KEY_BYTES,
    MutableItem,
    immutable_target,
    mutable_target,
    sign_item,
)
from torrent_engine.protocol.dht.krpc import Bencoded

MAX_VALUE_BYTES: Final = 1_000  # BEP 44, bencoded
SEED_BYTES: Final = 32
STDIN: Final = "-"


class NewestItem:
    """Keeps the last item that a lookup tells; of signed ones that is the newest."""

    def __init__(self) -> None:
        self.found: ItemFound | None = None

    def __call__(self, event: DhtEvent) -> None:
        """Take an event of the lookup."""
        if isinstance(event, ItemFound) and self._sequence(event) >= self._sequence(self.found):
            self.found = event

    @property
    def sequence(self) -> int | None:
        """The version that was found; None if there is none."""
        return self._sequence(self.found) if self.found is not None else None

    @staticmethod
    def _sequence(event: ItemFound | None) -> int:
        return event.item.sequence if event is not None and event.item is not None else -1


def get(options: CommandOptions) -> ExitCode:
    """Fetch and print a value."""
    target, salt = options["target"], options["salt"]
    if len(target) == PUBLIC_KEY_BYTES:
        target = mutable_target(target, salt)
    newest = NewestItem()
    summary = ask(options, lambda access: _get(access, NodeId(target), salt, newest))
    if newest.found is None:
        raise CliError(f"no node has it; {summary.line()}", summary.found_nothing)
    if options["as_json"]:
        render.print_json({**_record(newest.found), **summary.counts()})
    elif options["raw"]:
        render.print_line(newest.found.value.hex())
    else:
        render.print_line(safe(shown(decode(newest.found.value, limits=DHT_BENCODE_LIMITS))))
    return ExitCode.OK


async def _get(access: Access, target: NodeId, salt: bytes, newest: NewestItem) -> Summary:
    return await access.look_up(lambda node, now: node.get(target, salt=salt, now=now), newest)


def shown(value: BencodeValue) -> str:
    """Return a value as a line: text as it is, anything else as JSON."""
    plain = as_json(value)
    return plain if isinstance(plain, str) else json.dumps(plain)


def as_json(value: BencodeValue) -> object:
    """Return what JSON can carry; bytes that are no text are {"hex": ...}."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"hex": value.hex()}
    if isinstance(value, Mapping):
        return {
            key.decode("utf-8", "backslashreplace"): as_json(each) for key, each in value.items()
        }
    if isinstance(value, list):
        return [as_json(each) for each in value]
    return value


def _record(found: ItemFound) -> dict[str, object]:
    fields: dict[str, object] = {
        "target": found.target.hex(),
        "value": as_json(decode(found.value, limits=DHT_BENCODE_LIMITS)),
        "bencoded": found.value.hex(),
    }
    if found.item is not None:
        fields |= {
            "key": found.item.key.hex(),
            "salt": found.item.salt.hex(),
            "seq": found.item.sequence,
            "signature": found.item.signature.hex(),
        }
    return fields


def put(options: CommandOptions) -> ExitCode:
    """Have nodes keep a value."""
    value = _value(options)
    if options["key_file"] is None:
        if options["salt"] or options["sequence"] is not None:
            raise CliError("--salt and --seq belong to signed values; give a --key-file")
        return _put_immutable(options, value)
    return _put_mutable(options, value, read_seed(options["key_file"]))


def _put_immutable(options: CommandOptions, value: Bencoded) -> ExitCode:
    async def query(access: Access) -> Summary:
        return await access.look_up(lambda node, now: node.put_immutable(value, now=now))

    summary = ask(options, query)
    return _print_put(options, summary, {"target": immutable_target(value).hex()})


def _put_mutable(options: CommandOptions, value: Bencoded, seed: bytes) -> ExitCode:
    """Sign and put; without --seq after the newest version, and only in place of that."""
    salt, sequence = options["salt"], options["sequence"]

    async def query(access: Access) -> tuple[Summary, MutableItem]:
        item, replaced = sign_item(seed, value, sequence or 0, salt=salt), None
        if sequence is None:
            newest = NewestItem()
            await _get(access, NodeId(item.target), salt, newest)
            if (replaced := newest.sequence) is not None:
                item = sign_item(seed, value, replaced + 1, salt=salt)
        put = await access.look_up(lambda node, now: node.put_mutable(item, cas=replaced, now=now))
        return put, item

    summary, item = ask(options, query)
    fields = {"key": item.key.hex(), "target": item.target.hex(), "seq": item.sequence}
    return _print_put(options, summary, fields)


def _print_put(options: CommandOptions, summary: Summary, fields: dict[str, object]) -> ExitCode:
    """Print what `get` wants, then who keeps it."""
    if not options["as_json"]:
        name, shown_as = next(iter(fields.items()))
        version = f", version {fields['seq']}" if "seq" in fields else ""
        render.print_line(f"{name} {shown_as}{version}")
    return print_stored(options, summary, fields)


def _value(options: CommandOptions) -> Bencoded:
    """Return the value as it is kept. Raises CliError if it is malformed or too long."""
    text = options["value"]
    data = sys.stdin.buffer.read(MAX_VALUE_BYTES + 1) if text == STDIN else os.fsencode(text)
    if options["bencoded"]:
        try:
            decode(data, limits=DHT_BENCODE_LIMITS, canonical=True)
        except BencodeError as error:
            raise CliError(f"VALUE: {error}", ExitCode.BAD_BENCODE) from error
    value = Bencoded(data if options["bencoded"] else encode(data))
    if len(value) > MAX_VALUE_BYTES:
        raise CliError(f"VALUE: nodes take {MAX_VALUE_BYTES} bytes at most, bencoded")
    return value


def read_seed(path: Path) -> bytes:
    """Return the seed of a key from its file, which only its owner may read; made if missing.

    Raises OSError, and CliError if it is no seed.
    """
    try:
        with path.open("rb") as file:
            seed = file.read(SEED_BYTES + 1)
    except FileNotFoundError:
        seed = os.urandom(SEED_BYTES)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(seed)
    if len(seed) != SEED_BYTES:
        raise CliError(f"{path}: is no key: a seed has exactly {SEED_BYTES} bytes")
    return seed
