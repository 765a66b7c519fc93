"""The HTTP CONNECT request to a proxy, and its response.

Bytes in, bytes out. Bytes after the response header belong to the tunnelled stream.
Source: RFC 9110 section 9.3.6, RFC 9112, RFC 7617.
"""

import base64
import re
from typing import Final

from torrent_engine.base.errors import ProxyError

MAX_HEADER_BYTES: Final = 16 * 1024  # row A14
MAX_INTERIM_RESPONSES: Final = 5  # ours: of status 1xx before the final one
MAX_REASON_CHARACTERS: Final = 80  # ours: of the proxy's reason phrase
_HEADER_END: Final = re.compile(rb"\r?\n\r?\n")
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[0-9] ([1-9][0-9]{2})(?: ([^\r\n]*))?\Z")
_HOST: Final = re.compile(r"[A-Za-z0-9._~%:\[\]-]{1,255}\Z")
_ESCAPES: Final = re.compile(r"[^\x20-\x7e]")
_PROXY_AUTHENTICATION: Final = 407


def connect_request(host: str, port: int, *, username: str = "", password: str = "") -> bytes:
    """Return the CONNECT request for a host name or a literal address.

    Raises ProxyError if the host cannot be written into it.
    """
    if not _HOST.match(host):
        raise ProxyError("invalid host name for a proxy request")
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    if username or password:
        secret = base64.b64encode(f"{username}:{password}".encode()).decode("ascii")
        lines.append(f"Proxy-Authorization: Basic {secret}")
    return "\r\n".join([*lines, "", ""]).encode("ascii")


class ConnectResponse:
    """Parser of the proxy's response; feed it until :attr:`is_done`."""

    def __init__(self) -> None:
        self.is_done = False
        """Whether the tunnel is established: the next byte is from the destination."""
        self._header = bytearray()
        self._interim_count = 0

    def receive_data(self, data: bytes) -> int:
        """Parse the response and return how many bytes belonged to it.

        Bytes after its end are left. Raises ProxyError if it is a refusal, malformed, or longer
        than 16 KiB.
        """
        taken = 0
        while not self.is_done and taken < len(data):
            taken += self._take_header(data[taken:])
        return taken

    def _take_header(self, data: bytes) -> int:
        """Consume bytes up to the end of one header; return how many."""
        before = len(self._header)
        self._header += data[: MAX_HEADER_BYTES + 1]
        end = _HEADER_END.search(self._header, max(0, before - 3))
        if (end.end() if end else len(self._header)) > MAX_HEADER_BYTES:
            raise ProxyError("the proxy's response is too long")
        if end is None:
            return len(data)
        status_line = bytes(self._header[: end.start()]).splitlines()[:1]
        self._header.clear()
        self._judge(status_line[0] if status_line else b"")
        return end.end() - before

    def _judge(self, status_line: bytes) -> None:
        match = _STATUS_LINE.match(status_line)
        if match is None:
            raise ProxyError("the proxy's response is not HTTP")
        status = int(match[1])
        if status < 200:
            self._interim_count += 1
            if self._interim_count > MAX_INTERIM_RESPONSES:
                raise ProxyError("the proxy sends too many interim responses")
        elif status < 300:
            self.is_done = True
        elif status == _PROXY_AUTHENTICATION:
            raise ProxyError("the proxy requires a valid user name and password")
        else:
            reason = (match[2] or b"").decode("latin-1")[:MAX_REASON_CHARACTERS]
            raise ProxyError(
                f"the proxy refused the connection: {status} {_ESCAPES.sub('?', reason)}".rstrip()
            )
