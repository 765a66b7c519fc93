"""Generations of owners, over a fake engine."""

from contextlib import ExitStack

import pytest

from tests.daemon.contexts import URL as BASE
from tests.daemon.contexts import client_of, make_context
from tests.daemon.fake_port import FakeEngine, info_hash_of
from torrent_engine.base.ids import OwnerTie
from torrent_engine.daemon.security.cookie_sessions import OWN
from torrent_engine.daemon.security.principals import Scope
from torrent_engine.daemon.state import owners
from torrent_engine.daemon.state.daemon_state import DaemonState
from torrent_engine.daemon.state.store import DaemonStore

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
    assert context.state.owners.advance("tab-1")[0] == 43


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


class Leases:
    """A daemon whose clock the test turns."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.engine = FakeEngine()
        self.context = make_context(self.engine)
        self.context.state = DaemonState(
            self.engine.port, DaemonStore(), clock=lambda: self.now_s, wall_clock=lambda: 0.0
        )
        self.owners = self.context.state.owners

    async def later(self, seconds: float) -> None:
        self.now_s += seconds
        await self.context.state.tick()

    def add(self, generation: int) -> None:
        self.engine.put(name="a", owner=OwnerTie("tab-1", generation))


async def test_leases_of_owners_without_torrents_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(owners, "MAX_LEASES", 3)
    scene = Leases()
    scene.add(1)
    async with client_of(scene.context):
        book = scene.context.state.owners
        book.renew("tab-1")
        with book.held("held"):
            for number in range(5):
                book.check(OwnerTie(f"{number}", 1))
            found = [book.value(each) for each in ("tab-1",)]
            assert found[0] is not None
            assert found[0]["lease_left_s"] == 60.0
            assert sorted(book._leases) == ["4", "held", "tab-1"]


async def test_a_lease_that_nobody_renews_ends_as_a_new_generation() -> None:
    scene = Leases()
    async with client_of(scene.context) as client:
        generation = (await client.post(f"{URL}/generation")).json()["generation"]
        scene.add(generation)
        await scene.context.state.reload()
        await scene.later(59.0)
        assert (await client.put(f"{URL}/lease")).status_code == 204
        await scene.later(59.0)
        assert (await client.get(URL)).json()["lease_left_s"] == 1.0
        assert len(scene.engine.order) == 1
        await scene.later(1.0)
        assert scene.engine.order == []
        told = (await client.get(URL)).json()
        assert (told["generation"], told["lease_left_s"]) == (generation + 1, None)
        source = f"magnet:?xt=urn:btih:{info_hash_of(9)}"
        owner = {"id": "tab-1", "generation": generation}
        late = await client.post("/api/v1/torrents", json={"source": source, "owner": owner})
        assert (late.status_code, late.json()["code"]) == (409, "owner_changed")


async def test_an_event_stream_holds_the_lease_of_its_owner() -> None:
    scene = Leases()
    scene.owners.advance("tab-1", 10.0)
    scene.add(1)
    await scene.context.state.reload()
    with scene.owners.held("tab-1"), scene.owners.held("tab-1"):
        await scene.later(1_000.0)
        assert len(scene.engine.order) == 1
    await scene.later(9.0)
    assert len(scene.engine.order) == 1
    await scene.later(1.0)
    assert scene.engine.order == []


async def test_event_streams_hold_the_lease_of_the_next_generation_too() -> None:
    scene = Leases()
    scene.owners.advance("tab-1", 10.0)
    with ExitStack() as newer:
        with scene.owners.held("tab-1"):
            scene.owners.end("tab-1")
            generation, _ = scene.owners.advance("tab-1", 10.0)
            scene.add(generation)
            await scene.context.state.reload()
            await scene.later(1_000.0)
            assert len(scene.engine.order) == 1
            newer.enter_context(scene.owners.held("tab-1"))
        await scene.later(1_000.0)
        assert len(scene.engine.order) == 1
    await scene.later(10.0)
    assert scene.engine.order == []


async def test_the_last_who_holds_a_lease_by_name_ends_its_owner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(owners, "MAX_HOLDERS", 3)
    scene = Leases()
    async with client_of(scene.context) as client:
        generation = (await client.post(f"{URL}/generation")).json()["generation"]
        scene.add(generation)
        await scene.context.state.reload()
        for holder in ("first", "second"):
            body = {"lease_s": 60.0, "holder": holder}
            assert (await client.put(f"{URL}/lease", json=body)).status_code == 204
        assert (await client.delete(URL, params={"holder": "first"})).status_code == 204
        assert len(scene.engine.order) == 1
        await client.put(f"{URL}/lease", json={"holder": "gone"})
        await scene.later(59.0)
        await client.put(f"{URL}/lease", json={"holder": "second"})
        await scene.later(1.0)  # "gone" has not renewed it
        assert (await client.delete(URL, params={"holder": "second"})).status_code == 204
        assert scene.engine.order == []
        for number in range(9):
            scene.owners.renew("tab-1", 0.0, f"{number}")
        assert len(scene.owners._leases["tab-1"].renewed_by) == 3
        assert (await client.delete(URL)).status_code == 204
        assert (await client.delete(URL, params={"holder": "nobody"})).status_code == 204
        assert (await client.put(f"{URL}/lease", json={"holder": "x" * 65})).status_code == 422


async def test_an_owner_whose_lease_is_held_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(owners, "MAX_OWNERS", 2)
    scene = Leases()
    scene.owners.advance("tab-1")
    with scene.owners.held("tab-1"):
        for number in range(3):
            scene.owners.advance(f"{number}")
        assert scene.owners.present("tab-1") == 1


async def test_an_owner_without_a_lease_stays() -> None:
    scene = Leases()
    async with client_of(scene.context) as client:
        assert (await client.post(f"{URL}/generation", json={"lease_s": 0})).status_code == 201
        for wrong in (-1, 1e9, "x"):
            answer = await client.post(f"{URL}/generation", json={"lease_s": wrong})
            assert answer.status_code == 422
        scene.add(1)
        await scene.context.state.reload()
        await scene.later(1e6)
        told = (await client.get(URL)).json()
    assert (told["lease_s"], told["lease_left_s"]) == (0, None)
    assert len(scene.engine.order) == 1


async def test_another_process_knows_generations_and_begins_leases_anew() -> None:
    scene = Leases()
    scene.owners.advance("tab-1", 10.0)
    scene.owners.advance("tab-1")
    scene.add(2)
    old = scene.engine.put(name="old", owner=OwnerTie("tab-1", 1))
    scene.engine.engine.generations.clear()
    state = DaemonState(scene.engine.port, scene.context.state.store, clock=lambda: scene.now_s)
    await state.reload()
    assert scene.engine.engine.generations == {"tab-1": 2}
    assert old in scene.engine.removed
    scene.now_s += 10.0
    await state.tick()
    assert scene.engine.order == []


async def test_a_logout_ends_the_owners_of_its_session() -> None:
    engine = FakeEngine()
    context = make_context(engine)
    cookie = context.authenticator.sessions.begin(OWN)
    async with client_of(context, token=None) as client:
        headers = {"Cookie": f"{OWN.name}={cookie}", "Origin": BASE}
        told = (await client.get("/api/v1/session", headers=headers)).json()
        headers["X-CSRF-Token"] = told["csrf_token"]
        for tab in ("tab-1", "tab-2"):
            made = await client.post(f"/api/v1/owners/{tab}/generation", headers=headers)
            assert made.status_code == 201
        context.state.owners.advance("tab-3", by="another session")
        for tab in ("tab-1", "tab-2", "tab-3"):
            engine.put(name=tab, owner=OwnerTie(tab, 1))
        await context.state.reload()
        assert (await client.delete("/api/v1/session", headers=headers)).status_code == 204
    assert [each.facts.about.name for each in engine.torrents.values()] == ["tab-3"]


async def test_only_who_may_control_holds_a_lease_by_a_stream() -> None:
    context = make_context(FakeEngine())
    _, secret = context.authenticator.tokens.make("reader", [Scope.READ])
    async with client_of(context, token=secret) as client:
        answer = await client.get("/api/v1/events", params={"owner": "tab-1"})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
