"""Numbers of answers: a double that is whole has no fraction, as with Qt."""

import json

import pytest

from tests.daemon.qbittorrent.web_api_scene import WebApiScene
from torrent_engine.daemon.qbittorrent.numbers import in_qt_style


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-1.0, "-1"),
        (-2.0, "-2"),
        (0.0, "0"),
        (-0.0, "0"),
        (0.5, "0.5"),
        (1.0, "1"),
        (True, "true"),
        (None, "null"),
        ({"a": [1.0, 1.5, {"b": 2.0}], "c": (3.0,)}, '{"a": [1, 1.5, {"b": 2}], "c": [3]}'),
        ("1.0", '"1.0"'),
    ],
)
def test_whole_doubles_have_no_fraction(value: object, text: str) -> None:
    assert json.dumps(in_qt_style(value)) == text


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["torrents/info", "sync/maindata", "app/preferences"])
async def test_answers_have_no_fraction_of_zero(path: str) -> None:
    scene = WebApiScene()
    scene.put()
    async with scene.open():
        text = (await scene.ask("GET", path)).text
    assert ".0," not in text
    assert ".0}" not in text
