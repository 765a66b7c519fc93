"""One call to a deluged: JSON in, JSON out. Runs where the packages of Deluge are.

Input: [port, user, password, method, arguments].
"""

import json
import socket
import ssl
import struct
import sys
import zlib

import deluge.common  # type: ignore[import-not-found]
import rencode  # type: ignore[import-not-found]

HEAD = struct.Struct("!BI")
RESPONSE = 1


class Daemon:
    """A link with a daemon."""

    def __init__(self, port):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        plain = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.stream = context.wrap_socket(plain).makefile("rwb")
        self.calls = 0

    def call(self, method, arguments, options=None):
        """Return the answer to one call; SystemExit with its message if it refuses."""
        self.calls += 1
        request = rencode.dumps([[self.calls, method, arguments, options or {}]])
        body = zlib.compress(request)
        self.stream.write(HEAD.pack(1, len(body)) + body)
        self.stream.flush()
        while True:
            _, length = HEAD.unpack(self.stream.read(HEAD.size))
            answer = rencode.loads(zlib.decompress(self.stream.read(length)), decode_utf8=True)
            if answer[0] == RESPONSE:
                return answer[2]
            if answer[0] != 3:
                sys.exit(repr(answer))


def main():
    port, user, password, method, arguments = json.load(sys.stdin)
    daemon = Daemon(port)
    if method != "daemon.info":
        about = {"client_version": deluge.common.get_version()}
        daemon.call("daemon.login", [user, password], about)
    print(json.dumps(daemon.call(method, arguments), default=repr))


if __name__ == "__main__":
    main()
