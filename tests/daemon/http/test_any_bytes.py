"""Any bytes are answered or hung up on, are no bug, and mean the same however they are cut."""

import logging
from random import Random

import anyio
import pytest

from tests.daemon.http.test_smuggling import ACCEPTED, BAD_CHUNKS, CHUNKED, NEXT, REFUSED, post
from tests.support.http_server import Echo, Served, read_all, served, statuses_of
from torrent_engine.daemon.security.hosts import HostRule, name_of, origin_of

pytestmark = pytest.mark.anyio
CASES = 240
SEEDS = range(4)
KNOWN = {100, 200, 400, 405, 408, 413, 414, 431, 501, 505}
BASES = [
    *(data for data, _ in REFUSED.values()),
    *(data for data, _ in ACCEPTED.values()),
    *(post(CHUNKED, body=body) for body in BAD_CHUNKS.values()),
]
TOKENS = [
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b" ",
        b"\t",
        b":",
        b",",
        b";",
        b"\x0b",
        b"\xff",
        b"0",
        b"\r\n\r\n",
    ),
    *(
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Host: other\r\n",
        b"\r\n ",
        b"%2e",
    ),
    *(b"HTTP/1.1", b"HTTP/1.0", b"Expect: 100-continue\r\n", b"Connection: close\r\n", NEXT),
]


def damaged(chance: Random, data: bytes) -> bytes:
    """Return bytes with a few parts changed, cut, doubled or put in."""
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(data) + 1)
        end = min(at + chance.randrange(12), len(data))
        new = chance.choice((b"", chance.choice(TOKENS), data[at:end] * 2, chance.randbytes(3)))
        data = data[:at] + new + data[end if chance.random() < 0.5 else at :]
    return data


async def talk(here: Served, parts: list[bytes]) -> list[int]:
    """Send parts one after the other, then the end; return the statuses of what is answered."""
    async with await here.connect() as stream:
        try:
            for part in parts:
                await stream.send(part)
                await anyio.lowlevel.checkpoint()
            await stream.send_eof()
        except (anyio.BrokenResourceError, OSError):
            pass  # it has hung up on what came before
        return statuses_of(await read_all(stream))


@pytest.mark.parametrize("seed", SEEDS)
async def test_damaged_requests_are_answered_alike_whole_and_in_parts(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    chance, echo, statuses = Random(seed), Echo(), set[int]()
    async with served(echo) as here:
        for _ in range(CASES // len(SEEDS)):
            data = damaged(chance, chance.choice(BASES))
            cuts = sorted(chance.randrange(len(data) + 1) for _ in range(3))
            parts = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
            echo.seen.clear()
            whole = await talk(here, [data])
            seen = list(echo.seen)
            echo.seen.clear()
            assert (await talk(here, parts), echo.seen) == (whole, seen), data
            assert set(whole) <= KNOWN, data
            assert whole.count(200) == len(seen), data
            statuses.update(whole)
        assert statuses_of(await here.get("/after")) == [200]
    assert statuses >= {200, 400}
    assert caplog.records == []


@pytest.mark.parametrize("seed", SEEDS)
def test_any_text_as_a_host_is_one_of_ours_or_refused(seed: int) -> None:
    chance, rule = Random(seed), HostRule(["nas.example", "*.home.example"])
    alphabet = ["a", ".", ":", "[", "]", "1", "/", "@", "%", "\\", "\0", "é", "*", "-", "::1"]
    ours = ["localhost", "127.0.0.1", "nas.example", "x.home.example", ".home.example"]
    for _ in range(5_000):
        text = "".join(chance.choice([*alphabet, *ours]) for _ in range(chance.randrange(6)))
        origin_of("http", text)
        if not rule.allows(text):
            continue
        name = name_of(text)
        assert name is not None
        assert {"/", "@"}.isdisjoint(name), text
        is_address = set(name) <= set("0123456789abcdef.:%")
        assert is_address or name in ours or name.endswith(".home.example"), text
