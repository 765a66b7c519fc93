"""Owns what a search knows of one node, and what that says of those who named it.

Row C2: who names nodes that do not answer, or answer under another id, is believed less, and so
is what it named.
"""

from dataclasses import dataclass, field
from enum import Enum, IntEnum, auto
from typing import Final

from torrent_engine.base.ids import NodeId, PeerAddress
from torrent_engine.protocol.dht.named_nodes import distance
from torrent_engine.protocol.dht.security import is_valid_node_id

FARTHEST: Final = 1 << 160
MAX_CLAIMS: Final = 64  # ours: what more of them say makes no difference
MAX_UNPROVED: Final = 3  # ours: nodes asked at a time on the word of somebody unproved


class Standing(Enum):
    """Where a candidate stands."""

    NEW = auto()
    ASKED = auto()
    SLOW = auto()
    """Asked; the short time-out has passed."""
    ANSWERED = auto()
    FAILED = auto()


class Grade(IntEnum):
    """How much a candidate is believed; the search goes on to the next when one is exhausted."""

    SOUND = 0
    INSECURE = 1
    """Its id does not belong to its address (BEP 42)."""
    DOUBTFUL = 2
    """It named nodes that are not there; or only such nodes have named it."""


@dataclass(slots=True, eq=False)
class Candidate:
    """A node that a search may ask."""

    address: PeerAddress
    node_id: NodeId | None
    """What it answered, or what others say; None where only its address is known."""
    target: bytes
    hop: int = 0
    """Answers on the way to it."""
    is_trusted: bool = False
    """Whether we knew it before."""
    claims: dict["Candidate", NodeId] = field(default_factory=dict)
    """Who named it, and under which id."""
    standing: Standing = Standing.NEW
    token: bytes | None = None
    distance: int = FARTHEST
    is_secure: bool = True
    good: int = 0
    """Nodes that it named and that answered under that id."""
    bad: int = 0
    """Nodes that it named and that did not."""
    pending: int = 0
    """Nodes that it named and that are asked."""

    def __post_init__(self) -> None:
        """Work out what follows from the id."""
        if self.node_id is not None:
            self.rename(self.node_id)

    @property
    def is_doubtful(self) -> bool:
        """Whether what it says proved wrong too often to be chance."""
        return self.bad >= MAX_UNPROVED + 2 * self.good

    @property
    def grade(self) -> Grade:
        """How much it is believed at this moment."""
        if self.standing is Standing.ANSWERED:
            is_believed = not self.is_doubtful
        else:
            is_believed = self.is_trusted or any(
                claim == self.node_id and not namer.is_doubtful
                for namer, claim in self.claims.items()
            )
        if not is_believed:
            return Grade.DOUBTFUL
        return Grade.SOUND if self.is_secure else Grade.INSECURE

    @property
    def is_vouched_for(self) -> bool:
        """Whether somebody who named it may have one more node asked."""
        return self.is_trusted or any(
            namer.good or namer.pending < MAX_UNPROVED for namer in self.claims
        )

    @property
    def is_in_flight(self) -> bool:
        """Whether it was asked and may still answer."""
        return self.standing is Standing.ASKED or self.standing is Standing.SLOW

    def rename(self, node_id: NodeId) -> None:
        """Know it under another id."""
        self.node_id = node_id
        self.distance = distance(node_id, self.target)
        self.is_secure = is_valid_node_id(node_id, self.address.host)

    def is_better(self, node_id: NodeId) -> bool:
        """Tell whether a claim about a node that was not asked is to be tried instead.

        Ids that fit the address come first, then the one that has it asked sooner: the answer
        tells who was right, and a lie keeps nobody out.
        """
        if self.standing is not Standing.NEW or (self.is_trusted and self.node_id is not None):
            return False
        fits = is_valid_node_id(node_id, self.address.host)
        if self.node_id is None or fits != self.is_secure:
            return fits or self.node_id is None
        return distance(node_id, self.target) < self.distance

    def named(self, node_id: NodeId, namer: "Candidate") -> None:
        """Note one more word about it."""
        if namer is self or namer in self.claims:
            return
        if self.standing is Standing.ANSWERED:
            self._judge(namer, node_id)
        elif self.standing is Standing.FAILED:
            namer.bad += 1
        elif len(self.claims) < MAX_CLAIMS:
            self.claims[namer] = node_id
            namer.pending += self.is_in_flight
            namer.bad += self.standing is Standing.SLOW

    def asked(self) -> None:
        """Know that it was asked."""
        self.standing = Standing.ASKED
        for namer in self.claims:
            namer.pending += 1

    def slow(self) -> None:
        """Know that its answer is late: all who named it are a little less believed."""
        self.standing = Standing.SLOW
        for namer in self.claims:
            namer.bad += 1

    def failed(self) -> None:
        """Know that it will not answer; it was late before."""
        self._settle(Standing.FAILED)

    def refused(self) -> None:
        """Know that it answered with an error: nobody lied."""
        self._forgive()
        self._settle(Standing.FAILED)

    def answered(self, node_id: NodeId) -> None:
        """Know under which id it answered; whoever named another is wrong, or it is itself."""
        self._forgive()
        self._settle(Standing.ANSWERED)
        was_secure, expected = self.is_secure, self.node_id
        if node_id != expected:
            self.rename(node_id)
            if expected is not None and was_secure and not self.is_secure:
                self.bad += MAX_UNPROVED
        for namer, claim in self.claims.items():
            self._judge(namer, claim)

    def _judge(self, namer: "Candidate", claim: NodeId) -> None:
        """Count a word about a node that answered; one with a false id proves nobody wrong."""
        if claim == self.node_id:
            namer.good += 1
        elif self.is_secure:
            namer.bad += 1

    def _forgive(self) -> None:
        if self.standing is Standing.SLOW:
            for namer in self.claims:
                namer.bad -= 1

    def _settle(self, standing: Standing) -> None:
        self.standing = standing
        for namer in self.claims:
            namer.pending -= 1
