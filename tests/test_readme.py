"""README and docs/ show what works: their Python runs, their commands, options and links exist."""

import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest

import torrent_engine
from tests.support.swarm import seed
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine import config
from torrent_engine.base import errors
from torrent_engine.cli.main import cli
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine import events
from torrent_engine.protocol.wire.messages import HANDSHAKE_BYTES

ROOT = Path(__file__).parent.parent
WRITTEN = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
LINKED = [*WRITTEN, *(ROOT / name for name in ("ARCHITECTURE.md", "SECURITY.md", "CHANGELOG.md"))]
MADE_BY_HAND = {"RESULTS.md"}  # by the benchmarks
ALONE = """
from torrent_engine.config import DhtConfig, LsdConfig
for config in (DhtConfig, LsdConfig):
    config.__init__.__defaults__ = (False, *config.__init__.__defaults__[1:])
    assert not config().enabled
"""  # programs of the documents ask the DHT and the local network; their tests do not
QUIET = {
    "TORRENT_ENGINE_NO_DHT": "1",
    "TORRENT_ENGINE_NO_LSD": "1",
    "TORRENT_ENGINE_NO_PORT_MAPPING": "1",
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks_of(path: Path, language: str) -> list[str]:
    pattern = rf"^```{language}\n(.*?)^```$"
    return re.findall(pattern, path.read_text(), re.MULTILINE | re.DOTALL)


BLOCKS = {
    f"{name_of(path)} {number}": block
    for path in WRITTEN
    for number, block in enumerate(blocks_of(path, "python"))
}
RUNNABLE = {name: block for name, block in BLOCKS.items() if '"a.torrent"' in block}
COMMANDS = [
    command
    for path in WRITTEN
    for command in re.findall(r"^\| `(torrent-engine \w[^`]*)`", path.read_text(), re.MULTILINE)
    + re.findall(r"^    (torrent-engine [^>\n]*)", path.read_text(), re.MULTILINE)
]


def home(folder: Path) -> dict[str, str]:
    """Return an environment in which nothing leaves a folder and this machine."""
    own = {"HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | own | QUIET | {"PATH": path}


def definitions(having: str) -> dict[str, Any]:
    """Run the block with some text in it, and return the names that it defines."""
    names: dict[str, Any] = {}
    block = next(each for each in BLOCKS.values() if having in each)
    exec(compile(block, "a document", "exec"), names)
    return names


@pytest.fixture
def complete_torrent(tmp_path: Path) -> Metainfo:
    """Put ``a.torrent`` and its finished download into the test's folder."""
    metainfo, payload = make_torrent(b"some payload" * 5_000, name="a.txt")
    (tmp_path / "a.torrent").write_bytes(metainfo.to_bytes())
    write_files(metainfo, payload, tmp_path / "downloads")
    return metainfo


# -- Python ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", RUNNABLE.values(), ids=RUNNABLE.keys())
def test_program_of_the_documents_runs_to_its_end(
    block: str, tmp_path: Path, complete_torrent: Metainfo
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ALONE + block],
        cwd=tmp_path,
        env=home(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert complete_torrent.name in done.stdout or "print" not in block


def test_python_of_the_documents_passes_the_type_checker(tmp_path: Path) -> None:
    for number, block in enumerate(BLOCKS.values()):
        (tmp_path / f"block_{number}.py").write_text(block)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""
    assert len(BLOCKS) > 10


def test_protocol_block_gives_a_handshake(
    complete_torrent: Metainfo, capsys: pytest.CaptureFixture[str]
) -> None:
    names = definitions("def greet")
    sent = names["greet"](complete_torrent, b"")
    assert len(sent) == HANDSHAKE_BYTES
    names["greet"](complete_torrent, sent.replace(b"-XX", b"-YY"))
    assert capsys.readouterr().out.startswith("HandshakeReceived")


@pytest.mark.anyio
async def test_reading_block_gives_the_end_of_a_file(tmp_path: Path) -> None:
    metainfo, payload = make_torrent({"some/film.mkv": payload_of(3 * 2**20), "other": b"x" * 50})
    async with seed(tmp_path, metainfo, payload) as (session, _):
        end = await definitions("session.open")["last_megabyte"](session)
    assert end == payload_of(3 * 2**20)[-(2**20) :]


@pytest.mark.anyio
async def test_selecting_and_moving_blocks_do_what_they_say(tmp_path: Path) -> None:
    metainfo, payload = make_torrent({"a.txt": payload_of(50_000), "b.bin": payload_of(50_000, 1)})
    async with seed(tmp_path, metainfo, payload) as (session, _):
        await definitions("set_file_priorities")["only_text_files"](session)
        assert session.config.file_priorities == (4, 0)
        definitions("set_rate_limits")["slow_down"](session)
        assert session.config.max_download_bytes_per_s == 2_000_000


# -- the command line -----------------------------------------------------------------------------


def options_of(command: click.Command) -> set[str]:
    return {option for each in command.params for option in each.opts + each.secondary_opts}


def all_commands() -> Iterator[tuple[str, click.Command]]:
    with click.Context(cli, info_name="torrent-engine") as context:
        for name in cli.list_commands(context):
            command = cli.get_command(context, name)
            assert command is not None
            yield name, command
            if isinstance(command, click.Group):
                yield from ((f"{name} {each}", command.commands[each]) for each in command.commands)


EVERY_COMMAND = dict(all_commands())


@pytest.mark.parametrize("line", COMMANDS)
def test_command_line_of_the_documents_is_accepted_by_its_parser(line: str) -> None:
    name, *arguments = shlex.split(line)[1:]
    if name.startswith("-"):
        assert name == "--help"
        return
    command = EVERY_COMMAND[name]
    if isinstance(command, click.Group):
        command = EVERY_COMMAND[f"{name} {arguments.pop(0)}"]
    used = {word.partition("=")[0] for word in arguments if word.startswith("-")}
    assert used <= options_of(command)


def test_the_guide_shows_every_command() -> None:
    shown = {line.split()[1] for line in COMMANDS}
    assert {name.split()[0] for name in EVERY_COMMAND} <= shown


@pytest.mark.parametrize("path", WRITTEN, ids=name_of)
def test_options_and_variables_in_tables_exist(path: Path) -> None:
    rows = re.findall(r"^\| `(--[a-z-]+)[^`]*` \| `(\w+)[^`]*`", path.read_text(), re.MULTILINE)
    known = {
        (option, parameter.envvar)
        for command in EVERY_COMMAND.values()
        for parameter in command.params
        for option in parameter.opts
    }
    assert set(rows) <= known


# -- what is printed from the code ----------------------------------------------------------------

PRINTER = runpy.run_path(str(ROOT / "tools" / "docs_pages.py"))


def printed(name: str) -> str:
    text: str = PRINTER["PRINTERS"][name]()
    return text


def test_every_marker_of_the_documents_is_filled() -> None:
    markers = {
        name: path
        for path in WRITTEN
        for name in re.findall(r"<!-- print: (\S+)", path.read_text())
    }
    assert set(markers) == set(PRINTER["PRINTERS"])
    for path in markers.values():
        assert "<!-- print" not in PRINTER["filled"](path.read_text())


def test_every_option_of_every_command_is_in_the_reference() -> None:
    sections = dict(
        re.findall(r"^## (.+)\n((?:(?!## ).*\n?)*)", printed("command-line"), re.MULTILINE)
    )
    for name, command in EVERY_COMMAND.items():
        section = sections[f"torrent-engine {name}"]
        shown = [each for each in command.params if not getattr(each, "hidden", False)]
        options = [each for each in shown if isinstance(each, click.Option)]
        assert [each.name for each in options if each.opts[-1] not in section] == []


def test_every_field_of_every_configuration_is_in_the_reference() -> None:
    reference = printed("configuration")
    for name in config.__all__:
        kind = getattr(config, name)
        assert f"## {name}\n" in reference
        if hasattr(kind, "__dataclass_fields__"):
            assert all(f"| `{each.name}` |" in reference for each in fields(kind) if each.init)


def test_every_event_error_and_module_is_in_the_reference() -> None:
    kinds = [each for each in vars(events).values() if isinstance(each, type)]
    for each in kinds:
        if issubclass(each, events.Event) and each is not events.Event:
            assert f"## {each.__name__}\n\n`{each.type}`" in printed("events")
    assert all(
        f"- `{each.__name__}`" in printed("errors")
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, errors.TorrentEngineError)
    )
    modules = printed("modules")
    package = Path(torrent_engine.__file__).parent
    assert all(f"| `{path.stem}` |" in modules for path in package.rglob("[!_]*.py"))


def test_every_public_name_has_a_place_in_the_reference() -> None:
    pages = "\n".join(printed(name) for name in ("api", "configuration", "events", "errors"))
    for name in import_module("torrent_engine").__all__:
        assert re.search(rf"(torrent_engine\.|## |`){name}\b", pages) or name == "__version__"


def test_every_setting_has_a_number_with_a_unit_or_a_count_in_its_name() -> None:
    """The documents promise a unit in the name of whatever is a size or a time."""
    for kind in (config.WireLimits, config.PoolConfig, config.TrackerConfig, config.DiskConfig):
        for each in fields(kind):
            if each.type == "float" or isinstance(each.default, float):
                assert each.name.endswith("_s"), f"{kind.__name__}.{each.name}"


def test_manual_pages_and_scripts_are_those_of_the_commands(tmp_path: Path) -> None:
    """After a change of a command: python tools/man.py.

    In a process of its own: click keeps the help option of a command as it was first asked for.
    """
    share, new = ROOT / "share", tmp_path / "share"
    run = [sys.executable, str(ROOT / "tools" / "man.py"), str(new)]
    subprocess.run(run, check=True, capture_output=True, timeout=60, cwd=ROOT)
    assert texts_below(share) == texts_below(new)


def texts_below(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_text() for path in files}


# -- links and lists ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*LINKED, ROOT / "bench" / "README.md"], ids=name_of)
def test_links_of_the_documents_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
        assert (path.parent / target).exists() or Path(target).name in MADE_BY_HAND, target


def test_beps_of_the_readme_are_those_of_the_conformance_table() -> None:
    readme = (ROOT / "README.md").read_text()
    table = (ROOT / "docs" / "conformance.md").read_text()
    rows = re.findall(r"^\| ([\d, ]+) \| [^|]+ \| (\w+)", table, re.MULTILINE)
    said = dict(re.findall(r"^\| (yes|partly) \| (.*) \|$", readme, re.MULTILINE))
    for answer, listed in said.items():
        here = {int(bep) for beps, word in rows if word == answer for bep in beps.split(",")}
        found = {int(bep) for bep in re.findall(r"(?<![v\d])\d+", re.sub(r"\([^)]*\)", "", listed))}
        assert found == here


def test_every_test_that_the_documents_name_exists() -> None:
    named = {name for path in WRITTEN for name in re.findall(r"\btest_\w+\b", path.read_text())}
    tests = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    defined = {name for text in tests for name in re.findall(r"\bdef (test_\w+)", text)}
    defined |= {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    assert len(named) > 200
    assert {name for name in named - defined if not name.endswith("_")} == set()
