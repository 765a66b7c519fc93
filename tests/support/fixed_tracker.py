"""An HTTP tracker that names one address to whoever asks, so that a test says who dials whom."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import bencodepy

from tests.support.netns import Host
from tests.support.processes import free_port

INTERVAL_S = 5  # who asks too early is told the same


@contextmanager
def naming(host: Host, peer: tuple[str, int], *, address: str) -> Iterator[str]:
    """Run the tracker at an address of ``host``; gives its announce URL."""
    body = bencodepy.encode(
        {
            b"interval": INTERVAL_S,
            b"min interval": INTERVAL_S,
            b"peers": socket.inet_aton(peer[0]) + peer[1].to_bytes(2, "big"),
        }
    )

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            """Say nothing."""

    port = free_port()
    server = host.call(lambda: ThreadingHTTPServer((address, port), Answer))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://{address}:{port}/announce"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
