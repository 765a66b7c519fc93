"""Settings of the whole process, and which form of output a command was asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class ProcessSettings:
    """Options that hold for the whole process, whichever command runs."""

    debug: bool = False
    no_color: bool = False
    config_file: Path | None = None
    log_file: Path | None = None
    log_level: str = "INFO"

    def turn_on(self, attribute: str) -> None:
        """Set one of them; with debug the program also says on stderr what happens."""
        setattr(self, attribute, True)
        if attribute == "debug":
            _log_to_stderr()


def wants_json(options: Mapping[str, Any]) -> bool:
    """Return whether events are printed; to choose some is to ask for them."""
    return bool(options["as_json"] or options["json_events"])


def _log_to_stderr() -> None:
    import logging

    logging.getLogger("torrent_engine").setLevel(logging.NOTSET)  # as the root, whatever was said
    logging.basicConfig(level=logging.DEBUG, format="%(relativeCreated)8d %(name)s %(message)s")
