"""Random damage to valid inputs, for several targets."""

import random
from collections.abc import Sequence


def damaged(data: bytes, rng: random.Random, scraps: Sequence[bytes] = (b"\0", b"\xff")) -> bytes:
    """Return ``data`` with a few bytes changed, left out, or put in; often none."""
    stream = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 2, 5))):
        at = rng.randrange(len(stream) or 1)
        action = rng.randrange(4)
        if action == 0:
            stream[at : at + 1] = rng.randbytes(1)
        elif action == 1:
            stream[at:at] = rng.choice(scraps)
        elif action == 2:
            stream[at:at] = rng.randbytes(rng.randrange(1, 8))
        else:
            del stream[at : at + rng.randrange(1, 8)]
    return bytes(stream)
