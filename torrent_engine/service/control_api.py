"""Requests of the control socket as JSON over HTTP, without the socket."""

import json
import logging
from dataclasses import asdict
from typing import Final
from urllib.parse import urlsplit

from torrent_engine.base.errors import ConfigError
from torrent_engine.service.torrents import Change, TorrentControl

TORRENTS: Final = "/api/v1/torrents"
ACTIONS: Final = "/api/v1/torrents/actions"
JsonObject = dict[str, object]
logger = logging.getLogger(__name__)


class ControlApi:
    """Routes of the control socket."""

    def __init__(self, torrents: TorrentControl) -> None:
        self._torrents = torrents

    async def answer(self, method: bytes, target: bytes, body: bytes) -> tuple[int, JsonObject]:
        """Return the HTTP status and the JSON body of an answer; never raises an Exception."""
        try:
            return await self._answer(method, target, body)
        except ConfigError as error:
            return 400, {"code": "setting_invalid", "detail": str(error)}
        except Exception as error:
            logger.exception("a request at the control socket failed")
            return 500, {"code": "internal", "detail": type(error).__name__}

    async def _answer(self, method: bytes, target: bytes, body: bytes) -> tuple[int, JsonObject]:
        methods = {TORRENTS: b"GET", ACTIONS: b"POST"}
        path = _path_of(target)
        if path not in methods:
            return 404, {"code": "not_found", "detail": "there is no such path"}
        if method != methods[path]:
            return 405, {"code": "method_not_allowed", "detail": f"{methods[path].decode()} only"}
        if path == TORRENTS:
            rows = await self._torrents.rows()
            return 200, {"torrents": [asdict(row) for row in rows]}
        change = Change.from_json(_json_of(body))
        failed = await self._torrents.change(change)
        done = len(change.ids) - len(failed)
        return 200, {"done": done, "failed": [asdict(failure) for failure in failed]}


def _path_of(target: bytes) -> str:
    try:
        return urlsplit(target.decode("ascii")).path
    except ValueError:
        return ""


def _json_of(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ConfigError("the body is no JSON") from error
