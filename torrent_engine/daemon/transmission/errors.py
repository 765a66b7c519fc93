"""Errors of the protocol: codes with their fixed messages, and texts that people search for.

Source: Transmission 4.1, docs/rpc-spec.md and libtransmission/rpcimpl.cc.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final


class ErrorCode(IntEnum):
    """Codes of JSON-RPC 2.0, and those of the protocol."""

    PARSE_ERROR = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603
    SET_ANNOUNCE_LIST = 1
    INVALID_TRACKER_LIST = 2
    PATH_NOT_ABSOLUTE = 3
    UNRECOGNIZED_INFO = 4
    SYSTEM_ERROR = 5
    FILE_INDEX_OUT_OF_RANGE = 6
    PIECE_INDEX_OUT_OF_RANGE = 7
    HTTP_ERROR = 8
    CORRUPT_TORRENT = 9
    NO_BLOCKLIST_RULES = 10


MESSAGES: Final = {
    ErrorCode.PARSE_ERROR: "Parse error",
    ErrorCode.INVALID_REQUEST: "Invalid Request",
    ErrorCode.METHOD_NOT_FOUND: "Method not found",
    ErrorCode.INVALID_PARAMS: "Invalid params",
    ErrorCode.INTERNAL_ERROR: "Internal error",
    ErrorCode.SET_ANNOUNCE_LIST: "error setting announce list",
    ErrorCode.INVALID_TRACKER_LIST: "Invalid tracker list",
    ErrorCode.PATH_NOT_ABSOLUTE: "path is not absolute",
    ErrorCode.UNRECOGNIZED_INFO: "unrecognized info",
    ErrorCode.SYSTEM_ERROR: "system error",
    ErrorCode.FILE_INDEX_OUT_OF_RANGE: "file index out of range",
    ErrorCode.PIECE_INDEX_OUT_OF_RANGE: "piece index out of range",
    ErrorCode.HTTP_ERROR: "HTTP error from backend service",
    ErrorCode.CORRUPT_TORRENT: "invalid or corrupt torrent file",
    ErrorCode.NO_BLOCKLIST_RULES: "couldn't parse any valid blocklist rules",
}

NO_FIELDS: Final = "no fields specified"
NO_LABEL: Final = "labels cannot be empty"
COMMA_IN_LABEL: Final = "labels cannot contain comma (,) character"
NO_LOCATION: Final = "no location"
LOCATION_NOT_ABSOLUTE: Final = "new location path is not absolute"
DOWNLOAD_DIR_NOT_ABSOLUTE: Final = "download directory path is not absolute"
INCOMPLETE_DIR_NOT_ABSOLUTE: Final = "incomplete torrents directory path is not absolute"
NO_DIRECTORY: Final = "directory path argument is missing"
DIRECTORY_NOT_ABSOLUTE: Final = "directory path is not absolute"
RENAME_NEEDS_ONE: Final = "torrent-rename-path requires 1 torrent"
NO_SOURCE: Final = "no filename or metainfo specified"
INVALID_PROTOCOL: Final = "invalid ip protocol string"
NO_GROUP_NAME: Final = "No group name given"
PIECE_OUT_OF_RANGE: Final = "piece to sequentially download from is outside pieces range"
PATH_NOT_ALLOWED: Final = "path is outside the allowed folders"
NO_METHOD_NAME: Final = "no method name"


def file_only(key: str) -> str:
    """Return the text for a key that no interface can change."""
    return f"can only be set in the configuration file: {key}"


class RpcError(Exception):
    """The answer to a call is an error."""

    def __init__(
        self, code: ErrorCode, text: str = "", result: Mapping[str, Any] | None = None
    ) -> None:
        """``text`` says more than the code's message; ``result`` is what there is all the same."""
        super().__init__(text or MESSAGES[code])
        self.code = code
        self.text = text
        self.result = result

    @property
    def message(self) -> str:
        """The fixed message of the code."""
        return MESSAGES[self.code]


def invalid(text: str) -> RpcError:
    """Return the error of a parameter that is not what it should be."""
    return RpcError(ErrorCode.INVALID_PARAMS, text)
