"""Requests of hashes and their answers: bytes, and what a right answer has.

Source: BEP 52.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from torrent_engine.conformance.frames import Frame, message
from torrent_engine.conformance.v2_torrents import HASH_BYTES, ZERO_HASH, layer_above, leaves_of

HASH_REQUEST, HASHES, HASH_REJECT = 21, 22, 23
QUESTION_BYTES: Final = HASH_BYTES + 16


@dataclass(frozen=True, slots=True)
class HashQuestion:
    """What is asked for: hashes of one layer of a file's tree, and the proof of them."""

    root: bytes
    base: int
    index: int
    length: int
    proof: int = 0

    @classmethod
    def parse(cls, frame: Frame) -> "HashQuestion | None":
        """Read a request, or the beginning of an answer; None if it is too short."""
        if len(frame.payload) < QUESTION_BYTES:
            return None
        numbers = struct.unpack_from(">4I", frame.payload, HASH_BYTES)
        return cls(frame.payload[:HASH_BYTES], *numbers)

    @property
    def payload(self) -> bytes:
        """The 48 bytes that every one of these messages begins with."""
        return self.root + struct.pack(">4I", self.base, self.index, self.length, self.proof)

    def request(self) -> bytes:
        """Return the message that asks."""
        return message(HASH_REQUEST, self.payload)

    def reject(self) -> bytes:
        """Return the message that refuses."""
        return message(HASH_REJECT, self.payload)

    def answer(self, hashes: Sequence[bytes]) -> bytes:
        """Return the message with these hashes."""
        return message(HASHES, self.payload + b"".join(hashes))


def layers_of(data: bytes) -> list[list[bytes]]:
    """Return all layers of a file's tree, from the leaves, filled up, to the root."""
    leaves = leaves_of(data)
    leaves += [ZERO_HASH] * ((1 << max(len(leaves) - 1, 0).bit_length()) - len(leaves))
    layers = [leaves]
    while len(layers[-1]) > 1:
        layers.append(layer_above(layers[-1]))
    return layers


def right_hashes(layers: Sequence[Sequence[bytes]], question: HashQuestion) -> list[bytes] | None:
    """Return the hashes that answer a question, with the uncles; None if there are none.

    The first ``log2(length) - 1`` layers of the proof follow from the hashes, and are left out.
    """
    base, index, length = question.base, question.index, question.length
    is_odd = length < 1 or length & (length - 1) or index % max(length, 1)
    if is_odd or base >= len(layers) or index + length > len(layers[base]):
        return None
    height = length.bit_length() - 1
    uncles = max(0, question.proof - max(height - 1, 0))
    if base + height + uncles >= len(layers):
        return None
    node = index // length
    proof = [layers[base + height + step][(node >> step) ^ 1] for step in range(uncles)]
    return [*layers[base][index : index + length], *proof]
