"""Default folder of the resume database."""

import os
import sys
from pathlib import Path
from typing import Final

STATE_FOLDER: Final = "torrent_engine"


def default_state_dir() -> Path:
    """Return the folder of this user."""
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_STATE_HOME") or home / ".local" / "state")
    return base / STATE_FOLDER
