"""A local network of several hosts: network namespaces whose wires meet at one bridge."""

import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.support.netns import ADDRESSES_PER_HOST, Host, entered, ip_batch, ip_program


@contextmanager
def local_network(count: int) -> Iterator[list[Host]]:
    """Make ``count`` joined namespaces, named after this process, and remove them at the end.

    Raises OSError or CalledProcessError where the process may not, or iproute2 is missing.
    """
    base = f"te-{os.getpid()}-{secrets.token_hex(2)}"
    names = [f"{base}-{number}" for number in range(count)]
    with ExitStack() as stack:
        _add(f"{base}-sw", stack)
        ip_batch(f"{base}-sw", "link add lan type bridge", "link set lan up")
        for number, name in enumerate(names):
            _add(name, stack)
            _join(name, f"{base}-sw", number)
        yield [
            stack.enter_context(entered(name, _prefix4(number), _prefix6(number)))
            for number, name in enumerate(names)
        ]


def _prefix4(number: int) -> str:
    return f"10.77.{number + 1}"


def _prefix6(number: int) -> str:
    return f"fd00:77::{number + 1}"


def _add(name: str, stack: ExitStack) -> None:
    subprocess.run([ip_program(), "netns", "add", name], check=True, capture_output=True)
    remove = [ip_program(), "netns", "del", name]
    stack.callback(subprocess.run, remove, check=False, timeout=60)


def _join(name: str, switch: str, number: int) -> None:
    """Lay a wire from a namespace to the switch, and give its end nine addresses."""
    port = f"port{number}"
    ip_batch(name, f"link add wire type veth peer name {port} netns {switch}")
    ip_batch(switch, f"link set {port} master lan up")
    addresses = [
        line
        for index in range(1, ADDRESSES_PER_HOST + 1)
        for line in (
            f"address add {_prefix4(number)}.{index}/16 dev wire",
            f"address add {_prefix6(number)}:{index}/64 dev wire nodad",
        )
    ]
    ip_batch(name, "link set lo up", "link set wire up", *addresses, "route add default dev wire")
