"""What lies in folders that clients may look at."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os


def is_folder_entry(entry: "os.DirEntry[str]") -> bool:
    """Return whether this is a folder or a link to one; False where that cannot be seen.

    One bad link would otherwise make the whole folder unreadable.
    """
    try:
        return entry.is_dir()
    except OSError:
        return False
