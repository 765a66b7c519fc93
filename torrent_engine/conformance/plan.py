"""The groups of rules: their titles, and which numbers belong to each."""

from collections.abc import Collection
from typing import Final

GROUPS: Final[dict[str, tuple[str, int, int]]] = {
    "BEP3-HS": ("Handshake", 1, 18),
    "BEP3-FR": ("Framing", 1, 12),
    "BEP3-BF": ("Bitfield", 1, 8),
    "BEP3-HV": ("Have", 1, 5),
    "BEP3-CI": ("Choke and interest", 1, 12),
    "BEP3-RQ": ("Requests to a seed", 1, 20),
    "BEP3-LR": ("Requests of a leech", 1, 12),
    "BEP3-IN": ("Integrity and files", 1, 10),
    "BEP6-FE": ("Fast extension", 1, 25),
    "BEP6-AF": ("Allowed fast", 1, 9),
    "BEP10-EX": ("Extension protocol", 1, 23),
    "BEP9-MD": ("Metadata", 1, 25),
    "BEP11-PX": ("Peer exchange", 1, 16),
    "BEP54-DH": ("Don't have", 1, 5),
    "BEP55-HP": ("Hole punching", 1, 10),
    "BEP21-PS": ("Partial seeds", 1, 4),
    "BEP40-PR": ("Peer priority", 1, 1),
    "MSE-EN": ("Encryption", 1, 18),
    "BEP5-DT": ("DHT", 1, 27),
    "BEP32-V6": ("DHT over IPv6", 1, 4),
    "BEP33-SC": ("DHT scrapes", 1, 2),
    "BEP42-ID": ("DHT node ids", 1, 4),
    "BEP43-RO": ("Read-only DHT nodes", 1, 3),
    "BEP44-ST": ("DHT storage", 1, 16),
    "BEP51-SI": ("DHT samples", 1, 3),
    "BEP3-TK": ("HTTP trackers", 1, 28),  # 13, 14 and 20 to 26 are those of other BEPs
    "BEP7-TK": ("Trackers over IPv6", 13, 14),
    "BEP12-TK": ("Tracker tiers", 20, 23),
    "BEP31-TK": ("Tracker failures", 24, 24),
    "BEP48-TK": ("Tracker scrapes", 25, 25),
    "BEP24-TK": ("External address", 26, 26),
    "BEP15-UT": ("UDP trackers", 1, 11),
    "BEP41-UT": ("UDP tracker options", 12, 12),
    "BEP27-PR": ("Private torrents", 1, 7),
    "BEP14-LS": ("Local service discovery", 1, 9),
    "BEP29-UP": ("uTP", 1, 24),
    "BEP47-PF": ("Pads and attributes", 1, 6),
    "BEP19-WS": ("Web seeds", 1, 6),
    "BEP17-WS": ("HTTP seeds", 7, 7),
    "BEP52-MI": ("v2 torrents", 1, 6),
    "BEP52-HS": ("v2 handshake", 1, 5),
    "BEP52-HR": ("v2 hash requests", 1, 11),
    "BEP52-RQ": ("v2 requests", 1, 3),
    "BEP52-DA": ("v2 data", 1, 5),
    "BEP52-MG": ("v2 magnet links", 1, 3),
    "BEP52-AN": ("v2 announces", 1, 2),
    "TRK-HT": ("Subject as HTTP tracker", 1, 14),
    "TRK-UD": ("Subject as UDP tracker", 1, 13),
}
"""Titles, first and last numbers; ids stay what they are when a rule goes."""

WITHOUT_RULE: Final[dict[str, str]] = {
    "BEP40-PR-01": "no outside can tell a priority from chance without a limit of peers",
    "BEP43-RO-03": "no program has an option in common that makes it read-only",
    "BEP24-TK-26": "nothing that a program sends shows what it does with the address",
    "BEP29-UP-23": "how far a rate falls depends on the machine more than on the program",
}
"""Numbers of the groups that have no rule yet, or cannot have one, and why."""
_OF_OTHERS: Final = frozenset(f"BEP3-TK-{number}" for number in (13, 14, *range(20, 27)))


def open_numbers(rule_ids: Collection[str]) -> list[str]:
    """Return the planned ids that are not among these."""
    planned = (
        f"{group}-{number:02}"
        for group, (_, first, last) in GROUPS.items()
        for number in range(first, last + 1)
    )
    return [each for each in planned if each not in rule_ids and each not in _OF_OTHERS]


def is_planned(rule_id: str) -> bool:
    """Return whether an id is one of a group's."""
    group, _, number = rule_id.rpartition("-")
    if group not in GROUPS or not number.isdigit():
        return False
    _, first, last = GROUPS[group]
    return first <= int(number) <= last


def title_of(group: str) -> str:
    """Return what a group is about."""
    return GROUPS[group][0]
