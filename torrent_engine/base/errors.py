"""Every error that leaves the package, named by who must act.

All of them share the base :class:`TorrentEngineError`, so one ``except`` is enough for a caller
that only wants to know whether it was us. Foreign errors (OSError, ssl, anyio, sqlite3) are mapped
to these where they arise, in ``net`` and ``disk``.
"""


class TorrentEngineError(Exception):
    """Base of every error that this package raises on purpose."""


class BencodeError(TorrentEngineError):
    """Bytes are not the bencoding they should be (BEP 3).

    ``offset_bytes`` is where in the input the rule was broken.
    """

    def __init__(self, message: str, *, offset_bytes: int) -> None:
        super().__init__(f"{message} at byte {offset_bytes}")
        self.offset_bytes = offset_bytes


class MetainfoError(TorrentEngineError):
    """A .torrent is valid bencoding and yet no torrent that we may or can load."""


class MagnetError(TorrentEngineError):
    """A magnet link is malformed (BEP 9)."""


class RemoteProtocolError(TorrentEngineError):
    """The other side broke a BEP: drop the link and count a strike against it."""

    def __init__(self, message: str, *, bep: int | None) -> None:
        super().__init__(message if bep is None else f"{message} (BEP {bep})")
        self.bep = bep


class EncryptionError(RemoteProtocolError):
    """The other side's encrypted handshake is none, or none that we take part in.

    No BEP describes it: ``bep`` is None.
    """

    def __init__(self, message: str) -> None:
        super().__init__(f"{message} (MSE)", bep=None)


class KrpcError(RemoteProtocolError):
    """A datagram is no message of the distributed hash table (BEP 5).

    ``transaction`` is its transaction id where that could be read; ``is_query`` says whether it
    asked for something, so that an error with ``code`` (203, 204, ...) may be the answer.
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
    """We tried an illegal move: a bug in our caller, never the peer's fault."""


class ConfigError(TorrentEngineError):
    """An option has a value that cannot work; the message names the option and the value."""


class StateTransitionError(TorrentEngineError):
    """A Session was asked for something that its state does not allow."""


class TrackerError(TorrentEngineError):
    """A tracker could not be asked, or refused; the message never has a passkey in it."""


class TrackerRefusedError(TrackerError):
    """A tracker answered and said no ("failure reason" of BEP 3, action 3 of BEP 15).

    ``reason`` is its own text, unescaped. ``retry_in_s`` is when it may be asked again (BEP 31):
    None where it did not say, infinity for never.
    """

    def __init__(self, reason: str, *, retry_in_s: float | None = None) -> None:
        super().__init__(f"refused: {reason}")
        self.reason = reason
        self.retry_in_s = retry_in_s


class HttpError(TorrentEngineError):
    """An HTTP request failed: refused, timed out, too large, or not allowed."""


class NetworkError(TorrentEngineError):
    """A socket could not be opened, bound or connected."""


class ProxyError(NetworkError):
    """A proxy refuses, cannot do what is asked of it, or breaks its protocol."""


class IpFilterError(TorrentEngineError):
    """A list of addresses cannot be read, or a line of it says nothing that we understand."""


class GatewayError(TorrentEngineError):
    """What a gateway sent is no answer to us (RFC 6886, RFC 6887, UPnP), or it refuses."""


class StorageError(TorrentEngineError):
    """Reading or writing payload failed; the torrent stops and can be resumed.

    ``path`` is the file (or folder) concerned and ``reason`` what the system said of it.
    """

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason


class DiskFullError(StorageError):
    """No space (or quota) left for payload or state."""


class FileExistsStorageError(StorageError):
    """Something that is not ours stands where a file of the torrent must go."""


class ForeignFileError(FileExistsStorageError):
    """A file is where one of the torrent's must go, and nothing says that it is the torrent's.

    Nothing was written to it. With :attr:`SessionConfig.overwrite` it would be.
    """


class FileInUseError(FileExistsStorageError):
    """A file that the torrent would write to is another torrent's as well.

    ``info_hash`` is that of the other one.
    """

    def __init__(self, path: object, info_hash: bytes) -> None:
        super().__init__(path, f"is a file of torrent {info_hash.hex()}, too")
        self.info_hash = info_hash


class HiddenNameError(StorageError):
    """A torrent would put a hidden file into the home folder.

    With :attr:`SessionConfig.allow_hidden` it may.
    """


class StateDatabaseError(TorrentEngineError):
    """The resume database cannot be opened or written."""


class SessionError(TorrentEngineError):
    """A torrent ended in state ERROR, and ``__cause__`` says why, or before it was waited for."""


class OwnerChangedError(TorrentEngineError):
    """Something was asked for in the name of an owner whose generation has moved on."""
