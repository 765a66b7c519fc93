"""Deferred import of httpx2, in a worker thread and without logs of secrets.

The import takes a tenth of a second and is therefore delayed until the first request.
"""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Final, TypeVar, TypeVarTuple, Unpack

import anyio.to_thread

from torrent_engine.base.errors import HttpError

if TYPE_CHECKING:
    import ssl

Result = TypeVar("Result")
WorkArguments = TypeVarTuple("WorkArguments")

_LOGGER: Final = logging.getLogger(__name__)
_TALKATIVE_LOGGERS: Final = ("httpcore2.connection", "httpcore2.http11")
_is_silent: ContextVar[bool] = ContextVar("torrent_engine_http_is_silent", default=False)


async def in_thread(
    work: Callable[[Unpack[WorkArguments]], Result], *arguments: *WorkArguments
) -> Result:
    """Return what ``work`` does in a thread.

    Raises HttpError if the system has no thread, memory or descriptor left for it.
    """
    try:
        return await anyio.to_thread.run_sync(work, *arguments)
    except (OSError, RuntimeError, MemoryError) as error:
        raise HttpError(f"no means for the request: {error}") from error


async def load_httpx() -> ModuleType:
    """Return the httpx2 module. Raises HttpError as :func:`in_thread`."""
    if "httpx2" in sys.modules:
        return _import_httpx()
    return await in_thread(_import_httpx)


async def default_tls(*, verify: bool) -> "ssl.SSLContext":
    """Return a TLS context for TLS 1.2 or newer, which verifies certificates by default (D2).

    Raises HttpError as :func:`in_thread`.
    """
    return await in_thread(_make_tls, verify)


@lru_cache(maxsize=1)
def no_tls() -> "ssl.SSLContext":
    """Return a TLS context without certificates, for transports of plain HTTP.

    They always need a context, and would load all certificates to create one.
    """
    import ssl

    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@contextmanager
def silent_logging() -> Iterator[None]:
    """Suppress httpcore2's logs of this task's requests, which contain passkeys (row D4)."""
    token = _is_silent.set(True)
    try:
        yield
    finally:
        _is_silent.reset(token)


def _import_httpx() -> ModuleType:
    import httpcore2  # noqa: F401 - httpx2 would import it at the first request, on the event loop
    import httpx2

    for name in _TALKATIVE_LOGGERS:
        logger = logging.getLogger(name)
        if _is_loggable not in logger.filters:
            logger.addFilter(_is_loggable)
    return httpx2


def _is_loggable(_record: logging.LogRecord) -> bool:
    return not _is_silent.get()


def _make_tls(verify: bool) -> "ssl.SSLContext":  # noqa: FBT001 - called through run_sync
    import ssl

    httpx = _import_httpx()
    context: ssl.SSLContext = httpx.create_ssl_context(verify=verify, trust_env=False)
    if not verify:
        _LOGGER.warning("TLS certificates are not verified, as configured")
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
