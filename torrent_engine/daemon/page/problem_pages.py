"""A page for each kind of problem, at the address that is its ``type`` (RFC 9457)."""

from html import escape
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter
from starlette.responses import Response

from torrent_engine.daemon.problems import STATUSES, TITLES, Problem, ProblemError
from torrent_engine.daemon.security.access import public

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext

HTML: Final = "text/html; charset=utf-8"
FOR_A_DAY: Final = "public, max-age=86400"

MEANINGS: Final[dict[str, str]] = {
    "bad_request": "The request is not understood. The detail says which part of it.",
    "setting_invalid": "A setting or option cannot have this value; nothing was changed.",
    "unknown_key": "There is no setting, field or option of this name. Names are case-sensitive.",
    "path_not_allowed": "The path is not below a folder that the daemon may use. The folder of"
    " downloads is one; paths.allowed in the configuration file names others.",
    "json_too_deep": "The JSON of the request is nested more than 32 levels deep.",
    "unauthenticated": "The request has no valid credential. Send the token as"
    " Authorization: Bearer; torrent-engine daemon token prints it.",
    "forbidden": "The credential has not the scope that this request needs. A named token has the"
    " scopes with which it was made.",
    "csrf_invalid": "The field X-CSRF-Token does not have the token of the session. GET"
    " /api/v1/session tells it.",
    "origin_refused": "A page of another site sent the request. listen.origins lists the sites"
    " that may.",
    "address_refused": "The address of the client is in no network of listen.allow_from.",
    "not_found": "There is nothing at this address, or no object of this name.",
    "torrent_not_found": "The daemon has no torrent with this info-hash; it may have been removed.",
    "job_not_found": "There is no such job. Finished jobs are kept for a day.",
    "file_not_found": "The torrent has no such file, or the server has no such file that may be"
    " read.",
    "method_not_allowed": "This address is not for this method; the field Allow lists those it is"
    " for.",
    "timeout": "The request did not arrive in time, or not fast enough.",
    "too_many_torrents": "There are as many torrents as the daemon may have.",
    "state_conflict": "The torrent is in a state in which this cannot be done, or something else"
    " is being done with it. Try again later, or stop it first.",
    "file_exists": "Something else has the path of a file of the torrent. It was not changed.",
    "io_error": "Files on the disk could not be read, written or removed; detail names one and the"
    " reason, such as missing permission.",
    "owner_changed": "Whoever asked for this has another generation now, such as a page that was"
    " loaded again. What was tied to the old one was cancelled.",
    "no_metadata_yet": "The torrent is a magnet link whose metadata has not arrived from peers"
    " yet. Try again later.",
    "setting_pinned": "The setting is given by an option or a variable of the environment, which"
    " no interface changes.",
    "idempotency_in_progress": "A request with this Idempotency-Key is still worked on.",
    "precondition_failed": "The object is not as If-Match says: somebody else changed it. Read it"
    " again.",
    "too_large": "The request, or what it leads to, is larger than allowed.",
    "unsupported_media_type": "The field Content-Type names a type that is not taken here.",
    "range_not_satisfiable": "The range begins behind the end of the file.",
    "host_refused": "The daemon is not called so: it answers under IP addresses, localhost and the"
    " names in listen.hosts.",
    "input_invalid": "Values of the request are not as described; errors lists them with their"
    " places.",
    "torrent_invalid": "The .torrent is damaged, or is none.",
    "magnet_invalid": "The magnet link or info-hash is not valid.",
    "url_refused": "Torrents are not fetched from such a URL: only http and https, and only from"
    " public addresses unless adding.from_private_networks allows others.",
    "idempotency_key_reused": "Another request was made with this Idempotency-Key. Take a new key"
    " for each request.",
    "locked_out": "Too many logins from this address have failed. The field Retry-After says how"
    " long it is locked out.",
    "too_many_requests": "There are too many requests, streams or logins at a time. The field"
    " Retry-After says when to try again.",
    "internal": "This is a bug of the daemon. Its log has a record with the name of the incident.",
    "url_failed": "What was to be fetched could not be: the other server did not answer, or with"
    " an error.",
    "tracker_failed": "The tracker could not be reached, or refused.",
    "busy": "The daemon has no room for this request now. The field Retry-After says when to try"
    " again.",
    "starting": "The daemon is starting, or opens its engine again after a change of settings. Try"
    " again in a second.",
    "stopping": "The daemon is stopping.",
    "read_timeout": "The data has not arrived from peers in time.",
    "disk_timeout": "The disk of a folder does not answer, such as one of a network; other folders"
    " can be used meanwhile.",
    "not_enough_space": "The disk is full, or has less room than is needed.",
}
"""What each code means, and what can be done."""


def router(_: "DaemonContext") -> APIRouter:
    """Return the route."""
    routes = APIRouter()

    @public(allows_while_starting=True)
    async def problem(code: str) -> Response:
        """Send the page of one code."""
        if code not in MEANINGS:
            raise ProblemError(Problem("not_found", "there is no such problem"))
        headers = {"Cache-Control": FOR_A_DAY, "Content-Type": HTML}
        return Response(page_of(code), headers=headers)

    methods = ["GET", "HEAD"]
    routes.add_api_route("/problems/{code}", problem, methods=methods, include_in_schema=False)
    return routes


def page_of(code: str) -> str:
    """Return the page of a code as HTML."""
    title, meaning = escape(TITLES[code]), escape(MEANINGS[code])
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f"<h1>{title}</h1>\n<p>{meaning}</p>\n"
        f"<p>Code <code>{escape(code)}</code>, HTTP status {STATUSES[code]}.</p>\n</html>\n"
    )
