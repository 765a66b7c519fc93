"""Generations of owners, over a fake engine."""

import pytest

from tests.daemon.contexts import URL as BASE
from tests.daemon.contexts import client_of, make_context
from tests.daemon.fake_port import FakeEngine, info_hash_of
from torrent_engine.base.ids import OwnerTie
from torrent_engine.daemon.api.owners import OwnerGenerations
from torrent_engine.daemon.security.cookie_sessions import OWN

pytestmark = pytest.mark.anyio
URL = "/api/v1/owners/tab-1"


async def test_a_new_generation_cancels_downloads_of_older_ones() -> None:
    engine = FakeEngine()
    kept = engine.put(name="kept")
    async with client_of(make_context(engine)) as client:
        assert (await client.get(URL)).status_code == 404
        first = (await client.post(f"{URL}/generation")).json()
        owner = {"id": "tab-1", "generation": first["generation"]}
        source = f"magnet:?xt=urn:btih:{info_hash_of(9)}"
        added = await client.post("/api/v1/torrents", json={"source": source, "owner": owner})
        assert added.status_code == 201
        assert (await client.get(URL)).json()["torrents"] == [str(info_hash_of(9))]
        second = (await client.post(f"{URL}/generation")).json()
        assert second == {"generation": first["generation"] + 1, "cancelled": 1}
        late = await client.post("/api/v1/torrents", json={"source": source, "owner": owner})
        assert late.json()["code"] == "owner_changed"
    assert engine.order == [kept]


async def test_a_generation_is_above_all_that_are_known() -> None:
    engine = FakeEngine()
    engine.put(name="a", owner=OwnerTie("tab-1", 41))
    context = make_context(engine)
    async with client_of(context) as client:
        assert (await client.post(f"{URL}/generation")).json()["generation"] == 42
    engine.engine.generations.clear()  # another process
    assert OwnerGenerations(context).advance("tab-1")[0] == 43


async def test_an_owner_that_ends_loses_its_downloads() -> None:
    engine = FakeEngine()
    engine.put(name="a", owner=OwnerTie("tab-1", 1))
    async with client_of(make_context(engine)) as client:
        assert (await client.delete(URL)).status_code == 204
    assert engine.order == []


async def test_a_beacon_of_a_closed_tab_has_its_token_in_the_query() -> None:
    engine = FakeEngine()
    engine.put(name="a", owner=OwnerTie("tab-1", 1))
    context = make_context(engine)
    cookie = context.authenticator.sessions.begin(OWN)
    async with client_of(context, token=None) as client:
        headers = {"Cookie": f"{OWN.name}={cookie}", "Origin": BASE, "Content-Type": "text/plain"}
        for wrong in ("", "?csrf=x"):
            answer = await client.post(f"{URL}/bye{wrong}", headers=headers, content=b"x")
            assert (answer.status_code, answer.json()["code"]) == (403, "csrf_invalid")
        session = await client.get("/api/v1/session", headers=headers)
        token = session.json()["csrf_token"]
        answer = await client.post(f"{URL}/bye", params={"csrf": token}, headers=headers)
        assert answer.status_code == 204
    assert engine.order == []
