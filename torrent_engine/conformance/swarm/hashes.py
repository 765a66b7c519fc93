"""A seed of the kit that serves hashes of version 2, or something else, to a download.

Source: BEP 52.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import anyio

from torrent_engine.conformance.frames import Frame
from torrent_engine.conformance.hash_messages import (
    HASH_REQUEST,
    HashQuestion,
    layers_of,
    right_hashes,
)
from torrent_engine.conformance.swarm.kit_seed import SeedLink, SeedScript
from torrent_engine.conformance.torrent_set import SampleTorrent


@dataclass(frozen=True, slots=True)
class AskedHashes:
    """A request of hashes; without a question if it has not the right length."""

    at: float
    question: HashQuestion | None


HashAnswer = Callable[["KitHashes", HashQuestion], bytes]
"""Takes what was asked, and returns the message to send."""


def answer_rightly(hashes: "KitHashes", question: HashQuestion) -> bytes:
    """Return the hashes that were asked for, or a reject if there are none."""
    found = hashes.right(question)
    return question.reject() if found is None else question.answer(found)


def answer_wrongly(hashes: "KitHashes", question: HashQuestion) -> bytes:
    """Return as many hashes as were asked for, all wrong."""
    found = hashes.right(question)
    if found is None:
        return question.reject()
    return question.answer([bytes([each[0] ^ 1]) + each[1:] for each in found])


def reject_hashes(_: "KitHashes", question: HashQuestion) -> bytes:
    """Return a reject."""
    return question.reject()


class KitHashes:
    """The trees of a torrent's files, and what one seed was asked of them."""

    def __init__(self, torrent: SampleTorrent, answer: HashAnswer = answer_rightly) -> None:
        trees = [layers_of(data) for data in torrent.stored_files().values() if data]
        self._trees = {each[-1][0]: each for each in trees}
        self._answer = answer
        self.requests: list[AskedHashes] = []

    def added_to(self, script: SeedScript) -> SeedScript:
        """Return what a seed does, and that it takes requests of hashes."""
        return replace(script, take_other=self._take)

    def width(self, question: HashQuestion) -> int:
        """Return how many hashes the layer has that is asked for; 0 if there is none."""
        tree = self._trees.get(question.root, [])
        return len(tree[question.base]) if question.base < len(tree) else 0

    def right(self, question: HashQuestion) -> list[bytes] | None:
        """Return the hashes that answer a question; None if there are none."""
        return right_hashes(self._trees.get(question.root, []), question)

    async def _take(self, link: SeedLink, frame: Frame) -> None:
        if frame.number != HASH_REQUEST:
            return
        is_whole = len(frame.payload) == len(HashQuestion(bytes(32), 0, 0, 0).payload)
        question = HashQuestion.parse(frame) if is_whole else None
        self.requests.append(AskedHashes(anyio.current_time(), question))
        if question is not None:
            await link.peer.send(self._answer(self, question), f"answer for {question}")
