"""Each problem has a page at the address that its type names."""

import pytest

from tests.daemon.contexts import client_of, make_context
from tests.daemon.fake_port import FakeEngine
from torrent_engine.daemon.page.problem_pages import MEANINGS, page_of
from torrent_engine.daemon.problems import STATUSES
from torrent_engine.daemon.security.served_routes import interface_of

pytestmark = pytest.mark.anyio


def test_every_code_has_a_page_that_says_what_it_means() -> None:
    assert MEANINGS.keys() == STATUSES.keys()
    for code, meaning in MEANINGS.items():
        assert meaning.endswith(".")
        assert f"<p>{meaning}</p>" in page_of(code)
        assert interface_of(f"/problems/{code}") == ""


async def test_the_type_of_a_problem_leads_to_its_page() -> None:
    async with client_of(make_context(FakeEngine()), token=None) as client:
        refused = await client.get("/api/v1/torrents")
        assert refused.status_code == 401
        assert refused.json()["type"] == "/problems/unauthenticated"
        page = await client.get(refused.json()["type"])
        assert page.status_code == 200
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert "<code>unauthenticated</code>, HTTP status 401" in page.text
        none = await client.get("/problems/no_such_code")
        assert (none.status_code, none.json()["code"]) == (404, "not_found")
