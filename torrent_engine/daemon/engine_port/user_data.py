"""Category, labels and what else the daemon keeps with a torrent in the engine's database."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

CATEGORY_KEY: Final = "category"
LABELS_KEY: Final = "labels"
COMMENT_KEY: Final = "comment"
NAME_KEY: Final = "name"
EPHEMERAL_KEY: Final = "ephemeral"


@dataclass(frozen=True, slots=True)
class UserData:
    """What the daemon keeps with a torrent in the engine's database."""

    category: str = ""
    labels: tuple[str, ...] = ()
    comment: str | None = None
    """In place of the comment of the .torrent; None: that one."""
    name: str | None = None
    """The name that is displayed; None: that of the .torrent."""
    other: tuple[tuple[str, str], ...] = ()
    """Of the interfaces, by keys with a prefix of theirs, such as "transmission.download_limit"."""
    ephemeral: str = ""
    """What it is for, if it goes with its owner: "preview" or "stream"."""

    @classmethod
    def read(cls, values: Mapping[str, str]) -> "UserData":
        """Return what :meth:`values` wrote; what is not readable is left out."""
        known = {CATEGORY_KEY, LABELS_KEY, COMMENT_KEY, NAME_KEY, EPHEMERAL_KEY}
        return cls(
            values.get(CATEGORY_KEY, ""),
            _labels(values.get(LABELS_KEY, "[]")),
            values.get(COMMENT_KEY),
            values.get(NAME_KEY),
            tuple(sorted((key, value) for key, value in values.items() if key not in known)),
            values.get(EPHEMERAL_KEY, ""),
        )

    def values(self) -> dict[str, str]:
        """Return this as texts, for the engine's database."""
        values = dict(self.other)
        if self.category:
            values[CATEGORY_KEY] = self.category
        if self.labels:
            values[LABELS_KEY] = json.dumps(self.labels, ensure_ascii=False)
        if self.comment is not None:
            values[COMMENT_KEY] = self.comment
        if self.name is not None:
            values[NAME_KEY] = self.name
        if self.ephemeral:
            values[EPHEMERAL_KEY] = self.ephemeral
        return values


NO_USER_DATA: Final = UserData()


def _labels(text: str) -> tuple[str, ...]:
    try:
        labels = json.loads(text)
    except ValueError:
        return ()
    if not isinstance(labels, list):
        return ()
    return tuple(each for each in labels if isinstance(each, str))
