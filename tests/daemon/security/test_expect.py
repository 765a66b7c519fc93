"""``Expect: 100-continue`` (RFC 9110, 10.1.1): who is refused is not asked for a body first."""

import pytest

from tests.daemon.contexts import TOKEN, make_context
from tests.daemon.fake_port import FakeEngine
from tests.support.http_server import read_all, read_head, served, status_of
from torrent_engine.daemon.api import adding
from torrent_engine.daemon.app import create_app

pytestmark = pytest.mark.anyio

KNOWN = f"Authorization: Bearer {TOKEN}"
JSON = "Content-Type: application/json"
BODY = b'{"source": "magnet:?xt=urn:btih:%b"}' % (b"1" * 40)
REFUSED = {
    "no credential": (401, [JSON]),
    "wrong credential": (401, ["Authorization: Bearer nonsense", JSON]),
    "other host": (421, ["Host: evil.example", KNOWN, JSON]),
    "other site": (403, ["Origin: http://evil.example", KNOWN, JSON]),
    "no such path": (404, [KNOWN, JSON]),
    "other method": (405, [KNOWN, JSON]),
    "wrong type": (415, [KNOWN, "Content-Type: text/html"]),
    "too long": (413, [KNOWN, JSON, f"Content-Length: {1 << 30}"]),
}


def head_of(name: str, fields: list[str]) -> bytes:
    """Return a request line with fields, without its body."""
    path = "/api/v1/nothing" if name == "no such path" else "/api/v1/torrents"
    method = "PATCH" if name == "other method" else "POST"
    lines = [f"{method} {path} HTTP/1.1", "Expect: 100-continue", "Connection: close", *fields]
    if not any(each.startswith("Host:") for each in fields):
        lines.append("Host: 127.0.0.1")
    if not any(each.startswith("Content-Length:") for each in fields):
        lines.append(f"Content-Length: {len(BODY)}")
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.parametrize("name", REFUSED)
async def test_refused_request_is_answered_without_asking_for_its_body(name: str) -> None:
    status, fields = REFUSED[name]
    context = make_context(FakeEngine())
    async with served(create_app(context, [adding.router])) as here:
        answer = await here.talk(head_of(name, fields), limit_s=60)
    assert status_of(answer) == status
    assert b"HTTP/1.1 100" not in answer


async def test_body_is_asked_for_when_all_checks_have_passed() -> None:
    context = make_context(FakeEngine())
    app = create_app(context, [adding.router])
    async with served(app) as here, await here.connect() as stream:
        await stream.send(head_of("", [KNOWN, JSON]))
        assert (await read_head(stream)).startswith(b"HTTP/1.1 100 ")
        await stream.send(BODY)
        assert status_of(await read_all(stream, limit_s=60)) == 201
