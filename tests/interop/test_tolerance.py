"""Each row of docs/tolerance.md, as far as it is about libtorrent."""

import pytest

from tests.support.odd_torrents import magnets, torrents
from tests.support.tolerance_table import DOCUMENT, libtorrents, read_table

pytestmark = pytest.mark.interop

DOCUMENTED = read_table(DOCUMENT.read_text())
ROWS = {row.what: row for row in (*torrents(), *magnets())}
REFUSED_FOR_A_REASON = {
    "info twice, different",
    "name twice, different",
    "length twice, different",
}
"""Rows that the document gives a reason for, under "What libtorrent loads and ..."."""


@pytest.mark.parametrize("what", ROWS)
def test_a_row_says_what_libtorrent_makes_of_it(what: str) -> None:
    assert libtorrents(ROWS[what]) == DOCUMENTED[what]["libtorrent"]


def test_nothing_is_refused_that_libtorrent_loads_but_for_a_reason() -> None:
    refused = {
        what
        for what, said in DOCUMENTED.items()
        if said["libtorrent"] != "no" and said["torrent_engine"] == "no"
    }
    assert refused == REFUSED_FOR_A_REASON


def test_nothing_that_is_private_there_is_public_here() -> None:
    exposed = {
        what
        for what, said in DOCUMENTED.items()
        if "private" in said["libtorrent"] and said["torrent_engine"] == "yes"
    }
    assert exposed == set()
    assert "private" in DOCUMENTED["private 2"]["torrent_engine"]
