"""Run the conformance kit against programs, and write the matrix: JSON and one HTML page.

    python tools/conformance_matrix.py FOLDER libtorrent aria2 transmission:own-network --runs 3

FOLDER keeps the results of each run, and those that are there already are not run again. What a
program ends with is left out of the matrix, and so are paths of this machine.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from torrent_engine.conformance.reports.matrix import MatrixCell, MatrixColumn, matrix_page
from torrent_engine.conformance.reports.programs import (
    ProgramSummary,
    load_run,
    matrix_record,
    stability_html,
    summary_of,
)

ROOT = Path(__file__).parent.parent
OWN_NETWORK = ":own-network"
ENDS = ("sanity case failed", "process ended", "program ended", "does not run", "cannot be reached")
PATHS = re.compile(r"(?:/[\w.+-]+){2,}/?")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="of the results")
    parser.add_argument("programs", nargs="+", help="names, or files of TOML")
    parser.add_argument("--runs", type=int, default=1, help="of each program (default: 1)")
    parser.add_argument("--jobs", type=int, default=6, help="rules at a time (default: 6)")
    parser.add_argument("--at-once", type=int, default=1, help="programs (default: 1)")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "conformance")
    parser.add_argument("--report-only", action="store_true", help="run nothing")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)

    def run_all(program: str) -> None:
        for number in range(1, options.runs + 1):
            run(program, options.folder, number, options.jobs)

    if not options.report_only:
        with ThreadPoolExecutor(options.at_once) as threads:
            list(threads.map(run_all, options.programs))
    summaries = [summary(each, results(each, options.folder)) for each in options.programs]
    write(summaries, options.out)
    return 0


def label(program: str) -> str:
    return Path(program.removesuffix(OWN_NETWORK)).stem


def words(program: str) -> list[str]:
    subject = program.removesuffix(OWN_NETWORK)
    return ["run", "--subject", subject, *["--own-network"] * (subject != program)]


def run(program: str, folder: Path, number: int, jobs: int) -> None:
    """Run a program once, unless that was done; add how long it took and how busy it was."""
    path = folder / f"{label(program)}-{number}.json"
    if path.exists():
        return
    load, start = os.getloadavg()[0], time.monotonic()
    begun = path.with_suffix(".begun")
    log = folder / f"{path.stem}.log.d"
    kit = [sys.executable, "-m", "torrent_engine", "conformance", *words(program)]
    options = ["--jobs", str(jobs), "--json", str(begun), "--log", str(log)]
    done = subprocess.run([*kit, *options], check=False)
    print(f"{path.name}: exit code {done.returncode}, {time.monotonic() - start:.0f} s", flush=True)
    if begun.exists():
        record = json.loads(begun.read_text())
        record |= {"seconds": round(time.monotonic() - start), "load": round(load, 1)}
        path.write_text(json.dumps(record, indent=1) + "\n")
        begun.unlink()


def results(program: str, folder: Path) -> list[Path]:
    found = sorted(folder.glob(f"{label(program)}-*.json"))
    if not found:
        raise SystemExit(f"no results of {program} in {folder}")
    return found


def summary(program: str, paths: Sequence[Path]) -> ProgramSummary:
    is_ours = label(program) == "torrent-engine"
    runs = [load_run(each) for each in paths]
    if not is_ours:
        runs = [replace(each, column=without_ends(each.column)) for each in runs]
    found = summary_of(runs, withholds_crashes=not is_ours)
    column = replace(
        found.column, command=" ".join(["torrent-engine conformance", *words(program)])
    )
    return replace(found, column=without_paths(column))


def without_ends(column: MatrixColumn) -> MatrixColumn:
    """Leave out what an end of the process has spoilt."""
    cells = {
        rule_id: cell
        for rule_id, cell in column.cells.items()
        if not any(each in f"{cell.outcome} {cell.detail}" for each in ENDS)
    }
    return replace(column, cells=cells)


def without_paths(column: MatrixColumn) -> MatrixColumn:
    return replace(column, cells=dict(_cells(column)))


def _cells(column: MatrixColumn) -> Iterator[tuple[str, MatrixCell]]:
    for rule_id, cell in column.cells.items():
        log = re.sub(r"/(?:tmp|root|home|work)/\S*", "…", cell.log)
        yield rule_id, replace(cell, detail=PATHS.sub("…", cell.detail), log=log)


def write(summaries: Sequence[ProgramSummary], out: Path) -> None:
    text = json.dumps(matrix_record(summaries), indent=1, ensure_ascii=False)
    (out / "matrix.json").write_text(f"{text}\n")
    columns = [each.column for each in summaries]
    page = matrix_page(columns, withholds_crashes=True, above=stability_html(summaries))
    (out / "matrix.html").write_text(page)


if __name__ == "__main__":
    sys.exit(main())
