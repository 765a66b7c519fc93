"""The limit of open descriptors of this process, and what of it links leave to files (row F9)."""

import logging
import socket
import sys
from typing import Final

from torrent_engine.policy.descriptors import reserved_descriptors

if sys.platform != "win32":  # sockets are no descriptors there, and files have a limit of 8,192
    import resource

UNLIMITED: Final = 1 << 20  # what is taken for a limit where there is none; Linux allows no more
MAX_RAISED: Final = 1 << 16  # ours: a process that wants more is told how many by its user
logger = logging.getLogger(__name__)


def descriptor_limit() -> int:
    """Return how many descriptors this process may have open."""
    if sys.platform == "win32":
        return UNLIMITED
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return UNLIMITED if soft == resource.RLIM_INFINITY else soft


def raise_descriptor_limit(needed: int) -> int:
    """Raise the soft limit to what is needed, as far as the hard one allows; return the limit.

    A limit that is enough stays as it is, and what is logged says so if it was raised.
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
    """Return whether a new socket has a descriptor that is to be left to files.

    The system gives the lowest number that is free, so all below it are in use.
    """
    limit = descriptor_limit()
    return sys.platform != "win32" and sock.fileno() >= limit - reserved_descriptors(limit)
