"""The fault model names tests that exist, and every row that code or tests mention is in it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENT = (ROOT / "docs" / "fault-model.md").read_text()
FOLDERS = ["torrent_engine", "tests", "tools", "fuzz", "bench", "examples"]
HEADING = re.compile(r"^### ([A-F]\d+): .+$", re.MULTILINE)
MENTION = re.compile(r"\brows? ([A-F]\d+(?:(?:, and |, | and | or | to |-)[A-F]\d+)*)")
TEST_LABEL = re.compile(r"\btest_([a-f]\d+)_")
NOT_YET = "Does not apply yet"


def rows(document: str) -> dict[str, str]:
    """Return what the document says of each row, by the label of its heading."""
    parts = HEADING.split(document)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def labels_in(text: str) -> set[str]:
    """Return the rows that a text mentions, those within a range too."""
    return {label for mention in MENTION.findall(text) for label in expanded(mention)}


def expanded(mention: str) -> Iterator[str]:
    """Yield the labels of "A1 to A4", "A6, A9 to A11" or "C3 and C4"."""
    for part in re.split(r", and |, | and | or ", mention):
        first, _, last = re.sub(r" to ", "-", part).partition("-")
        for number in range(int(first[1:]), int((last or first)[1:]) + 1):
            yield f"{first[0]}{number}"


def defined_tests() -> set[str]:
    files = (ROOT / "tests").rglob("test_*.py")
    return {name for path in files for name in re.findall(r"\bdef (test_\w+)", path.read_text())}


def test_the_rows_are_complete_and_in_order() -> None:
    counts = {"A": 15, "B": 12, "C": 6, "D": 4, "E": 6, "F": 11}
    expected = [f"{group}{number + 1}" for group in counts for number in range(counts[group])]
    assert HEADING.findall(DOCUMENT) == expected


@pytest.mark.parametrize("label", HEADING.findall(DOCUMENT))
def test_each_row_names_tests_that_exist(label: str) -> None:
    text = rows(DOCUMENT)[label]
    named = set(re.findall(r"`(test_\w+)`", text))
    assert named or NOT_YET in text
    assert named - defined_tests() == set()


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_row_that_is_mentioned_is_in_the_document(folder: str) -> None:
    known = set(HEADING.findall(DOCUMENT))
    for path in (ROOT / folder).rglob("*.py"):
        text = path.read_text()
        labels = labels_in(text) | {each.upper() for each in TEST_LABEL.findall(text)}
        assert labels <= known, path


@pytest.mark.parametrize("folder", FOLDERS)
def test_code_refers_to_documents_that_are_here(folder: str) -> None:
    ours = {path.name for place in (".", "docs", "bench") for path in (ROOT / place).glob("*.md")}
    for path in (ROOT / folder).rglob("*.py"):
        named = set(re.findall(r"\b([A-Z][A-Z_]*\.md)\b", path.read_text()))
        assert named <= ours | {"RESULTS.md"}, path  # the benchmarks write the last one


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("(row B6)", {"B6"}),
        ("rows A1 to A4.", {"A1", "A2", "A3", "A4"}),
        ("rows A6, A9 to A11", {"A6", "A9", "A10", "A11"}),
        ("rows A14, B6 and D1", {"A14", "B6", "D1"}),
        ("the row above, B6", set()),
    ],
)
def test_labels_of_lists_and_ranges_are_read(text: str, labels: set[str]) -> None:
    assert labels_in(text) == labels


def test_the_numbers_of_the_document_are_the_defaults() -> None:
    from torrent_engine.base.config import FILE_BENCODE_LIMITS, DiskConfig, PoolConfig, WireLimits

    wire, pool, facts = WireLimits(), PoolConfig(), rows(DOCUMENT)
    assert f"{FILE_BENCODE_LIMITS.max_tokens:,} values" in facts["A2"]
    assert f"{FILE_BENCODE_LIMITS.max_bytes >> 20} MiB" in facts["A4"]
    assert f"{wire.max_queued_requests:,} requests waiting" in facts["B4"]
    assert f"at most {wire.handshake_timeout_s:g} s, silence {wire.idle_timeout_s:g} s" in (
        re.sub(r"\s+", " ", facts["B5"])
    )
    assert f"the {wire.max_unrequested_blocks + 1}st ends" in facts["B8"]
    assert pool.bans_before_ip_ban == 3
    assert "Three banned peers" in facts["B7"]
    assert f"reserve of {DiskConfig().state_reserve_bytes >> 20} MiB" in facts["F1"]
