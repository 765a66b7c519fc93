"""Two homes behind routers, and a host in the open that both can reach; each a network namespace.

The routers do what most at home do: they translate addresses and keep the port, and let a packet in
only from an address and port that the host inside sent one to. What comes uninvited is dropped, and
not answered. They remember for minutes, so every test needs new ones.
"""

import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.support.netns import Host, entered, ip_batch, ip_program
from tests.support.processes import missing, require_program

OPEN4, OPEN6 = "11.77.0", "2600:77:"
"""Of IPv6 the open is one /32, and each party in it has a /64, as on the internet."""
HOME6 = "2600:78"  # libtorrent sends nothing to the open from what it takes for a local address
RULES = """
table inet home {
  chain translate {
    type nat hook postrouting priority srcnat;
    oifname "out" masquerade
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    iifname "in" accept
    iifname "out" ct state established,related accept
  }
  chain uninvited {
    type filter hook input priority filter;
    iifname "out" icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    iifname "out" drop
  }
}
"""
NO_TCP = """
table inet middle {
  chain uninvited {
    type filter hook input priority filter;
    iifname "wire" tcp flags syn reject with tcp reset
  }
}
"""
FORWARD = "cd /proc/sys/net && echo 1 >ipv4/ip_forward && echo 1 >ipv6/conf/all/forwarding"


@dataclass(frozen=True)
class Home:
    """A host, and the router that it is behind."""

    host: Host
    outside4: str
    """The router's address in the open: where others see the host."""
    outside6: str

    def outside(self, *, is_ipv6: bool) -> str:
        """Return where others see the host."""
        return self.outside6 if is_ipv6 else self.outside4

    def inside(self, *, is_ipv6: bool) -> str:
        """Return the host's own address."""
        return self.host.address6() if is_ipv6 else self.host.address()


@dataclass(frozen=True)
class Neighbourhood:
    """All three places."""

    middle: Host
    """In the open."""
    left: Home
    right: Home

    def refuse_tcp(self) -> None:
        """Let nobody connect to the middle over TCP from now on."""
        assert self.middle.namespace
        _inside(self.middle.namespace, "nft", "-f", "-", text=NO_TCP)


@contextmanager
def neighbourhood() -> Iterator[Neighbourhood]:
    """Make the five namespaces, and remove them at the end; skip the test where we may not."""
    require_program("nft", "nftables")
    base = f"te-{os.getpid()}-{secrets.token_hex(2)}"
    with ExitStack() as stack:
        try:
            yield _built(stack, base)
        finally:
            _remove(base)


def _built(stack: ExitStack, base: str) -> Neighbourhood:
    try:
        _make_middle(f"{base}-m")
        for number, side in enumerate("ab", start=1):
            _make_home(base, side, number)
    except (OSError, subprocess.CalledProcessError) as error:
        missing(f"network namespaces with routers are not allowed here: {error}")
    middle = stack.enter_context(entered(f"{base}-m", OPEN4, OPEN6))
    homes = [
        Home(
            stack.enter_context(
                entered(f"{base}-{side}", f"192.168.{number}", f"{HOME6}{number}:")
            ),
            f"{OPEN4}.{100 + number}",
            f"{OPEN6}{number}::1",
        )
        for number, side in enumerate("ab", start=1)
    ]
    return Neighbourhood(middle, *homes)


def _make_middle(name: str) -> None:
    _namespace(name)
    ip_batch(
        name,
        "link add wire type bridge",
        "link set wire up",
        *(f"address add {OPEN4}.{index}/24 dev wire" for index in range(1, 5)),
        *(f"address add {OPEN6}:{index}/32 dev wire nodad" for index in range(1, 5)),
    )


def _make_home(base: str, side: str, number: int) -> None:
    middle, router, host = f"{base}-m", f"{base}-r{side}", f"{base}-{side}"
    _namespace(router)
    _namespace(host)
    _inside(router, "sh", "-c", FORWARD)
    ip_batch(
        middle,
        f"link add to-{side} type veth peer name out netns {router}",
        f"link set to-{side} master wire",
        f"link set to-{side} up",
    )
    ip_batch(
        router,
        f"link add in type veth peer name wire netns {host}",
        "link set in up",
        "link set out up",
        f"address add {OPEN4}.{100 + number}/24 dev out",
        f"address add {OPEN6}{number}::1/32 dev out nodad",
        f"address add 192.168.{number}.254/24 dev in",
        f"address add {HOME6}{number}::254/64 dev in nodad",
    )
    ip_batch(
        host,
        "link set wire up",
        f"address add 192.168.{number}.1/24 dev wire",
        f"address add {HOME6}{number}::1/64 dev wire nodad",
        f"route add default via 192.168.{number}.254",
        f"route add default via {HOME6}{number}::254",
    )
    _inside(router, "nft", "-f", "-", text=RULES)


def _namespace(name: str) -> None:
    subprocess.run(
        [ip_program(), "netns", "add", name], check=True, capture_output=True, timeout=60
    )
    ip_batch(name, "link set lo up")


def _inside(name: str, *argv: str, text: str = "") -> None:
    command = [ip_program(), "netns", "exec", name, *argv]
    subprocess.run(command, check=True, capture_output=True, timeout=60, input=text.encode())


def _remove(base: str) -> None:
    for end in ("m", "ra", "rb", "a", "b"):
        command = [ip_program(), "netns", "del", f"{base}-{end}"]
        subprocess.run(command, check=False, capture_output=True, timeout=60)
