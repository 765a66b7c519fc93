"""A program of its own that gives a running Transmission a link, over its RPC.

    python -m torrent_engine.conformance.adapters.transmission_add PORT LINK

Its watched folder takes files of torrents only.
"""

import http.client
import json
import sys
import time
from typing import Final

START_S: Final = 120.0
RETRY_S: Final = 0.2
SESSION: Final = "X-Transmission-Session-Id"
CONFLICT: Final = 409  # the answer names the session that the next request has to name


def main(arguments: list[str]) -> int:
    """Add the link as soon as somebody answers at the port; return an exit code."""
    port, link = arguments
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        try:
            sys.stdout.write(f"{_add(int(port), link)}\n")
        except (OSError, http.client.HTTPException):
            time.sleep(RETRY_S)
        else:
            return 0
    sys.stderr.write("nobody answers at the port of the RPC\n")
    return 1


def _add(port: int, link: str) -> str:
    body = json.dumps({"method": "torrent-add", "arguments": {"filename": link}})
    status, session, _ = _ask(port, body, "")
    if status == CONFLICT:
        status, _, text = _ask(port, body, session)
        return text
    return f"status {status}"


def _ask(port: int, body: str, session: str) -> tuple[int, str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", "/transmission/rpc", body, {SESSION: session})
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
        return response.status, response.getheader(SESSION, ""), text
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
