"""``torrent-engine verify``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import click

from torrent_engine.cli.options.common import FOLDER, SOURCE, common_options, settings_of
from torrent_engine.cli.options.groups import state_option, torrent_size_option
from torrent_engine.cli.output.exit_codes import CliError, ExitCode
from torrent_engine.cli.tasks.job_record import recorded

if TYPE_CHECKING:
    from torrent_engine.cli.output.render import Reporter
    from torrent_engine.codec.metainfo import Metainfo
    from torrent_engine.disk.files.storage_manager import StorageManager

UNCERTAIN: Final = "uncertain: shares a piece with a file that is not right"


@click.command("verify", epilog="Nothing is written, and saved state is ignored.")
@click.argument("torrents", nargs=-1, type=SOURCE, required=True, metavar="TORRENT...")
@click.option(
    "-d",
    "--dir",
    "folder",
    type=FOLDER,
    default=Path(),
    help="Folder of the data.  [default: the current folder]",
)
@click.option(
    "-o",
    "outputs",
    multiple=True,
    metavar="[INDEX=]NAME",
    help="Name of the file on disk; INDEX selects one of several files; may be repeated.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    metavar="N",
    help="Hashing threads.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON for each torrent.")
@click.option("-q", "--quiet", is_flag=True, help="Print only errors.")
@torrent_size_option
@state_option
@common_options
@click.pass_context
def command(context: click.Context, /, **options: Any) -> ExitCode:  # noqa: ANN401
    """Check the data of each TORRENT against its hashes, file by file."""
    from torrent_engine.cli.tasks.each import for_each

    debug = settings_of(context).debug
    return for_each(options["torrents"], lambda one: _verify(one, context, options), debug=debug)


@dataclass(slots=True)
class Findings:
    """What hashing one torrent has shown so far."""

    metainfo: "Metainfo"
    checked: int = 0
    bad: set[int] = field(default_factory=set)

    def note(self, piece: int, matches: bool) -> None:  # noqa: FBT001 - the hasher's callback
        """Take one piece's result."""
        self.checked += 1
        if not matches:
            self.bad.add(piece)

    def files(self, storage: "StorageManager") -> list[dict[str, object]]:
        """Return a record for each file that has a place on disk."""
        paths = {
            index: storage.path_of(index)
            for index, entry in enumerate(self.metainfo.files)
            if not entry.is_pad and entry.symlink_target is None
        }
        faults = storage.faults
        unsure = {piece for index in faults for piece in self._pieces_of(index)}
        return [
            {
                "index": index + 1,
                "path": str(path),
                "pieces": len(self._pieces_of(index)),
                "bad_pieces": sum(1 for piece in self._pieces_of(index) if piece in self.bad),
                "status": faults.get(index) or self._status(index, unsure),
            }
            for index, path in paths.items()
        ]

    def _pieces_of(self, index: int) -> range:
        return self.metainfo.layout.pieces_of(index, self.metainfo.geometry)

    def _status(self, index: int, unsure: set[int]) -> str:
        bad = self.bad.intersection(self._pieces_of(index))
        if not bad:
            return "ok"
        return "damaged" if bad - unsure else UNCERTAIN


def _verify(source: str, context: click.Context, options: dict[str, Any]) -> ExitCode:
    from torrent_engine.cli.output import render
    from torrent_engine.cli.tasks import arguments
    from torrent_engine.service import loop

    metainfo = arguments.load_now(source, options["max_torrent_size"])
    _refuse_without_hashes(metainfo)
    if not options["folder"].is_dir():
        raise CliError(f"{options['folder']}: no such folder", ExitCode.NOT_FOUND)
    quiet = options["quiet"] or options["as_json"]
    reporter = render.reporter_for(settings_of(context), as_json=False, quiet=quiet)
    check = _Check(metainfo, options, reporter)
    with recorded(
        "check",
        name=metainfo.name,
        info_hash=metainfo.info_hash,
        state_dir=options["state_dir"],
    ) as record:
        loop.run(lambda: loop.run_until_signalled(check.run))
        if check.records is None:
            raise KeyboardInterrupt  # stopped by a signal: unfinished
        record.total_bytes = metainfo.total_bytes
        if check.findings.bad:
            bad, count = len(check.findings.bad), metainfo.piece_count
            record.failure = f"{bad} of {count} pieces do not match"
        elif wrong := sum(1 for file in check.records if file["status"] != "ok"):
            record.failure = f"{wrong} of {len(check.records)} files are not right"
    return _report(check.findings, check.records, as_json=options["as_json"], quiet=quiet)


def _refuse_without_hashes(metainfo: "Metainfo") -> None:
    """Raise CliError for a v2 torrent that lacks hashes of pieces, which nothing replaces."""
    if metainfo.v2 is not None and metainfo.info_hash_v1 is None:
        missing = sum(1 for _ in metainfo.v2.missing_layers())
        if missing:
            raise CliError(f'no "piece layers" (BEP 52) of {missing} files: nothing to check with')


class _Check:
    """One run over a torrent's data."""

    def __init__(self, metainfo: "Metainfo", options: dict[str, Any], reporter: "Reporter") -> None:
        self.findings = Findings(metainfo)
        self.records: list[dict[str, object]] | None = None
        self._options = options
        self._reporter = reporter

    async def run(self) -> None:
        """Hash everything; the records are there when this ends undisturbed."""
        with self._reporter:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._display)
                self.records = await self._hash()
                tasks.cancel_scope.cancel()

    async def _hash(self) -> list[dict[str, object]]:
        from torrent_engine.base.config import DiskConfig
        from torrent_engine.cli.options.selection import renamed_files
        from torrent_engine.disk.files.storage_manager import StorageManager
        from torrent_engine.disk.pieces.hasher import check_pieces
        from torrent_engine.disk.resume.file_names import name_files_as_found

        metainfo, threads = self.findings.metainfo, self._options["threads"]
        limiter = anyio.CapacityLimiter(threads + 1)
        renames = renamed_files(metainfo, self._options["outputs"])
        storage = StorageManager(
            metainfo,
            self._options["folder"],
            disk_limiter=limiter,
            config=DiskConfig(hash_threads=threads),
            reports_faults=True,
        )
        chosen = {index: tuple(path.split("/")) for index, path in renames}
        await storage.in_thread(lambda: name_files_as_found(storage, chosen))
        await storage.open(create=False)
        try:
            await check_pieces(
                storage,
                metainfo,
                range(metainfo.piece_count),
                limiter=limiter,
                threads=threads,
                on_result=self.findings.note,
            )
            return self.findings.files(storage)
        finally:
            await storage.close()

    async def _display(self) -> None:
        from torrent_engine.cli.output.sizes import format_percent
        from torrent_engine.cli.output.text import safe
        from torrent_engine.cli.output.views import work_row

        label, total = safe(self.findings.metainfo.name), self.findings.metainfo.piece_count
        while True:
            done = self.findings.checked
            facts = f"checking {format_percent(done, total)}", f"pieces {done}/{total}"
            self._reporter.update([work_row(label, facts, done, total)])
            await anyio.sleep(self._reporter.interval_s)


def _report(
    findings: Findings, files: list[dict[str, object]], *, as_json: bool, quiet: bool
) -> ExitCode:
    from torrent_engine.cli.output.render import print_json, print_wrapped
    from torrent_engine.cli.output.text import safe

    metainfo, bad = findings.metainfo, len(findings.bad)
    wrong = [file for file in files if file["status"] != "ok"]
    good = metainfo.piece_count - bad
    if as_json:
        fields = {"name": metainfo.name, "info_hash": metainfo.info_hash.hex(), "ok": not wrong}
        print_json({**fields, "pieces": metainfo.piece_count, "bad_pieces": bad, "files": files})
    elif not quiet:
        for file in wrong:
            print_wrapped(safe(f"{file['path']}: {file['status']}"))
        verb = "is" if len(wrong) == 1 else "are"
        verdict = f"{len(wrong)} of {len(files)} files {verb} not right" if wrong else "all right"
        pieces = f"{good} of {metainfo.piece_count} pieces match"
        print_wrapped(f"{safe(metainfo.name)}: {verdict}; {pieces}")
    elif wrong:
        raise CliError(f"{good} of {metainfo.piece_count} pieces match", ExitCode.CHECK_FAILED)
    return ExitCode.CHECK_FAILED if wrong else ExitCode.OK
