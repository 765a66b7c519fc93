"""The program of ``--on-complete``: made from the options, reported to the user."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from torrent_engine.cli.output.exit_codes import CliError
from torrent_engine.cli.output.render import Reporter
from torrent_engine.cli.output.text import safe
from torrent_engine.service.completion_hook import (
    FAILED,
    STARTED,
    CompletionHook,
    HookConfig,
    HookReport,
)


def completion_hook(options: Mapping[str, Any], reporter: Reporter) -> CompletionHook | None:
    """Return what runs the program for each finished download; None if none is wanted."""
    program = options.get("on_complete")
    if program is None:
        return None
    config = HookConfig(program, options["on_complete_timeout"] or math.inf)
    return CompletionHook(config, partial(_report, reporter))


def _report(reporter: Reporter, report: HookReport) -> None:
    name, info_hash = safe(report.download.name), report.download.info_hash.hex()
    if report.type == FAILED:
        reporter.error(CliError(report.message), about=name)
    elif report.type == STARTED:
        reporter.note(f"{name}: {safe(report.message)}")
    path = str(report.download.path)
    facts = {"info_hash": info_hash, "path": path, "message": report.message}
    reporter.record({"type": report.type, **facts})
