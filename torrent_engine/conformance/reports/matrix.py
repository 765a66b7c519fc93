"""Results of several programs side by side, read from their JSON, as one HTML page."""

import html
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from torrent_engine.conformance.catalogue import all_rules
from torrent_engine.conformance.errors import ConformanceError
from torrent_engine.conformance.plan import title_of
from torrent_engine.conformance.reports.text import printable
from torrent_engine.conformance.rule import ConformanceRule
from torrent_engine.conformance.verdicts import WORDS, Verdict

MAX_LOG_BYTES: Final = 64 * 1024  # of one cell; a flood is shown by its beginning
NOT_SHOWN: Final = "not shown"
_STYLE: Final = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2em; color: #222; background: #fff }
table { border-collapse: collapse } th, td { border: 1px solid #ccc; padding: .2em .5em }
th { text-align: left; font-weight: 600 } td { vertical-align: top }
thead th { position: sticky; top: 0; background: #f4f4f4 } .group th { background: #eaeaea }
.P { background: #dcefdc } .F { background: #f5d5d2 } .X { background: #e5bcd8 }
.N, .U, .I { background: #f0f0ea } .none { color: #888 }
pre { max-width: 60em; overflow-x: auto; font-size: 12px } summary { cursor: pointer }
@media (prefers-color-scheme: dark) {
 body { color: #ddd; background: #181818 } th, td { border-color: #444 }
 thead th, .group th { background: #2a2a2a } .P { background: #1e3a1e } .F { background: #4d2320 }
 .X { background: #4a2540 } .N, .U, .I { background: #2c2c28 }
}
"""


@dataclass(frozen=True, slots=True)
class MatrixCell:
    """What one rule came to with one program."""

    verdict: Verdict
    outcome: str
    detail: str = ""
    log: str = ""
    """What was sent and received."""
    tries: tuple[Verdict, ...] = ()
    """Of each run, when there was more than one."""


@dataclass(frozen=True, slots=True)
class MatrixColumn:
    """The results of one program."""

    subject: str
    version: str
    command: str
    started: str
    kit: int
    cells: Mapping[str, MatrixCell] = field(default_factory=dict)
    """By id of the rule."""


def load_column(path: Path) -> MatrixColumn:
    """Read the JSON of a run, and the wire logs that it names. Raises ConformanceError."""
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ConformanceError(f"{path}: {error}") from error
    try:
        return column_of(record, path.parent)
    except (KeyError, TypeError, ValueError) as error:
        raise ConformanceError(f"{path}: no results of a run: {error!r}") from error


def column_of(record: Any, folder: Path) -> MatrixColumn:  # noqa: ANN401 - outside data
    """Return the results of a record; ``folder`` is where the names of its logs begin.

    Raises KeyError, TypeError or ValueError for a record that is none.
    """
    names = ("subject", "version", "command", "started")
    subject, version, command, started = (_text(record[key]) for key in names)
    if not isinstance(record["kit"], int) or not isinstance(record["rules"], list):
        raise TypeError("kit or rules")
    cells = {_text(each["id"]): _cell(each, folder) for each in record["rules"]}
    return MatrixColumn(subject, version, command, started, record["kit"], cells)


def _cell(record: Any, folder: Path) -> MatrixCell:  # noqa: ANN401 - outside data
    if not isinstance(record, dict):
        raise TypeError("a rule is no object")
    name = _text(record["log"]) if record.get("log") is not None else ""
    log = _log(folder / name) if Path(name).name == f"{record['id']}.log" else ""
    outcome, detail = _text(record["outcome"]), _text(record["detail"])
    tries = tuple(map(Verdict, record.get("runs", ())))
    return MatrixCell(Verdict(record["verdict"]), outcome, detail, log, tries)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _log(path: Path) -> str:
    """Return the beginning of a wire log; nothing if it is not there."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_LOG_BYTES).decode(errors="replace")
    except (OSError, ValueError):
        return ""


def matrix_page(
    columns: Sequence[MatrixColumn], *, withholds_crashes: bool = False, above: str = ""
) -> str:
    """Return the page: a column for each run, a row for each rule that one of them has.

    ``above`` is HTML that stands in front of the table.
    """
    title = "Conformance matrix"
    lines = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>",
        f"<p>{_legend()}</p><ul>",
        *(_about(each) for each in columns),
        f"</ul>{above}",
        "<table><thead><tr><th>Rule</th><th>Level</th><th>Requirement</th>",
        *(f"<th>{safe_html(each.subject)}<br>{safe_html(each.version)}</th>" for each in columns),
        "</tr></thead><tbody>",
        *_rows(columns, withholds_crashes=withholds_crashes),
        "</tbody></table></body></html>",
    ]
    return "\n".join(lines) + "\n"


def _legend() -> str:
    words = ", ".join(f"{kind.value} {WORDS[kind]}" for kind in Verdict)
    shown = f"A cell opens to what was sent and received; {NOT_SHOWN}: not run, or withheld."
    return f"{words}. N and U are no faults. {shown}"


def _about(column: MatrixColumn) -> str:
    facts = f"{column.version or 'unknown version'}, {column.started}, kit {column.kit}"
    command = f"<code>{safe_html(column.command)}</code>"
    return f"<li>{safe_html(column.subject)}: {safe_html(facts)}: {command}</li>"


def _rows(columns: Sequence[MatrixColumn], *, withholds_crashes: bool) -> Iterator[str]:
    ids = {rule_id for each in columns for rule_id in each.cells}
    rules = [each for each in all_rules() if each.rule_id in ids]
    for group, members in groupby(rules, key=lambda each: each.group):
        heading = f"{group} {title_of(group)}"
        yield f'<tr class="group"><th colspan="{3 + len(columns)}">{safe_html(heading)}</th></tr>'
        for each in members:
            cells = (_cell_html(c.cells.get(each.rule_id), withholds_crashes) for c in columns)
            yield f"<tr>{_rule_html(each)}{''.join(cells)}</tr>"


def _rule_html(rule: ConformanceRule) -> str:
    source = f' title="{safe_html(rule.source)}"'
    where = f'<th id="{rule.rule_id}">{rule.rule_id}</th><td>{rule.level.value}</td>'
    return f"{where}<td{source}>{safe_html(rule.requirement)}</td>"


def _cell_html(cell: MatrixCell | None, withholds_crashes: bool) -> str:  # noqa: FBT001 - private
    if cell is None:
        return f'<td class="none">{NOT_SHOWN}</td>'
    if withholds_crashes and cell.verdict is Verdict.CRASH:
        return f'<td class="none">{NOT_SHOWN}</td>'
    detail = f" ({cell.detail})" if cell.detail else ""
    text = f"<b>{cell.verdict.value}</b> {safe_html(cell.outcome + detail)}"
    if cell.log:
        log = "\n".join(map(safe_html, cell.log.splitlines()))
        text = f"<details><summary>{text}</summary><pre>{log}</pre></details>"
    return f'<td class="{cell.verdict.value}">{text}</td>'


def safe_html(text: str) -> str:
    """Return a text as HTML, without control characters."""
    return html.escape(printable(text))
