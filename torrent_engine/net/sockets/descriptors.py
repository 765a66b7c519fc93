"""The limit of open descriptors, divided between connections and files (row F9)."""

import logging
import socket
import sys
from typing import Final

from torrent_engine.policy.limits.descriptors import reserved_descriptors

if sys.platform != "win32":  # there sockets are not descriptors, and files have a limit of 8,192
    import resource

UNLIMITED: Final = 1 << 20  # used if there is no limit; the maximum of Linux
MAX_RAISED: Final = 1 << 16  # ours: higher limits are set by the user
logger = logging.getLogger(__name__)


def descriptor_limit() -> int:
    """Return the descriptor limit of this process."""
    if sys.platform == "win32":
        return UNLIMITED
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return UNLIMITED if soft == resource.RLIM_INFINITY else soft


def raise_descriptor_limit(needed: int) -> int:
    """Raise the soft limit to ``needed``, up to the hard limit; return the limit.

    A sufficient limit is not changed.
    """
    limit, wanted = descriptor_limit(), min(needed, MAX_RAISED)
    if sys.platform == "win32" or limit >= wanted:
        return limit
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    new = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (new, hard))
    except (OSError, ValueError) as error:  # macOS has a limit below the hard one
        logger.info("the limit of %d open files could not be raised: %s", limit, error)
        return limit
    if new > limit:
        logger.info("the limit of open files is %d now, it was %d", new, limit)
    return max(new, limit)


def is_reserved(sock: socket.socket) -> bool:
    """Return whether the descriptor of a new socket is in the range reserved for files.

    The system assigns the lowest free number, so all lower ones are in use.
    """
    limit = descriptor_limit()
    return sys.platform != "win32" and sock.fileno() >= limit - reserved_descriptors(limit)
