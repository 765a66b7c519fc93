"""A client of the daemon of a state folder, over its unix socket."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any, Final

from torrent_engine.base.errors import NetworkError
from torrent_engine.service.control_socket import check_owner, socket_address

ANSWER_S: Final = 30.0
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, limit_s: float) -> None:
        super().__init__("localhost", timeout=limit_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        with socket_address(self._path) as address:
            self.sock.connect(address)


class DaemonClient:
    """Asks the daemon that listens at a unix socket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def is_answered(self) -> bool:
        """Return whether a daemon listens."""
        try:
            self.ask("GET", "/healthz")
        except NetworkError:
            return False
        return True

    def ask(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401
        """Return the JSON of an answer; None for an empty one, text for another type.

        Raises NetworkError if no daemon answers, or if it refuses; a 503 of a health check is an
        answer.
        """
        status, kind, data = self._exchange(method, path, body)
        text = data.decode("utf-8", "replace")
        value = json.loads(text) if kind.endswith("json") and text else text.strip() or None
        if status >= 400 and path != "/healthz":
            detail = value.get("detail") or value.get("title") if isinstance(value, dict) else value
            raise NetworkError(f"the daemon refuses: {detail} (status {status})")
        return value

    def _exchange(self, method: str, path: str, body: object) -> tuple[int, str, bytes]:
        if not check_owner(self._path):
            raise NetworkError(
                f"no daemon listens at {self._path}; `torrent-engine daemon` starts one"
            )
        connection = _UnixConnection(self._path, ANSWER_S)
        data = None if body is None else json.dumps(body).encode()
        fields = {} if data is None else {"Content-Type": "application/json"}
        try:
            connection.request(method, path, data, fields)
            answer = connection.getresponse()
            found = answer.read(MAX_ANSWER_BYTES)
            return answer.status, answer.headers.get_content_type(), found
        except (OSError, http.client.HTTPException) as error:
            raise NetworkError(f"no daemon answers at {self._path}: {error}") from error
        finally:
            connection.close()
