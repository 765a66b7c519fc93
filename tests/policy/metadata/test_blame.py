"""Who gave what of the metadata, judged when it is known (row B2)."""

from torrent_engine.policy.metadata.attempt import PIECE_BYTES
from torrent_engine.policy.metadata.blame import MAX_RECORDS, MetadataBlame, digests_of

INFO = bytes(PIECE_BYTES) + b"end"


def test_b2_whoever_gave_a_wrong_piece_is_found_and_nobody_else() -> None:
    given = MetadataBlame()
    given.note("right", len(INFO), 0, INFO[:PIECE_BYTES])
    given.note("right", len(INFO), 1, b"end")
    given.note("right in part", len(INFO), 1, b"end")
    given.note("wrong", len(INFO), 0, INFO[:PIECE_BYTES])
    given.note("wrong", len(INFO), 1, b"END")
    given.note("of another length", 99, 0, INFO[:99])
    given.note("forgotten", len(INFO), 1, b"END")
    given.forget("forgotten")
    assert given.liars(digests_of(INFO)) == ["wrong", "of another length"]


def test_b2_a_lie_is_not_undone_by_the_truth_before_or_after_it() -> None:
    given = MetadataBlame()
    for key, versions in (("before", (b"END", b"end")), ("after", (b"end", b"END"))):
        for version in versions:
            given.note(key, len(INFO), 1, version)
    given.note("twice the same", len(INFO), 1, b"end")
    given.note("twice the same", len(INFO), 1, b"end")
    assert given.liars(digests_of(INFO)) == ["before", "after"]
    assert len(given) == 3


def test_b2_the_record_is_bounded() -> None:
    given = MetadataBlame()
    for number in range(2 * MAX_RECORDS):
        given.note(number, 10**6, number % 7, b"x")
        assert len(given) <= MAX_RECORDS
    for piece in range(MAX_RECORDS + 5):
        given.note("one", 10**9, piece, b"x")
        assert len(given) <= MAX_RECORDS
