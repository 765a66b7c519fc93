import pytest

from torrent_engine.policy.limits.descriptors import (
    BASE,
    OTHERS,
    PER_FILE,
    PER_TORRENT,
    clients_within,
    files_within,
    links_within,
    needed_descriptors,
    reserved_descriptors,
    runs_within,
)

LIMITS = [48, 64, 256, 1024, 65_536]


@pytest.mark.parametrize("limit", LIMITS)
def test_f9_links_and_files_and_the_rest_fit_into_the_limit(limit: int) -> None:
    files, links = files_within(limit, 40), links_within(limit, 500)
    assert OTHERS + PER_FILE * files <= reserved_descriptors(limit)
    assert BASE + links + reserved_descriptors(limit) <= limit
    assert (files, links) >= (4, 4)


def test_f9_what_is_wanted_is_had_where_the_limit_allows() -> None:
    assert (files_within(1024, 40), links_within(1024, 500)) == (40, 500)
    assert (files_within(64, 40), links_within(64, 500)) == (4, 24)
    assert (files_within(1024, 3), links_within(1024, 7)) == (3, 7)


def test_f9_unlimited_links_are_as_many_as_fit() -> None:
    assert links_within(1024, 0) == 1024 - BASE - reserved_descriptors(1024)


def test_f9_clients_of_the_daemon_leave_most_descriptors_to_torrents() -> None:
    limits = (48, 64, 256, 1024, 65_536)
    assert [clients_within(limit, 100) for limit in limits] == [8, 8, 32, 100, 100]


@pytest.mark.parametrize(("links", "files"), [(700, 40), (5_000, 40), (10, 2)])
def test_f9_under_the_limit_that_is_needed_all_is_had(links: int, files: int) -> None:
    limit = needed_descriptors(links, files)
    assert (links_within(limit, links), files_within(limit, files)) == (links, files)


@pytest.mark.parametrize("limit", LIMITS)
def test_f9_all_torrents_that_may_run_fit_beside_their_links(limit: int) -> None:
    torrents = runs_within(limit)
    links = links_within(limit, 0, torrents=torrents)
    beside = BASE + reserved_descriptors(limit) + (torrents - 1) * PER_TORRENT
    assert torrents >= 1
    assert links >= 4
    assert beside + links <= max(limit, beside + 4)
    assert links_within(limit, 0) - links <= (torrents - 1) * PER_TORRENT
