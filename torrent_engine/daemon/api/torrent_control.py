"""What is done to torrents: to one, or to many at once."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.api.requests import Input
from torrent_engine.daemon.api.torrent_list import TorrentFilter
from torrent_engine.daemon.common.replies import json_bytes, json_reply
from torrent_engine.daemon.problems import Problem, ProblemError, code_of
from torrent_engine.daemon.security.access import needs
from torrent_engine.daemon.security.principals import Scope
from torrent_engine.daemon.state.daemon_state import DaemonState
from torrent_engine.daemon.state.rows import StateRow

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext

MAX_IDS: Final = 10_000
ActionName = Literal[
    "start",
    "start_now",
    "pause",
    "resume",
    "stop",
    "recheck",
    "reannounce",
    "remove",
    "set_labels",
    "add_labels",
    "remove_labels",
    "set_category",
    "queue_top",
    "queue_up",
    "queue_down",
    "queue_bottom",
]


class FilterInput(Input):
    """Which torrents; what is not said lets all pass."""

    q: str | None = None
    status: str | None = None
    label: str | None = None
    category: str | None = None
    tracker: str | None = None
    private: bool | None = None
    path: str | None = None


class ActionArguments(Input):
    """What some actions need."""

    delete_files: bool = False
    labels: list[str] = Field(default_factory=list, max_length=64)
    category: str = ""


class ActionInput(Input):
    """What to do, and to which torrents: exactly one of ``ids``, ``filter`` and ``all``."""

    action: ActionName
    ids: list[str] | None = Field(default=None, max_length=MAX_IDS)
    filter: FilterInput | None = None
    all: bool = False
    args: ActionArguments = Field(default_factory=ActionArguments)


MAX_POSITION: Final = 2**31 - 1


class PositionInput(Input):
    """A place in the queue, from 0."""

    position: int = Field(ge=0, le=MAX_POSITION)


def router(context: "DaemonContext") -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api/v1/torrents", tags=["torrents"])
    torrents = ActionRunner(context)

    @routes.post("/actions")
    @needs(Scope.CONTROL)
    async def act_on_torrents(given: ActionInput, request: Request) -> Response:
        """Do something to some torrents; the answer says which of them failed, and why."""
        chosen = torrents.chosen(given)
        body = await torrents.act(given.action, chosen, given.args)
        return await json_reply(request, json_bytes(body))

    @routes.delete("/{info_hash}", status_code=204)
    @needs(Scope.CONTROL)
    async def remove_torrent(
        info_hash: str,
        delete_files: Annotated[bool, Query()] = False,  # noqa: FBT002 - of the query
    ) -> Response:
        """Remove a torrent, with its files if asked for."""
        key = torrents.row(info_hash).info_hash
        await torrents.do("remove", key, ActionArguments(delete_files=delete_files))
        return Response(status_code=204)

    @routes.put("/{info_hash}/position", status_code=204)
    @needs(Scope.CONTROL)
    async def place_torrent(info_hash: str, given: PositionInput) -> Response:
        """Put a torrent at a place in the queue."""
        key = torrents.row(info_hash).info_hash
        context.port.control.move_to(key, given.position)
        await context.state.queue_changed()
        return Response(status_code=204)

    @routes.post("/{info_hash}/{action}", status_code=204)
    @needs(Scope.CONTROL)
    async def act_on_torrent(
        info_hash: str, action: ActionName, args: ActionArguments | None = None
    ) -> Response:
        """Do something to one torrent."""
        key = torrents.row(info_hash).info_hash
        await torrents.do(action, key, args or ActionArguments())
        if action.startswith("queue_"):
            await context.state.queue_changed()
        return Response(status_code=204)

    return routes


class ActionRunner:
    """Finds torrents and does what is asked."""

    def __init__(self, context: "DaemonContext") -> None:
        self._state = context.state
        self._control = context.port.control
        control = context.port.control
        self._simple: dict[str, Callable[[InfoHash], Awaitable[None]]] = {
            "start": control.start,
            "start_now": control.start_now,
            "resume": control.start,
            "pause": control.pause,
            "stop": control.stop,
            "recheck": control.recheck,
        }

    def row(self, text: str) -> StateRow:
        """Return the row of an info-hash as text. Raises ProblemError."""
        return row_of(self._state, text)

    def chosen(self, given: ActionInput) -> list[str]:
        """Return the info-hashes that an input names, in the order of the queue.

        Raises ProblemError.
        """
        ways = (given.ids is not None) + (given.filter is not None) + given.all
        if ways != 1:
            detail = 'exactly one of "ids", "filter" and "all": true'
            raise ProblemError(Problem("input_invalid", detail))
        if given.ids is not None:
            return list(dict.fromkeys(given.ids))
        wanted = (
            TorrentFilter() if given.filter is None else TorrentFilter(**given.filter.model_dump())
        )
        test = wanted.test()
        rows = sorted(self._state.torrents.rows(), key=lambda row: row.settings.queue_position)
        return [row.hash for row in rows if test(row)]

    async def act(self, action: str, texts: Sequence[str], args: ActionArguments) -> dict[str, Any]:
        """Do something to some torrents; return what was done and what failed."""
        done, failed = 0, []
        backwards = action in {"queue_top", "queue_down"}  # they keep their order among themselves
        for text in reversed(texts) if backwards else texts:
            try:
                await self.do(action, self.row(text).info_hash, args)
                done += 1
            except ProblemError as error:
                failed.append(_failure(text, error.problem.code, error.problem.detail))
            except TorrentEngineError as error:
                failed.append(_failure(text, code_of(error), str(error)))
        if action.startswith("queue_"):
            await self._state.queue_changed()
        return {"done": done, "failed": failed}

    async def do(self, action: str, info_hash: InfoHash, args: ActionArguments) -> None:
        """Do something to one torrent, and bring its row up to date."""
        labels = self._state.labels
        if action in self._simple:
            await self._simple[action](info_hash)
        elif action == "reannounce":
            self._control.reannounce(info_hash)
        elif action == "remove":
            await self._control.remove(info_hash, delete_files=args.delete_files)
        elif action == "set_category":
            if args.category and labels.category(args.category) is None:
                raise ProblemError(Problem("setting_invalid", "there is no such category"))
            labels.set_category(info_hash, args.category)
        elif action.startswith("queue_"):
            self._place(action, info_hash)
        else:
            change = {
                "set_labels": labels.set_labels,
                "add_labels": labels.add_labels,
                "remove_labels": labels.remove_labels,
            }[action]
            change(info_hash, args.labels)
        self._state.look(info_hash)

    def _place(self, action: str, info_hash: InfoHash) -> None:
        row = self.row(str(info_hash))
        last, place = len(self._state.torrents) - 1, row.settings.queue_position
        steps = {
            "queue_top": 0,
            "queue_up": place - 1,
            "queue_down": place + 1,
            "queue_bottom": last,
        }
        self._control.move_to(info_hash, min(max(steps[action], 0), last))


def row_of(state: DaemonState, text: str) -> StateRow:
    """Return the row of an info-hash as text. Raises ProblemError."""
    row = state.torrents.named(text)
    if row is None:
        raise ProblemError(Problem("torrent_not_found", "no such torrent"))
    return row


def _failure(text: str, code: str, detail: str) -> dict[str, str]:
    return {"id": text, "code": code, "detail": detail}
