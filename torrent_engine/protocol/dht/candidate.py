"""One node of a lookup, and the effect of its response on the trust in its referrers.

Row C2: nodes that refer to unresponsive nodes, or to nodes with another id, lose trust, and so do
the nodes that only they refer to.
"""

from dataclasses import dataclass, field
from enum import Enum, IntEnum, auto
from typing import Final

from torrent_engine.base.ids import NodeId, PeerAddress
from torrent_engine.protocol.dht.response_nodes import distance
from torrent_engine.protocol.dht.security import is_valid_node_id

FARTHEST: Final = 1 << 160
MAX_CLAIMS: Final = 64  # ours: further referrers make no difference
MAX_UNTESTED: Final = 3  # ours: simultaneous queries to nodes that an untested node refers to


class QueryState(Enum):
    """The state of the query to a candidate."""

    NEW = auto()
    ASKED = auto()
    SLOW = auto()
    """Queried; the short timeout has passed."""
    ANSWERED = auto()
    FAILED = auto()


class Grade(IntEnum):
    """The trust in a candidate; lower grades are used when the higher ones are exhausted."""

    SOUND = 0
    INSECURE = 1
    """Its id is invalid for its address (BEP 42)."""
    DOUBTFUL = 2
    """It referred to unresponsive nodes, or only such nodes refer to it."""


@dataclass(slots=True, eq=False)
class LookupCandidate:
    """A node that a search may query."""

    address: PeerAddress
    node_id: NodeId | None
    """The id in its response, or as others claim; None if only its address is known."""
    target: bytes
    hop: int = 0
    """Number of hops that led to it."""
    is_trusted: bool = False
    """Whether it is from our own table."""
    claims: dict["LookupCandidate", NodeId] = field(default_factory=dict)
    """Referrer -> the id that it claimed."""
    named: list["LookupCandidate"] = field(default_factory=list)
    """Nodes with a claim of this one."""
    state: QueryState = QueryState.NEW
    token: bytes | None = None
    distance: int = FARTHEST
    is_secure: bool = True
    good: int = 0
    """Nodes it referred to that responded with the claimed id."""
    bad: int = 0
    """Nodes it referred to that did not."""
    pending: int = 0
    """Nodes it referred to with an outstanding query."""
    grade: Grade = Grade.DOUBTFUL
    """The present trust in it; searches look at it far more often than it changes."""

    def __post_init__(self) -> None:
        """Compute distance, validity of the id, and grade."""
        if self.node_id is None:
            self.regrade()
        else:
            self.rename(self.node_id)

    @property
    def is_doubtful(self) -> bool:
        """Whether too many of its references were wrong."""
        return self.bad >= MAX_UNTESTED + 2 * self.good

    @property
    def has_referrer_room(self) -> bool:
        """Whether one of its referrers has room for one more query."""
        return self.is_trusted or any(
            referrer.good or referrer.pending < MAX_UNTESTED for referrer in self.claims
        )

    @property
    def is_in_flight(self) -> bool:
        """Whether it was queried and may still respond."""
        return self.state is QueryState.ASKED or self.state is QueryState.SLOW

    def regrade(self) -> None:
        """Compute the grade, after a change of what it depends on."""
        if self.state is QueryState.ANSWERED:
            is_believed = not self.is_doubtful
        else:
            is_believed = self.is_trusted or any(
                claim == self.node_id and not referrer.is_doubtful
                for referrer, claim in self.claims.items()
            )
        if not is_believed:
            self.grade = Grade.DOUBTFUL
        else:
            self.grade = Grade.SOUND if self.is_secure else Grade.INSECURE

    def score(self, *, good: int = 0, bad: int = 0) -> None:
        """Count references of it that proved right or wrong."""
        was_doubtful = self.is_doubtful
        self.good += good
        self.bad += bad
        if self.is_doubtful != was_doubtful:
            self.regrade()
            for candidate in self.named:
                candidate.regrade()

    def rename(self, node_id: NodeId) -> None:
        """Set another id."""
        self.node_id = node_id
        self.distance = distance(node_id, self.target)
        self.is_secure = is_valid_node_id(node_id, self.address.host)
        self.regrade()

    def is_better(self, node_id: NodeId) -> bool:
        """Return whether another claimed id of an unqueried node should replace the present one.

        Ids valid for the address come first, then the closer one, which has the node queried
        sooner: its response shows who was right, and a wrong claim excludes no node.
        """
        if self.state is not QueryState.NEW or (self.is_trusted and self.node_id is not None):
            return False
        fits = is_valid_node_id(node_id, self.address.host)
        if self.node_id is None or fits != self.is_secure:
            return fits or self.node_id is None
        return distance(node_id, self.target) < self.distance

    def referred_by(self, node_id: NodeId, referrer: "LookupCandidate") -> None:
        """Record one more referrer of the node."""
        if referrer is self or referrer in self.claims:
            return
        if self.state is QueryState.ANSWERED:
            self._judge(referrer, node_id)
        elif self.state is QueryState.FAILED:
            referrer.score(bad=1)
        elif len(self.claims) < MAX_CLAIMS:
            self.claims[referrer] = node_id
            referrer.named.append(self)
            referrer.pending += self.is_in_flight
            referrer.score(bad=self.state is QueryState.SLOW)
            self.regrade()

    def asked(self) -> None:
        """Record that it was queried."""
        self.state = QueryState.ASKED
        for referrer in self.claims:
            referrer.pending += 1

    def slow(self) -> None:
        """Record that its response is late, which lowers the trust in its referrers a little."""
        self.state = QueryState.SLOW
        for referrer in self.claims:
            referrer.score(bad=1)

    def failed(self) -> None:
        """Record that it did not respond; :meth:`slow` was called before."""
        self._settle(QueryState.FAILED)

    def refused(self) -> None:
        """Record an error response, which affects no trust."""
        self._forgive()
        self._settle(QueryState.FAILED)

    def answered(self, node_id: NodeId) -> None:
        """Record the id in its response; referrers that claimed another id lose trust."""
        self._forgive()
        self._settle(QueryState.ANSWERED)
        was_secure, expected = self.is_secure, self.node_id
        if node_id != expected:
            self.rename(node_id)
            if expected is not None and was_secure and not self.is_secure:
                self.score(bad=MAX_UNTESTED)
        for referrer, claim in self.claims.items():
            self._judge(referrer, claim)

    def _judge(self, referrer: "LookupCandidate", claim: NodeId) -> None:
        """Score a reference to a node that responded; invalid ids of the node do not count."""
        if claim == self.node_id:
            referrer.score(good=1)
        elif self.is_secure:
            referrer.score(bad=1)

    def _forgive(self) -> None:
        if self.state is QueryState.SLOW:
            for referrer in self.claims:
                referrer.score(bad=-1)

    def _settle(self, state: QueryState) -> None:
        self.state = state
        for referrer in self.claims:
            referrer.pending -= 1
        self.regrade()
