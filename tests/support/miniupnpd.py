"""A home network in namespaces: a client, a router with miniupnpd, and the world outside."""

import os
import re
import secrets
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support import netns
from tests.support.netns import Host
from tests.support.processes import Program, require_program, wait_until

OUTSIDE = "5.6.7.8"  # the router's address in the world; miniupnpd refuses reserved ones
WORLD = "5.6.7.9"
NFT_RULES = """
table inet filter {
    chain forward { type filter hook forward priority 0; policy drop; ct state established accept
        iifname "wire" accept; jump miniupnpd; }
    chain miniupnpd { }
    chain prerouting { type nat hook prerouting priority -100; jump prerouting_miniupnpd; }
    chain postrouting { type nat hook postrouting priority 100; jump postrouting_miniupnpd; }
    chain prerouting_miniupnpd { }
    chain postrouting_miniupnpd { }
}
"""
IPTABLES_RULES = """*nat
:MINIUPNPD - [0:0]
:MINIUPNPD-POSTROUTING - [0:0]
-A PREROUTING -i wan -j MINIUPNPD
-A POSTROUTING -o wan -j MINIUPNPD-POSTROUTING
COMMIT
*mangle
:MINIUPNPD - [0:0]
-A PREROUTING -i wan -j MINIUPNPD
COMMIT
*filter
:FORWARD DROP [0:0]
:MINIUPNPD - [0:0]
-A FORWARD -m state --state ESTABLISHED -j ACCEPT
-A FORWARD -i wire -j ACCEPT
-A FORWARD -i wan ! -o wan -j MINIUPNPD
COMMIT
"""
IP6TABLES_RULES = """*filter
:FORWARD DROP [0:0]
:MINIUPNPD - [0:0]
-A FORWARD -i wan ! -o wan -j MINIUPNPD
COMMIT
"""


@dataclass(frozen=True)
class Lease:
    """A line of miniupnpd's own list."""

    transport: str
    port: int
    """Outside; of IPv6 inside."""
    client: str
    expires_s: int
    text: str


@dataclass(frozen=True)
class HomeNetwork:
    """Who is where."""

    router: Host
    client: Host
    world: str
    """The name of its namespace."""

    def reaches(self, port: int) -> bool:
        """Return whether the world gets a TCP connection at a port of the router."""
        code = f"import socket; socket.create_connection(('{OUTSIDE}', {port}), 3).close()"
        argv = [netns.ip_program(), "netns", "exec", self.world, "python3", "-c", code]
        return subprocess.run(argv, check=False, capture_output=True, timeout=20).returncode == 0


@contextmanager
def home_network() -> Iterator[HomeNetwork]:
    """Make the three namespaces. Raises OSError or CalledProcessError where that is not allowed."""
    world = f"te-{os.getpid()}-{secrets.token_hex(2)}-w"
    with netns.namespaces() as (router, client):
        netns._ip("netns", "add", world)
        try:
            _join(router, client, world)
            yield HomeNetwork(router, client, world)
        finally:
            subprocess.run([netns.ip_program(), "netns", "del", world], check=False, timeout=60)


def _join(router: Host, client: Host, world: str) -> None:
    assert router.namespace
    assert client.namespace
    inside, ip = router.namespace, netns._ip
    ip("-n", inside, "link", "add", "wan", "type", "veth", "peer", "name", "wan", "netns", world)
    for name, address in ((inside, OUTSIDE), (world, WORLD)):
        ip("-n", name, "link", "set", "wan", "up")
        ip("-n", name, "address", "add", f"{address}/24", "dev", "wan")
    ip("-n", client.namespace, "route", "add", "default", "via", router.address())
    ip("-n", client.namespace, "-6", "route", "add", "default", "via", router.address6())
    command = router.command(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])
    subprocess.run(command, check=True, capture_output=True, timeout=60)


class MiniUpnpd(Program):
    """miniupnpd in the router's namespace, with its firewall of either kind."""

    def __init__(self, router: Host, folder: Path, *, natpmp: bool = True) -> None:
        self.router = router
        self._program = require_program("miniupnpd", "miniupnpd-nftables")
        self.is_nft = "nftables" in _run([self._program, "--version"])
        self._leases = [folder / "leases", folder / "leases6"]
        self._set_up_firewall()
        self._folder = folder
        (folder / "miniupnpd.log").unlink(missing_ok=True)
        config = folder / "miniupnpd.conf"
        config.write_text(self._config(natpmp=natpmp))
        super().__init__(
            [self._program, "-d", "-f", str(config), "-P", str(folder / "miniupnpd.pid")],
            host=router,
            log=folder / "miniupnpd.log",
        )
        wait_until(self._is_ready, timeout_s=60, what="miniupnpd serves")

    def _is_ready(self) -> bool:
        assert self.alive, self.output()[-2000:]
        return "HTTP listening" in self.output()

    def _config(self, *, natpmp: bool) -> str:
        lines = {
            "ext_ifname": "wan",
            "listening_ip": "wire",
            "http_port": "0",
            "enable_natpmp": "yes" if natpmp else "no",
            "enable_upnp": "yes",
            "min_lifetime": "2",
            "max_lifetime": "86400",
            "secure_mode": "yes",
            "lease_file": str(self._leases[0]),
            "lease_file6": str(self._leases[1]),
            "uuid": "3f6e8f3a-8d4c-4f0e-9b3c-0a0a0a0a0a0a",
        }
        text = "".join(f"{name}={value}\n" for name, value in lines.items())
        return text + "allow 1-65535 0.0.0.0/0 1-65535\n"

    # -- the firewall -----------------------------------------------------------------------

    def _set_up_firewall(self) -> None:
        if self.is_nft:
            nft = require_program("nft", "nftables")
            self._in_router([nft, "flush", "ruleset"])
            self._in_router([nft, "-f", "-"], NFT_RULES)
            return
        for name, rules in (("iptables", IPTABLES_RULES), ("ip6tables", IP6TABLES_RULES)):
            program = require_program(f"{name}-legacy-restore", "iptables")
            self._in_router([program], rules)

    def rules(self) -> str:
        """Return the rules of the firewall as it prints them."""
        if self.is_nft:
            return self._in_router([require_program("nft", "nftables"), "list", "ruleset"])
        programs = ("iptables-legacy-save", "ip6tables-legacy-save")
        return "".join(self._in_router([require_program(each, "iptables")]) for each in programs)

    def leads_to(self, address: str, port: int) -> int:
        """Return how many rules of the firewall lead to a port of IPv4."""
        nft = rf"dnat ip to {address}:{port}\b"
        iptables = rf"-d {address}/32 .* --dport {port} -j ACCEPT"  # it cannot print the other one
        return len(re.findall(nft if self.is_nft else iptables, self.rules()))

    def _in_router(self, argv: Sequence[str], text: str = "") -> str:
        return _run(self.router.command(argv), text)

    # -- its own list -----------------------------------------------------------------------

    def leases(self) -> list[Lease]:
        """Return what is open, of IPv4."""
        return [
            Lease(fields[0], int(fields[1]), fields[2], int(fields[4]), line)
            for line in self._lines(0)
            if len(fields := line.split(":")) >= 6
        ]

    def pinholes(self) -> list[Lease]:
        """Return what is open, of IPv6."""
        return [
            Lease(fields[0], int(fields[2]), fields[1], int(fields[6]), line)
            for line in self._lines(1)
            if len(fields := line.split(";")) >= 8
        ]

    def _lines(self, index: int) -> list[str]:
        path = self._leases[index]
        return path.read_text().splitlines() if path.exists() else []

    def forget(self) -> None:
        """Remove the list: who starts after this one knows nothing."""
        for path in self._leases:
            path.unlink(missing_ok=True)


def _run(argv: Sequence[str], text: str = "") -> str:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout
