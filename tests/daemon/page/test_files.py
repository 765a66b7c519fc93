"""The files of the web page as they are served: tags, caching, compression, and nothing else."""

import gzip
import re
from collections.abc import AsyncIterator

import httpx2
import pytest

from tests.daemon.contexts import client_of, make_context
from tests.daemon.fake_port import FakeEngine
from torrent_engine.daemon.page.files import PageFiles, read_contents
from torrent_engine.daemon.page.routes import ALWAYS_ASK, FOREVER

pytestmark = pytest.mark.anyio
PLAIN = {"Accept-Encoding": "identity"}
MAX_ZIPPED_BYTES = 75_000
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " font-src 'self'; connect-src 'self'; manifest-src 'self'; worker-src 'self';"
    " media-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@pytest.fixture(scope="module")
def files() -> PageFiles:
    return PageFiles(read_contents())


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(make_context(FakeEngine()), token=None) as found:
        yield found


async def test_page_needs_no_login_and_has_strict_headers(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert answer.headers["cache-control"] == ALWAYS_ASK
    assert "server" not in answer.headers


async def test_page_is_served_while_the_daemon_starts() -> None:
    context = make_context(FakeEngine())
    context.life.phase = "starting"
    async with client_of(context, token=None) as client:
        assert (await client.get("/")).status_code == 200
        assert (await client.get("/api/v1/session")).status_code in {401, 503}


async def test_everything_that_the_page_names_is_there_and_kept_for_ever(
    client: httpx2.AsyncClient,
) -> None:
    text = (await client.get("/")).text
    assert "@base@" not in text
    named = re.findall(r'(?:href|src)="([^"]+)"', text)
    assert len(named) > 40
    for address in named:
        answer = await client.get(f"/{address}")
        assert answer.status_code == 200, address
        assert answer.headers["cache-control"] == FOREVER


async def test_file_under_another_version_is_sent_but_not_kept(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/ui/0123456789abcdef/main.js")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == ALWAYS_ASK


@pytest.mark.parametrize("path", ["/", "/ui/x/main.js", "/ui/x/vendor/preact.mjs"])
async def test_tag_that_the_client_has_is_answered_with_304(
    client: httpx2.AsyncClient, path: str
) -> None:
    first = await client.get(path)
    again = await client.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    other = await client.get(path, headers={"If-None-Match": 'W/"0"'})
    assert other.status_code == 200


async def test_encodings(client: httpx2.AsyncClient, files: PageFiles) -> None:
    wanted = files.get("style.css")
    assert wanted is not None
    for accepted in ("gzip", "br, gzip;q=0.5", "*"):
        answer = await client.get("/ui/x/style.css", headers={"Accept-Encoding": accepted})
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.headers["vary"] == "Accept-Encoding"
        assert answer.content == wanted.data  # decoded by the client
    for accepted in ("identity", "gzip;q=0", ""):
        answer = await client.get("/ui/x/style.css", headers={"Accept-Encoding": accepted})
        assert "content-encoding" not in answer.headers
        assert answer.content == wanted.data
    picture = await client.get("/ui/x/icon-192.png", headers={"Accept-Encoding": "gzip"})
    assert picture.content.startswith(b"\x89PNG")


async def test_head_has_the_headers_only(client: httpx2.AsyncClient) -> None:
    answer = await client.head("/", headers=PLAIN)
    assert (answer.status_code, answer.content) == (200, b"")
    whole = await client.get("/", headers=PLAIN)
    assert answer.headers["content-length"] == str(len(whole.content))


OUTSIDE = [
    "/ui/x/", "/ui/x/index.html", "/ui/x/../routes.py", "/ui/x/%2e%2e/routes.py",
    "/ui/x//etc/passwd",
    "/ui/x/..%2froutes.py", "/ui/x/vendor/LICENSE-preact.txt", "/ui/x/vendor/README.md",
    "/ui/x/vendor",
    "/ui/x/main.js%00", "/ui/x/MAIN.JS", "/ui/x/\\main.js", "/ui/main.js", "/ui",
]  # fmt: skip


@pytest.mark.parametrize("path", OUTSIDE)
async def test_nothing_else_is_sent(client: httpx2.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code in {308, 401, 404}  # 401: it is no path of the page at all
    assert answer.status_code == 308 or answer.json()["code"] in {"not_found", "unauthenticated"}


async def test_other_methods_are_refused(client: httpx2.AsyncClient) -> None:
    assert (await client.post("/", json={})).status_code == 405


def test_version_changes_with_any_file(files: PageFiles) -> None:
    contents = read_contents()
    assert PageFiles(contents).version == files.version
    changed = {**contents, "main.js": contents["main.js"] + b"\n"}
    assert PageFiles(changed).version != files.version


def test_comments_for_readers_are_not_sent(files: PageFiles) -> None:
    file = files.get("core/links.js")
    assert file is not None
    assert b"/**" not in file.data
    assert b"export function sourcesIn" in file.data


def test_all_of_it_is_small(files: PageFiles) -> None:
    total = 0
    for name in files.names():
        file = files.get(name)
        assert file is not None
        if not name.endswith("png") and not name.startswith("locale/"):
            assert file.zipped is None or gzip.decompress(file.zipped) == file.data
            total += len(file.zipped or file.data)
    assert total <= MAX_ZIPPED_BYTES
