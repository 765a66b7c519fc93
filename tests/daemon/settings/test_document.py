"""docs/daemon-settings.md has every setting with its default, what it is and when it applies."""

import json
from pathlib import Path

import pytest

from torrent_engine.daemon.jobs.hook_facts import HookCall, HookEvent, HookTorrent
from torrent_engine.daemon.settings.fields import Applies, Spec
from torrent_engine.daemon.settings.model import SECTIONS, SPECS
from torrent_engine.daemon.settings.tables import TABLE_SPECS

TEXT = (Path(__file__).parents[3] / "docs" / "daemon-settings.md").read_text("utf-8")
WHEN = {Applies.LIVE: "at once", Applies.RESTART: "engine", Applies.PROCESS: "next start"}


def value_of(default: object) -> str:
    """Return a default as it stands in TOML; not set: nothing."""
    if default is None or default in ("", ()):
        return ""
    return f"`{json.dumps(default)}`"


def row_of(spec: Spec) -> str:
    """Return the row of a setting of a section."""
    meaning, name = spec.meaning, spec.key.partition(".")[2]
    where = "file" if meaning.is_file_only else ""
    text = meaning.text.rstrip(".")
    if meaning.choices:
        text += ": " + ", ".join(meaning.choices)
    return f"| `{name}` | {value_of(spec.default)} | {text} | {WHEN[meaning.applies]} | {where} |"


def table_row_of(spec: Spec) -> str:
    """Return the row of a setting of a list of tables."""
    name, text = spec.key.partition(".")[2], spec.meaning.text.rstrip(".")
    if spec.meaning.choices:
        text += ": " + ", ".join(spec.meaning.choices)
    return f"| `{name}` | {value_of(spec.default)} | {text} |"


@pytest.mark.parametrize("section", SECTIONS)
def test_section_has_all_its_settings(section: str) -> None:
    rows = [row_of(spec) for key, spec in SPECS.items() if key.startswith(f"{section}.")]
    assert "\n".join(rows) in TEXT


@pytest.mark.parametrize("name", TABLE_SPECS)
def test_list_of_tables_has_all_its_settings(name: str) -> None:
    rows = [table_row_of(spec) for spec in TABLE_SPECS[name].values()]
    assert f"## `[[{name}]]`" in TEXT
    assert "\n".join(rows) in TEXT


def test_variables_of_hooks_are_named() -> None:
    torrent = HookTorrent(
        hash="00", id=1, name="n", save_path="/", content_path="/n", category="", labels=(),
        size_bytes=1, downloaded_bytes=1, priority=0, tracker_hosts=(),
    )  # fmt: skip
    for variable in HookCall(HookEvent.TORRENT_ADDED, 0.0, torrent).environment({}):
        assert f"`{variable}`" in TEXT
