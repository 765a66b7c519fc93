"""Places where programs run: plain loopback, or two network namespaces joined by a veth pair.

Some programs refuse 127/8 as the address of a peer; in the namespaces they have 10.x and fd00::.
"""

import ctypes
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

ADDRESSES_PER_HOST = 9
CLONE_NEWNET = 0x40000000


@dataclass(frozen=True)
class Host:
    """Where a program runs: its addresses, and how to get in."""

    prefix4: str
    """An IPv4 address without its last number."""
    prefix6: str | None
    """The same of IPv6; None: only ::1."""
    namespace: str | None = None
    threads: ThreadPoolExecutor | None = field(default=None, repr=False)

    def address(self, index: int = 1) -> str:
        """Return one of the nine IPv4 addresses, 1 to 9."""
        return f"{self.prefix4}.{index}"

    def address6(self, index: int = 1) -> str:
        """Return one of the nine IPv6 addresses, 1 to 9."""
        return f"{self.prefix6}:{index}" if self.prefix6 else "::1"

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the command that runs ``argv`` here; the process keeps its pid."""
        if self.namespace is None:
            return list(argv)
        return [ip_program(), "netns", "exec", self.namespace, *argv]

    def call(self, function: Callable[[], T]) -> T:
        """Run a blocking function inside the namespace, in a thread that lives there."""
        if self.threads is None:
            return function()
        return self.threads.submit(function).result()


LOOPBACK = Host("127.0.0", None)


def ip_program() -> str:
    """Return the path of iproute2's program."""
    return shutil.which("ip", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") or "ip"


def _ip(*arguments: str) -> None:
    subprocess.run([ip_program(), *arguments], check=True, capture_output=True, timeout=60)


def ip_batch(namespace: str, *lines: str) -> None:
    """Run many commands of iproute2 in a namespace, in one go; CalledProcessError if one fails."""
    command = [ip_program(), "-n", namespace, "-batch", "-"]
    text = "\n".join(lines).encode()
    subprocess.run(command, check=True, capture_output=True, timeout=30, input=text)


def _enter(namespace: str) -> None:
    with Path("/var/run/netns", namespace).open("rb") as handle:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(handle.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")


def _add_addresses(host: Host) -> None:
    assert host.namespace
    _ip("-n", host.namespace, "link", "set", "lo", "up")
    _ip("-n", host.namespace, "link", "set", "wire", "up")
    for index in range(1, ADDRESSES_PER_HOST + 1):
        _ip("-n", host.namespace, "address", "add", f"{host.address(index)}/16", "dev", "wire")
        six = f"{host.address6(index)}/64"
        _ip("-n", host.namespace, "address", "add", six, "dev", "wire", "nodad")


@contextmanager
def entered(name: str, prefix4: str, prefix6: str) -> Iterator[Host]:
    """Give a namespace as a place to run programs in, with threads that are in it already."""
    with ThreadPoolExecutor(4, initializer=_enter, initargs=(name,)) as threads:
        yield Host(prefix4, prefix6, name, threads)


@contextmanager
def namespaces() -> Iterator[tuple[Host, Host]]:
    """Make two joined namespaces, named after this process, and remove them at the end.

    Raises OSError or CalledProcessError where the process may not, or iproute2 is missing.
    """
    base = f"te-{os.getpid()}-{secrets.token_hex(2)}"
    left, right = f"{base}-a", f"{base}-b"
    made: list[str] = []
    try:
        for name in (left, right):
            _ip("netns", "add", name)
            made.append(name)
        pair = ("link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", right)
        _ip("-n", left, *pair)
        with (
            entered(left, "10.77.1", "fd00:77::1") as first,
            entered(right, "10.77.2", "fd00:77::2") as second,
        ):
            _add_addresses(first)
            _add_addresses(second)
            yield first, second
    finally:
        for name in made:
            subprocess.run([ip_program(), "netns", "del", name], check=False, timeout=60)
