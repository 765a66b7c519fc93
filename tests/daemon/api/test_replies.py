"""JSON of parts that are encoded already."""

import json

import pytest

from torrent_engine.daemon.common.replies import joined


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_a_list_is_joined_with_what_stands_around_it(count: int) -> None:
    parts = tuple(json.dumps({"number": number}).encode() for number in range(count))
    values = [{"number": number} for number in range(count)]
    assert json.loads(joined(parts)) == values
    whole = joined(parts, b'{"items":', b',"rev":"a"}')
    assert json.loads(whole) == {"items": values, "rev": "a"}
