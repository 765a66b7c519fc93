"""Types of streamed files by their names, and what a browser may do with them."""

import mimetypes
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import quote

TEXT: Final = "text/plain; charset=utf-8"
BINARY: Final = "application/octet-stream"
_TYPES: Final = {
    "video/mp4": "mp4 m4v",
    "video/x-matroska": "mkv",
    "video/webm": "webm",
    "video/quicktime": "mov qt",
    "video/x-msvideo": "avi divx",
    "video/mp2t": "ts m2ts mts",
    "video/mpeg": "mpg mpeg mpe m2v vob",
    "video/x-ms-wmv": "wmv",
    "video/x-ms-asf": "asf",
    "video/x-flv": "flv f4v",
    "video/ogg": "ogv ogm",
    "video/3gpp": "3gp",
    "video/3gpp2": "3g2",
    "video/vnd.rn-realvideo": "rmvb rm",
    "audio/mpeg": "mp3 mp2 mpga",
    "audio/mp4": "m4a m4b",
    "audio/aac": "aac",
    "audio/flac": "flac",
    "audio/ogg": "ogg oga spx",
    "audio/opus": "opus",
    "audio/wav": "wav",
    "audio/aiff": "aif aiff",
    "audio/x-ms-wma": "wma",
    "audio/x-ape": "ape",
    "audio/x-wavpack": "wv",
    "audio/ac3": "ac3",
    "audio/vnd.dts": "dts",
    "audio/midi": "mid midi",
    "audio/x-matroska": "mka",
    "image/jpeg": "jpg jpeg",
    "image/png": "png",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/avif": "avif",
    "image/bmp": "bmp",
    "text/vtt; charset=utf-8": "vtt",
    TEXT: "txt nfo srt ass ssa md log ini cue m3u sfv md5 sha1",
    "application/epub+zip": "epub",
    "application/zip": "zip cbz",
    "application/vnd.comicbook-rar": "cbr",
    "application/x-7z-compressed": "7z",
    "application/gzip": "gz tgz",
    "application/x-iso9660-image": "iso",
    "application/x-bittorrent": "torrent",
}
_BY_SUFFIX: Final = {
    suffix: media_type for media_type, names in _TYPES.items() for suffix in names.split()
}
_ACTIVE: Final = frozenset(
    {
        "text/html",
        "image/svg+xml",
        "application/xhtml+xml",
        "text/xml",
        "application/xml",
        "text/javascript",
        "application/javascript",
        "application/pdf",
        "text/css",
        "application/wasm",
    }
)
"""What a browser would run, or show with scripts: sent as bytes to be saved."""
_INLINE: Final = ("video/", "audio/", "image/", "text/plain", "text/vtt")
_PLAYABLE: Final = ("video/", "audio/")


@dataclass(frozen=True, slots=True)
class Presentation:
    """How a file is announced to a browser or player."""

    media_type: str
    disposition: str
    """The value of Content-Disposition."""


def media_type_of(path: str) -> str:
    """Return the type of a file by its suffix."""
    suffix = PurePosixPath(path).suffix.lower().removeprefix(".")
    found = _BY_SUFFIX.get(suffix)
    if found is not None:
        return found
    guessed, encoding = mimetypes.guess_type(f"x.{suffix}", strict=True)
    if guessed is None or encoding is not None:
        return BINARY
    return TEXT if guessed.startswith("text/") and guessed not in _ACTIVE else guessed


def is_playable(path: str) -> bool:
    """Return whether a file is video or audio."""
    return media_type_of(path).startswith(_PLAYABLE)


def presentation_of(path: str, *, download: bool | None = None) -> Presentation:
    """Return how a file is sent; ``download`` True: to be saved, False: shown even if active."""
    media_type = media_type_of(path)
    if media_type in _ACTIVE and download is not False:
        media_type, download = BINARY, True
    is_shown = download is False or (download is None and media_type.startswith(_INLINE))
    kind = "inline" if is_shown else "attachment"
    return Presentation(media_type, f"{kind}; {file_name(PurePosixPath(path).name)}")


def file_name(name: str) -> str:
    """Return a file name as the parameters of Content-Disposition (RFC 6266, section 4.3)."""
    plain = "".join(c if " " <= c <= "~" and c not in '"\\%' else "_" for c in name)
    return (
        f"filename=\"{plain}\"; filename*=UTF-8''{quote(name.encode('utf-8', 'replace'), safe='')}"
    )
