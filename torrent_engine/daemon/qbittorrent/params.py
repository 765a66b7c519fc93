"""Parameters of a request: those of its query, and those of its form."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from starlette.datastructures import UploadFile
from starlette.requests import Request

from torrent_engine.daemon.qbittorrent.errors import bad_request

FORM: Final = "application/x-www-form-urlencoded"
MULTIPART: Final = "multipart/form-data"
MAX_FIELDS: Final = 1_000
MAX_FILES: Final = 100
MAX_FIELD_BYTES: Final = 2 * 1024 * 1024
_TRUE: Final = frozenset({"true", "1"})
_FALSE: Final = frozenset({"false", "0"})
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,15}")
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]{1,15}(?:\.[0-9]{0,15})?|\.[0-9]{1,15})(?:[eE][+-]?\d)?")


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file of a form."""

    name: str
    data: bytes


class FormParams:
    """Values by their names; what is written wrong counts as not said, unless it is needed."""

    def __init__(self, values: Mapping[str, str], files: Sequence[UploadedFile] = ()) -> None:
        self._values = values
        self.files = files
        """Those of all fields."""

    def __contains__(self, name: str) -> bool:
        """Return whether a parameter is there, be it empty."""
        return name in self._values

    def text(self, name: str) -> str:
        """Return a value; "" if it is not there."""
        return self._values.get(name, "")

    def optional(self, name: str) -> str | None:
        """Return a value; None if it is not there."""
        return self._values.get(name)

    def needed(self, name: str) -> str:
        """Return a value. Raises WebApiError if it is not there."""
        if name not in self._values:
            raise bad_request(f"Missing required parameters: {name}")
        return self._values[name]

    def flag(self, name: str) -> bool | None:
        """Return a truth value; None if it is none."""
        word = self.text(name).strip().lower()
        if word in _TRUE:
            return True
        return False if word in _FALSE else None

    def integer(self, name: str) -> int | None:
        """Return a whole number of at most 15 digits; None if it is none."""
        found = self.text(name).strip()
        return int(found) if _INTEGER.fullmatch(found) else None

    def needed_integer(self, name: str) -> int:
        """Return a whole number. Raises WebApiError if it is none."""
        self.needed(name)
        number = self.integer(name)
        if number is None:
            raise bad_request(f"{name}: a whole number is needed")
        return number

    def number(self, name: str) -> float | None:
        """Return a finite number; None if it is none."""
        found = self.text(name).strip()
        number = float(found) if _NUMBER.fullmatch(found) else math.nan
        return number if math.isfinite(number) else None

    def parts(self, name: str, separator: str = "|") -> list[str]:
        """Return what separators are between, without spaces around and without empty parts."""
        found = (each.strip() for each in self.text(name).split(separator))
        return [each for each in found if each]


async def read_params(request: Request) -> FormParams:
    """Return the parameters of a request; those of its form count before those of its query.

    Raises WebApiError or HTTPException if they cannot be read.
    """
    values = _read_pairs(request.url.query.encode("utf-8", "replace"))
    files: list[UploadedFile] = []
    if request.method not in {"GET", "HEAD"}:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == FORM:
            values |= _read_pairs(await request.body())
        elif kind == MULTIPART:
            values |= await _read_multipart(request, files)
    return FormParams(values, files)


def _read_pairs(data: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            data.decode("utf-8", "replace"),
            keep_blank_values=True,
            max_num_fields=MAX_FIELDS,
            errors="replace",
        )
    except ValueError:
        raise bad_request(f"at most {MAX_FIELDS} parameters") from None
    return dict(pairs)


async def _read_multipart(request: Request, files: list[UploadedFile]) -> dict[str, str]:
    values: dict[str, str] = {}
    async with request.form(
        max_files=MAX_FILES, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES
    ) as form:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                files.append(UploadedFile(_whole(value.filename or ""), await value.read()))
            else:
                values[_whole(name)] = _whole(value)
    return values


def _whole(text: str) -> str:
    """Return a text without half characters, which a strange encoding can leave."""
    return text.encode("utf-8", "replace").decode("utf-8")
