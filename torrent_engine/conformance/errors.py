"""Errors of the kit."""

from torrent_engine.base.errors import TorrentEngineError


class ConformanceError(TorrentEngineError):
    """The kit cannot do what it was asked; the message says why."""


class SubjectUnreachableError(ConformanceError):
    """The program under test could not be started, or nobody answers at its address."""


class UndecidedError(ConformanceError):
    """The precondition of a rule was not reached: its verdict is "inconclusive"."""


class NotOfferedError(ConformanceError):
    """The program says that it does not have the feature: the verdict is "unsupported"."""


class KitBencodeError(ConformanceError):
    """Bytes are not bencoded."""
