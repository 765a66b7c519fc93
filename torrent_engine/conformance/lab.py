"""Where the kit and the program have their addresses: on loopback, or in a network of their own."""

import ctypes
import itertools
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from torrent_engine.conformance.errors import ConformanceError

CLONE_NEWUSER: Final = 0x1000_0000
CLONE_NEWNET: Final = 0x4000_0000
PUBLIC_NETWORK: Final = 11
"""First number of addresses that programs take for public ones; nothing is sent to them."""
OTHER_NETWORK: Final = 12
"""First number of addresses of another network."""
HOST6: Final = "::1"
OWN_HOST6: Final = "fd11::1"
"""In a network of our own: an address that is not that of the machine itself."""
BOTH_FAMILIES: Final = "localhost"
"""A name with addresses of both families, where the system says so."""
DEVICE6: Final = "kit0"
"""Where the local network has IPv6."""
_SETUP: Final = (
    ("link", "set", "lo", "up", "multicast", "on"),
    ("address", "add", f"{PUBLIC_NETWORK}.0.0.1/8", "dev", "lo"),
    ("route", "add", "local", f"{OTHER_NETWORK}.0.0.0/8", "dev", "lo"),
    ("route", "add", "224.0.0.0/4", "dev", "lo"),
)
"""A local network of one machine: what is sent to a group comes back to it."""
_IPV6: Final = (
    ("link", "add", DEVICE6, "type", "veth", "peer", "name", "kit1"),
    ("-6", "address", "add", f"{OWN_HOST6}/64", "dev", DEVICE6, "nodad"),
    ("link", "set", DEVICE6, "up"),
    ("link", "set", "kit1", "up"),
)
"""Programs use no group of IPv6 on loopback."""


@dataclass(frozen=True, slots=True)
class KitAddresses:
    """Addresses of this machine that have the same first number."""

    network: int = 127

    @property
    def host(self) -> str:
        """Where programs listen."""
        return f"{self.network}.0.0.1"

    @property
    def probe(self) -> str:
        """Where the kit asks from whether a program is ready."""
        return f"{self.network}.1.1.1"

    def each(self) -> Iterator[str]:
        """Yield addresses, each in a /24 of its own, so that no ban hits two cases."""
        first = random.randrange(16, 100)  # noqa: S311 - not a secret
        for number in itertools.count():
            part = (first * 256 + number) % (250 * 256) + 256
            yield f"{self.network}.{part // 256}.{part % 256}.{2 + number % 250}"


LOOPBACK: Final = KitAddresses()


def enter_own_network() -> KitAddresses:
    """Move this process into a network namespace of its own; return its addresses.

    They look public, and nothing leads out of it. There is no way back. Raises ConformanceError
    where that cannot be done: it needs Linux, iproute2, and root or namespaces for users.
    """
    try:
        unshare = ctypes.CDLL(None, use_errno=True).unshare
    except (AttributeError, OSError, TypeError) as error:
        raise ConformanceError("a network of its own needs Linux") from error
    user, group = os.getuid(), os.getgid()
    if unshare(CLONE_NEWNET | (CLONE_NEWUSER if user else 0)):
        reason = os.strerror(ctypes.get_errno())
        raise ConformanceError(f"a network of its own needs root or user namespaces: {reason}")
    if user:
        _become_root(user, group)
    for words in _SETUP:
        _ip(words)
    with suppress(ConformanceError):  # a system without IPv6, or such devices
        for more in _IPV6:
            _ip(more)
    return KitAddresses(PUBLIC_NETWORK)


def _become_root(user: int, group: int) -> None:
    """Be root of the new namespace, with the user that one was."""
    try:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    except OSError as error:
        raise ConformanceError(f"a network of its own needs user namespaces: {error}") from error


def _ip(words: tuple[str, ...]) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - iproute2
            (shutil.which("ip") or "/sbin/ip", *words),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConformanceError(f"a network of its own needs iproute2: {error}") from error
    if done.returncode:
        raise ConformanceError(f"ip {' '.join(words)}: {done.stderr.strip()}")
