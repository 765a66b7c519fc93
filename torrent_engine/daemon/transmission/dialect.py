"""The two dialects of the protocol: from bytes to calls, and from results to bytes.

The older one has a "tag" and names in kebab-case and camelCase; the newer one is JSON-RPC 2.0 with
names in snake_case. A request is of the newer one if it has the key "jsonrpc".
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from torrent_engine.daemon.security.bodies import is_too_deep
from torrent_engine.daemon.transmission.errors import NO_METHOD_NAME, ErrorCode, RpcError
from torrent_engine.daemon.transmission.names import METHODS, SPELLINGS

VERSION: Final = "2.0"
SUCCESS: Final = "success"
MAX_BATCH: Final = 1_000  # ours: calls in one request
_METHODS: Final = frozenset(METHODS)


class Dialect(Enum):
    """How a call is spelled, and so its answer."""

    LEGACY = "legacy"
    JSON_RPC = "json_rpc"


@dataclass(frozen=True, slots=True)
class Call:
    """One call."""

    dialect: Dialect
    method: str = ""
    """In snake_case."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """With names in snake_case, except inside of values."""
    id: str | int | float | None = None
    """Of JSON-RPC."""
    is_notification: bool = False
    """Nobody waits for the answer."""
    tag: int | None = None
    """Of the older dialect."""


@dataclass(frozen=True, slots=True)
class RefusedCall:
    """What is no call, with the error to answer it."""

    call: Call
    """Whom to answer."""
    error: RpcError


Asked = Call | RefusedCall
_NOBODY: Final = Call(Dialect.JSON_RPC)


def read(body: bytes) -> Asked | Sequence[Asked]:
    """Return what a request asks: one call, or the calls of a batch."""
    if is_too_deep(body):
        return RefusedCall(_NOBODY, RpcError(ErrorCode.PARSE_ERROR, "nested too deep"))
    try:
        value = json.loads(body, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        return RefusedCall(_NOBODY, RpcError(ErrorCode.PARSE_ERROR, str(error)))
    if isinstance(value, list):
        return _read_batch(value)
    if not isinstance(value, dict):
        return _invalid(_NOBODY, "a request is an object")
    return _read_newer(value) if "jsonrpc" in value else _read_older(value)


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text:.40} is too large")
    return number


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _invalid(call: Call, text: str) -> RefusedCall:
    return RefusedCall(call, RpcError(ErrorCode.INVALID_REQUEST, text))


def _read_batch(values: list[Any]) -> Asked | Sequence[Asked]:
    if not values:
        return _invalid(_NOBODY, "an empty batch")
    if len(values) > MAX_BATCH:
        return _invalid(_NOBODY, f"at most {MAX_BATCH} calls in a batch")
    return [
        _read_newer(value) if isinstance(value, dict) else _invalid(_NOBODY, "not an object")
        for value in values
    ]


# -- JSON-RPC 2.0 ---------------------------------------------------------------------------------


def _read_newer(value: dict[str, Any]) -> Asked:
    number = value.get("id")
    if isinstance(number, bool) or not isinstance(number, str | int | float | None):
        return _invalid(_NOBODY, "id must be a string, a number or null")
    method = value.get("method")
    call = Call(Dialect.JSON_RPC, method if isinstance(method, str) else "", id=number)
    if value.get("jsonrpc") != VERSION:
        return _invalid(call, 'jsonrpc must be "2.0"')
    if not isinstance(method, str):
        return _invalid(call, "method must be a string")
    return _with_params(value, call)


def _with_params(value: dict[str, Any], call: Call) -> Asked:
    is_notification = "id" not in value
    params = value.get("params", {})
    call = Call(call.dialect, call.method, {}, call.id, is_notification)
    if call.method not in _METHODS:
        return RefusedCall(call, RpcError(ErrorCode.METHOD_NOT_FOUND))
    if not isinstance(params, dict):
        return RefusedCall(call, RpcError(ErrorCode.INVALID_PARAMS, "params must be an object"))
    return Call(call.dialect, call.method, params, call.id, is_notification)


# -- the older dialect ----------------------------------------------------------------------------


def _read_older(value: dict[str, Any]) -> Asked:
    tag = value.get("tag")
    is_number = isinstance(tag, int) and not isinstance(tag, bool)
    method = value.get("method")
    name = SPELLINGS.get(method, "") if isinstance(method, str) else ""
    arguments = value.get("arguments")
    params: dict[str, Any] = arguments if isinstance(arguments, dict) else {}
    call = Call(
        Dialect.LEGACY,
        name if name in _METHODS else "",
        {SPELLINGS.get(key, key): each for key, each in params.items()},
        tag=tag if is_number else None,
    )
    if not call.method:
        return RefusedCall(call, RpcError(ErrorCode.METHOD_NOT_FOUND, NO_METHOD_NAME))
    return call


# -- answers --------------------------------------------------------------------------------------


def success(call: Call, result: bytes) -> bytes:
    """Return the answer with a result, which is a JSON object."""
    if call.dialect is Dialect.LEGACY:
        tail = b"" if call.tag is None else b',"tag":%d' % call.tag
        return b'{"arguments":%b,"result":"success"%b}' % (result, tail)
    return b'{"id":%b,"jsonrpc":"2.0","result":%b}' % (_dump(call.id), result)


def failure(call: Call, error: RpcError, result: bytes = b"{}") -> bytes:
    """Return the answer with an error; ``result`` is :attr:`RpcError.result` as JSON."""
    if call.dialect is Dialect.LEGACY:
        text = _dump(error.text or error.message)
        tail = b"" if call.tag is None else b',"tag":%d' % call.tag
        return b'{"arguments":%b,"result":%b%b}' % (result, text, tail)
    body: dict[str, Any] = {"code": int(error.code), "message": error.message}
    data: dict[str, Any] = {"error_string": error.text} if error.text else {}
    if error.result is not None:
        data["result"] = error.result
    if data:
        body["data"] = data
    return b'{"error":%b,"id":%b,"jsonrpc":"2.0"}' % (_dump(body), _dump(call.id))


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
