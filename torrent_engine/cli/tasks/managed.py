"""What the commands share that manage the torrents of a state folder."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click

from torrent_engine.cli.options.common import Command, CommandOptions, common_options
from torrent_engine.cli.options.groups import state_option
from torrent_engine.cli.output.exit_codes import CliError, ExitCode
from torrent_engine.service.system import HAS_UNIX_SOCKETS

if TYPE_CHECKING:
    from torrent_engine.service.torrents import TorrentControl, TorrentRow

Result = TypeVar("Result")
EPILOG: Final = (
    "A TORRENT is its number in the last `list`, its name or a part of it, or the first digits of"
    " its info-hash; it must be unambiguous. Whoever runs the torrents of the state folder is"
    " asked: `torrent-engine daemon` or `torrent-engine run`."
)
EITHER_WAY: Final = f"{EPILOG} This works while nobody runs them, too."


def managing_options(command: Command) -> Command:
    """Add the options of all these commands."""
    json_option = click.option(
        "--json", "as_json", is_flag=True, help="Print one line of JSON for each torrent."
    )
    return json_option(state_option(common_options(command)))


def several_torrents(command: Command) -> Command:
    """Add names of torrents, or all of them."""
    named = click.argument("torrents", nargs=-1, metavar="TORRENT...")
    return named(
        click.option("-a", "--all", "takes_all", is_flag=True, help="All torrents.")(command)
    )


def one_torrent(command: Command) -> Command:
    """Add the name of a torrent."""
    return click.argument("torrent", metavar="TORRENT")(command)


@dataclass(frozen=True, slots=True)
class ManagedFolder:
    """A state folder whose torrents are listed and changed."""

    path: Path

    def named(self, rows: "Sequence[TorrentRow]", names: Sequence[str]) -> "list[TorrentRow]":
        """Return the torrents that users name, without duplicates. Raises CliError."""
        from torrent_engine.cli.output.torrent_table import find_torrent
        from torrent_engine.cli.tasks.last_list import read_list

        numbered = read_list(self.path) if any(map(str.isdecimal, names)) else []
        found = (find_torrent(rows, name, numbered) for name in names)
        return list({row.info_hash: row for row in found}.values())

    async def one(self, torrents: "TorrentControl", name: str) -> "TorrentRow":
        """Return the torrent that a user names. Raises CliError."""
        return self.named(await torrents.rows(), [name])[0]

    def run(self, work: "Callable[[TorrentControl], Awaitable[Result]]") -> Result:
        """Run ``work`` with the torrents of the folder."""
        from torrent_engine.service import loop

        if not HAS_UNIX_SOCKETS:
            raise CliError("there are no unix sockets on Windows: use `run` and the library")

        async def run() -> Result:
            from torrent_engine.service.control_client import open_torrents

            async with open_torrents(self.path) as torrents:
                return await work(torrents)

        return loop.run(run)


def managed_folder(options: CommandOptions) -> ManagedFolder:
    """Return the state folder of options. Raises CliError if no torrents were ever there."""
    from torrent_engine.engine.resources.state_folder import default_state_dir

    folder: Path = options["state_dir"] or default_state_dir()
    if not (folder / "state.db").exists() and not (folder / "daemon.sock").exists():
        raise CliError(
            f"{folder}: no torrents there; start `torrent-engine daemon`, or name the folder of"
            " one that runs with --state-dir",
            ExitCode.NOT_FOUND,
        )
    return ManagedFolder(folder)
