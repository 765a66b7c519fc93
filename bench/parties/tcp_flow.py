"""tcp_flow.py receive HOST PORT | send HOST PORT: one TCP flow at full speed, until ended.

With cubic, whatever the system would take: BBR makes no queue of its own to yield to.
"""

import socket
import sys

CHUNK = bytes(64 * 1024)


def receive(host: str, port: int) -> None:
    """Take one connection, and drop what comes."""
    with socket.create_server((host, port)) as listener:
        print("ready", flush=True)
        connection, _ = listener.accept()
        buffer = bytearray(256 * 1024)
        while connection.recv_into(buffer):
            pass


def send(host: str, port: int) -> None:
    """Connect, and send zeros."""
    with socket.socket() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
        connection.connect((host, port))
        print("ready", flush=True)
        while True:
            connection.sendall(CHUNK)


{"receive": receive, "send": send}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
