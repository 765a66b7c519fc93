"""What the README shows works: its Python runs, its commands and options exist, as do its links."""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest

from tests.support.swarm import seed
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.cli.main import cli
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.protocol.wire.messages import HANDSHAKE_BYTES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
RUNNABLE = [block for block in BLOCKS if '"a.torrent"' in block]
COMMANDS = re.findall(r"^\| `(torrent-engine \w[^`]*)`", README, re.MULTILINE)
DOCUMENTS = ["README.md", "ARCHITECTURE.md", "SECURITY.md", "CHANGELOG.md", "bench/README.md"]
MADE_BY_HAND = {"RESULTS.md"}  # by the benchmarks
ALONE = """
from torrent_engine.base.config import DhtConfig, LsdConfig
for config in (DhtConfig, LsdConfig):
    config.__init__.__defaults__ = (False, *config.__init__.__defaults__[1:])
    assert not config().enabled
"""  # the README's programs ask the DHT and the local network; its tests do not


@pytest.fixture
def complete_torrent(tmp_path: Path) -> Metainfo:
    """Put ``a.torrent`` and its finished download into the test's folder."""
    metainfo, payload = make_torrent(b"some payload" * 5_000, name="a.txt")
    (tmp_path / "a.torrent").write_bytes(metainfo.to_bytes())
    write_files(metainfo, payload, tmp_path / "downloads")
    return metainfo


def test_readme_has_the_blocks_that_are_tested_here() -> None:
    assert len(BLOCKS) == 5
    assert len(RUNNABLE) == 2


@pytest.mark.parametrize("block", RUNNABLE)
def test_block_of_the_readme_runs_to_its_end(
    block: str, tmp_path: Path, complete_torrent: Metainfo
) -> None:
    home = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ALONE + block],
        cwd=tmp_path,
        env=os.environ | home,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert complete_torrent.name in done.stdout or "print" not in block


@pytest.mark.parametrize("block", BLOCKS)
def test_block_of_the_readme_compiles(block: str) -> None:
    assert compile(block, "README.md", "exec").co_code


def test_protocol_block_of_the_readme_gives_a_handshake(
    complete_torrent: Metainfo, capsys: pytest.CaptureFixture[str]
) -> None:
    names = run_definitions("def greet")
    sent = names["greet"](complete_torrent, b"")
    assert len(sent) == HANDSHAKE_BYTES
    names["greet"](complete_torrent, sent.replace(b"-XX", b"-YY"))
    assert capsys.readouterr().out.startswith("HandshakeReceived")


def test_event_block_of_the_readme_names_events_that_exist() -> None:
    block = next(each for each in BLOCKS if "stream(" in each)
    assert callable(run_definitions("stream(")["watch"])
    types = event_types()
    assert set(re.findall(r'"([a-z]+\.[a-z_]+)"', block)) <= types


@pytest.mark.anyio
async def test_reading_block_of_the_readme_gives_the_end_of_a_file(tmp_path: Path) -> None:
    metainfo, payload = make_torrent({"some/film.mkv": payload_of(3 * 2**20), "other": b"x" * 50})
    async with seed(tmp_path, metainfo, payload) as (session, _):
        end = await run_definitions("session.open")["last_megabyte"](session)
    assert end == payload_of(3 * 2**20)[-(2**20) :]


def run_definitions(having: str) -> dict[str, Any]:
    """Run the block with some text in it, and return the names that it defines."""
    names: dict[str, Any] = {}
    exec(compile(next(each for each in BLOCKS if having in each), "README.md", "exec"), names)
    return names


def event_types() -> set[str]:
    from torrent_engine.engine import events

    classes = [each for each in vars(events).values() if isinstance(each, type)]
    return {each.type for each in classes if issubclass(each, events.Event)}


@pytest.mark.parametrize("line", COMMANDS)
def test_command_line_of_the_readme_is_accepted_by_its_parser(line: str) -> None:
    name, *arguments = shlex.split(line)[1:]
    with click.Context(cli, info_name="torrent-engine") as context:
        command = cli.get_command(context, name)
        if isinstance(command, click.Group):
            command = command.get_command(context, arguments.pop(0))
        assert command is not None
        known = {option for each in command.params for option in each.opts + each.secondary_opts}
        used = {word.partition("=")[0] for word in arguments if word.startswith("-")}
        assert used <= known


def test_readme_shows_every_command() -> None:
    with click.Context(cli) as context:
        names = set(cli.list_commands(context))
    assert {line.split()[1] for line in COMMANDS} == names


def test_limits_of_the_readme_are_the_defaults() -> None:
    from torrent_engine.base.config import FILE_BENCODE_LIMITS, SharedConfig
    from torrent_engine.codec.metainfo import MAX_PIECE_BYTES, MAX_PIECES, MIN_PIECE_BYTES

    config, mib = SharedConfig(), 1 << 20
    shown = dict(re.findall(r"^\| ([^`|]+?) \| ([^`|]+?) \|$", README, re.MULTILINE))
    assert shown["size of a .torrent; pieces; length of a piece"] == (
        f"{FILE_BENCODE_LIMITS.max_bytes // mib} MiB; {MAX_PIECES:,}; "
        f"{MIN_PIECE_BYTES >> 10} KiB to {MAX_PIECE_BYTES // mib} MiB"
    )
    assert shown["connections of one torrent; of all"] == (
        f"{config.pool.max_connections_per_torrent}; {config.pool.max_connections}"
    )
    assert shown["requests of a peer that wait"].startswith(
        f"{config.wire.max_queued_requests:,}, "
    )
    wire = config.wire
    assert shown["handshake; silence; reading next to nothing"].startswith(
        f"{wire.handshake_timeout_s:g} s; {wire.idle_timeout_s:g} s; {wire.unread_timeout_s:g} s, "
    )
    assert shown["one message of a peer"].endswith(
        f"{wire.max_unfinished_bytes // mib} MiB, and {wire.message_timeout_s:g} s each"
    )
    assert shown["messages of a peer beside payload"].startswith(
        f"{wire.max_control_units_per_s:g} a second and a share of "
        f"{wire.max_shared_control_units_per_s:,}, "
    )
    assert shown["what waits for a peer to read it, beside payload"] == (
        f"{wire.max_unsent_bytes >> 10} KiB"
    )
    assert shown["bytes that wait for the disk"].startswith(
        f"{config.disk.write_queue_high_bytes // mib} MiB, "
    )
    assert shown["metadata from peers; held of it in all, lies included"] == (
        f"{config.metadata.max_bytes // mib} MiB; {config.metadata.max_held_bytes // mib} MiB"
    )
    assert (
        shown["tracker answer, decompressed"] == f"{config.tracker.max_response_bytes // mib} MiB"
    )
    assert shown["open files of the payload"] == str(config.disk.max_open_files)


def test_every_setting_has_a_number_with_a_unit_or_a_count_in_its_name() -> None:
    """The README promises a unit in the name of whatever is a size or a time."""
    from torrent_engine.base import config

    for kind in (config.WireLimits, config.PoolConfig, config.TrackerConfig, config.DiskConfig):
        for each in fields(kind):
            if each.type == "float" or isinstance(each.default, float):
                assert each.name.endswith("_s"), f"{kind.__name__}.{each.name}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_of_the_documents_lead_somewhere(name: str) -> None:
    path = ROOT / name
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists() or Path(target).name in MADE_BY_HAND, target
