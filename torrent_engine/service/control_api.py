"""Requests of the control socket as JSON over HTTP, without the socket."""

import json
import logging
import re
from dataclasses import asdict
from typing import Final
from urllib.parse import urlsplit

from torrent_engine.base.errors import ConfigError, TorrentEngineError
from torrent_engine.service.new_torrent import NewTorrent
from torrent_engine.service.problems import problem_of
from torrent_engine.service.request_fields import read_info_hash
from torrent_engine.service.torrents import Change, TorrentControl, TorrentDetail

TORRENTS: Final = "/api/v1/torrents"
STATS: Final = "/api/v1/stats"
ACTIONS: Final = "/api/v1/torrents/actions"
_DETAIL: Final = re.compile(rf"{TORRENTS}/([^/]{{1,64}})/({'|'.join(TorrentDetail)})")
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
        except (TorrentEngineError, OSError) as error:
            code, detail = problem_of(error)
            return 409, {"code": code, "detail": detail}
        except Exception as error:
            logger.exception("a request at the control socket failed")
            return 500, {"code": "internal", "detail": type(error).__name__}

    async def _answer(self, method: bytes, target: bytes, body: bytes) -> tuple[int, JsonObject]:
        path = _path_of(target)
        methods = {TORRENTS: (b"GET", b"POST"), ACTIONS: (b"POST",), STATS: (b"GET",)}
        detail = _DETAIL.fullmatch(path)
        allowed = (b"GET",) if detail else methods.get(path)
        if allowed is None:
            return 404, {"code": "not_found", "detail": "there is no such path"}
        if method not in allowed:
            names = " and ".join(each.decode() for each in allowed)
            return 405, {"code": "method_not_allowed", "detail": f"{names} only"}
        if method == b"GET":
            return 200, await self._get(path, detail)
        return 200, await (self._add(body) if path == TORRENTS else self._change(body))

    async def _get(self, path: str, detail: "re.Match[str] | None") -> JsonObject:
        if detail is not None:
            key = read_info_hash(detail[1])
            items = await self._torrents.details(key, TorrentDetail(detail[2]))
            return {"items": list(items)}
        if path == STATS:
            return dict(await self._torrents.stats())
        return {"torrents": [asdict(row) for row in await self._torrents.rows()]}

    async def _add(self, body: bytes) -> JsonObject:
        added = await self._torrents.add(NewTorrent.from_json(_json_of(body)))
        return {"hash": added.info_hash, "name": added.name, "existing": not added.is_new}

    async def _change(self, body: bytes) -> JsonObject:
        change = Change.from_json(_json_of(body))
        failed = await self._torrents.change(change)
        done = len(change.ids) - len(failed)
        return {"done": done, "failed": [asdict(failure) for failure in failed]}


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
