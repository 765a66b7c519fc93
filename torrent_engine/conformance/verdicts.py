"""Levels of rules, roles and torrents of programs, verdicts, and what counts as a failure."""

from enum import StrEnum
from typing import Final


class Level(StrEnum):
    """How binding the sentence is that a rule rests on."""

    MUST = "MUST"
    """The text of a BEP has this word."""
    SHOULD = "SHOULD"
    """The text of a BEP has this word."""
    STATED = "STATED"
    """A plain statement of a BEP, without such a word: most of BEP 3."""
    CONV = "CONV"
    """In no BEP, but what implementations agree on."""
    ROBUST = "ROBUST"
    """Nobody states it; wrong data, unbounded memory or a crash is the failure."""
    INFO = "INFO"
    """Recorded, without a verdict."""


class Verdict(StrEnum):
    """What one rule came to."""

    PASS = "P"  # noqa: S105 - no password
    NON_STRICT = "N"
    """Works, but not as the text has it, or by a convention."""
    FAIL = "F"
    UNSUPPORTED = "U"
    """The feature is not offered; never concluded from silence when it is."""
    INCONCLUSIVE = "I"
    """A precondition was not reached, or runs disagree."""
    CRASH = "X"
    """The process ended, or took memory or CPU without bound."""


class Role(StrEnum):
    """What the program under test is while a rule looks at it."""

    SEED = "seed"
    LEECH = "leech"
    MAGNET = "magnet"
    HTTP_TRACKER_CLIENT = "trk-http"
    """It announces to HTTP trackers of the kit."""
    UDP_TRACKER_CLIENT = "trk-udp"
    """It announces to a UDP tracker of the kit."""
    DHT = "dht"
    """It runs a node of the DHT, which nodes of the kit ask."""
    LSD = "lsd"
    """It downloads, and finds neighbours on the local network."""
    WEB_SEED_CLIENT = "web"
    """It downloads from a web server of the kit."""
    UTP = "utp"
    """It seeds, and takes connections over uTP."""
    TRACKER = "tracker"
    """It is a tracker, to which the kit announces."""


class SampleName(StrEnum):
    """The torrent that a program seeds while a rule looks at it."""

    BASIC = "basic"
    V2 = "v2"
    """Of version 2 only, with a file of more than 512 pieces."""
    HYBRID = "hybrid"
    PADDED = "padded"
    """Of version 1, with files that are filled up to whole pieces (BEP 47)."""


WORDS: Final = {
    Verdict.PASS: "pass",
    Verdict.NON_STRICT: "non-strict",
    Verdict.FAIL: "fail",
    Verdict.UNSUPPORTED: "unsupported",
    Verdict.INCONCLUSIVE: "inconclusive",
    Verdict.CRASH: "crash",
}
_FAILS_ALWAYS: Final = frozenset({Level.MUST, Level.STATED, Level.ROBUST})


def is_failure(level: Level, verdict: Verdict, *, strict: bool) -> bool:
    """Return whether a verdict counts as a failure of the run."""
    if verdict is Verdict.CRASH:
        return True
    if verdict is Verdict.NON_STRICT:
        return strict
    if verdict is not Verdict.FAIL:
        return False
    return level in _FAILS_ALWAYS or (strict and level is Level.SHOULD)
