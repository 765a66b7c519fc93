"""Exceptions of the package, all derived from :class:`TorrentEngineError`.

Errors of the system and of libraries (OSError, ssl, anyio, sqlite3) are converted to these where
they occur, in ``net`` and ``disk``.
"""

from collections.abc import Sequence
from typing import Final


class TorrentEngineError(Exception):
    """Base class of all exceptions of this package."""


class BencodeError(TorrentEngineError):
    """Data is not valid bencoding, or exceeds a limit of the decoder (BEP 3).

    ``offset_bytes`` is the position in the input.
    """

    def __init__(self, message: str, *, offset_bytes: int) -> None:
        super().__init__(f"{message} at byte {offset_bytes}")
        self.offset_bytes = offset_bytes


class MetainfoError(TorrentEngineError):
    """A .torrent file is valid bencoding but not a valid or supported torrent."""


class SignatureError(TorrentEngineError):
    """A key or certificate cannot be used, or a signature is not what it must be (BEP 35)."""


class MagnetError(TorrentEngineError):
    """A magnet link is malformed (BEP 9)."""


class RemoteProtocolError(TorrentEngineError):
    """The remote side violated a protocol, and is disconnected or ignored.

    ``bep`` is the number of the BEP, or None.
    """

    def __init__(self, message: str, *, bep: int | None) -> None:
        super().__init__(message if bep is None else f"{message} (BEP {bep})")
        self.bep = bep


class EncryptionError(RemoteProtocolError):
    """The encrypted handshake (MSE) failed or its method is not allowed; ``bep`` is None."""

    def __init__(self, message: str) -> None:
        super().__init__(f"{message} (MSE)", bep=None)


class KrpcError(RemoteProtocolError):
    """A datagram is not a valid DHT message (BEP 5).

    ``transaction`` is its transaction id if that could be read. If ``is_query``, an error with
    ``code`` (203, 204, ...) may be sent as the answer.
    """

    def __init__(
        self,
        message: str,
        *,
        code: int = 203,
        transaction: bytes | None = None,
        is_query: bool = False,
        bep: int = 5,
    ) -> None:
        super().__init__(message, bep=bep)
        self.reason = message
        self.code = code
        self.transaction = transaction
        self.is_query = is_query


class LocalProtocolError(TorrentEngineError):
    """The caller used an object in a way that is not allowed: a bug, never a peer's fault."""


class ConfigError(TorrentEngineError, ValueError):
    """A setting or argument is invalid; the message has its name and value."""


class StateTransitionError(TorrentEngineError):
    """An operation is not allowed in the present state of a Session."""


class ClosedError(LocalProtocolError, StateTransitionError):
    """An object was used before it was opened or after it was closed.

    ``name`` is a class of this package, or the name of the torrent.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name


class BusyError(LocalProtocolError):
    """Another operation is using the same torrent, folder or object.

    ``subject`` is the info-hash of the torrent in hexadecimal, a path or a name.
    """

    def __init__(self, subject: str, reason: str) -> None:
        super().__init__(f"{subject}: {reason}")
        self.subject = subject


class UnknownTorrentError(TorrentEngineError, KeyError):
    """There is no torrent with this info-hash; also a KeyError."""

    def __init__(self, info_hash: object) -> None:
        name = info_hash.hex() if isinstance(info_hash, bytes) else repr(info_hash)
        super().__init__(f"no torrent {name} is here")
        self.info_hash = info_hash

    def __str__(self) -> str:
        """Return the message without the quotes that KeyError adds."""
        return str(self.args[0])


class UnknownFileError(ConfigError, LookupError):
    """A torrent has no such file, or it is a padding file; also a LookupError.

    ``file`` is the index or path that was given.
    """

    def __init__(self, message: str, file: object) -> None:
        super().__init__(message)
        self.file = file


class TrackerError(TorrentEngineError):
    """A tracker could not be reached, or refused; the message never contains a passkey."""


class TrackerRefusedError(TrackerError):
    """A tracker answered with an error ("failure reason" of BEP 3, action 3 of BEP 15).

    ``reason`` is the tracker's text, unescaped. ``retry_in_s`` is the wait that the tracker asks
    for (BEP 31): None if it names none, infinity for never.
    """

    def __init__(self, reason: str, *, retry_in_s: float | None = None) -> None:
        super().__init__(f"refused: {reason}")
        self.reason = reason
        self.retry_in_s = retry_in_s


class TrackerTimeoutError(TrackerError):
    """A tracker did not answer in time.

    ``is_sent``: the request itself was sent, so that the tracker may have done what it says.
    """

    def __init__(self, message: str, *, is_sent: bool = False) -> None:
        super().__init__(message)
        self.is_sent = is_sent


class HttpError(TorrentEngineError):
    """An HTTP request failed: refused, timed out, too large, or not allowed."""

    def __init__(
        self, message: str, *, status: int | None = None, is_timeout: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        """Status of the answer, if it is the reason."""
        self.is_timeout = is_timeout
        """Whether the server was too slow."""


class NetworkError(TorrentEngineError):
    """A socket could not be opened, bound or connected."""


class NameResolutionError(NetworkError):
    """A host name has no address, or the DNS query timed out."""

    def __init__(self, message: str, *, is_timeout: bool = False) -> None:
        super().__init__(message)
        self.is_timeout = is_timeout


class ProxyError(NetworkError):
    """A proxy refused a request, does not support it, or violated its protocol."""


class IpFilterError(TorrentEngineError):
    """An IP filter list cannot be read, is malformed or too long."""


class GatewayError(TorrentEngineError):
    """A router refused a port mapping or sent an invalid answer (RFC 6886, RFC 6887, UPnP)."""


class StorageError(TorrentEngineError):
    """Reading or writing payload failed; the torrent stops and can be resumed.

    ``path`` is the file or folder and ``reason`` the message of the system.
    """

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason


class DiskFullError(StorageError):
    """No disk space or quota is left for payload or state."""


class FileExistsStorageError(StorageError):
    """A file of the torrent cannot be created because something else has its path."""


class ForeignFileError(FileExistsStorageError):
    """An existing file has the path of a file of the torrent, but none of its data.

    It was not changed. :attr:`SessionConfig.overwrite` allows to overwrite it.
    """


class FileInUseError(FileExistsStorageError):
    """A file that the torrent would write to belongs to another torrent as well.

    ``info_hash`` is the one of the other torrent. If that was only once downloaded
    :attr:`SessionConfig.overwrite` allows to overwrite the file, and ``may_overwrite`` says so.
    """

    def __init__(self, path: object, info_hash: bytes, *, may_overwrite: bool = False) -> None:
        hint = "; not overwritten without overwrite" if may_overwrite else ""
        super().__init__(path, f"is a file of torrent {info_hash.hex()}, too{hint}")
        self.info_hash = info_hash
        self.may_overwrite = may_overwrite


class HiddenNameError(StorageError):
    """A torrent would create a hidden file in the home folder.

    :attr:`SessionConfig.allow_hidden` allows it.
    """


class MissingFilesError(StorageError):
    """Files with data of the torrent were deleted; resuming it downloads them again.

    ``paths`` are the first of them and ``count`` is their number.
    """

    def __init__(self, paths: Sequence[object], count: int = 1) -> None:
        more = f", and so are {count - 1} more" if count > 1 else ""
        super().__init__(paths[0], f"missing files: it was removed{more}; resume downloads again")
        self.paths = tuple(map(str, paths))
        self.count = count


class StateDatabaseError(TorrentEngineError):
    """The resume database cannot be opened or written."""


class StateInUseError(BusyError, StateDatabaseError):
    """Another process, or another manager of this process, uses the same state folder.

    ``folder`` is the state folder; both can run with different ones.
    """

    def __init__(self, subject: str, reason: str, *, folder: object) -> None:
        super().__init__(subject, reason)
        self.folder = str(folder)


class SessionError(TorrentEngineError):
    """A torrent ended in state ERROR (``__cause__`` is the reason), or before the awaited state."""


class OwnerChangedError(TorrentEngineError):
    """A request was made for an owner with an outdated generation."""


_NO_THREAD: Final = "can't start new thread"  # what CPython says in a RuntimeError


def scarcity_of(error: BaseException) -> str:
    """Return what an error says the system has no more of, in words; "" for other errors."""
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, RuntimeError) and _NO_THREAD in str(error):
        return "the system has no more threads"
    return ""
