"""Our ports at a real miniupnpd: opened in each protocol, renewed, opened again, closed."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.engine_client import EngineSeed
from tests.support.miniupnpd import OUTSIDE, HomeNetwork, MiniUpnpd, home_network
from tests.support.payload import make_payload
from tests.support.processes import Program, missing, wait_until

pytestmark = pytest.mark.interop

PORT = 6881
PROTOCOLS = pytest.mark.parametrize("protocol", ["PCP", "NAT-PMP", "UPnP"])
ASKING = {"TORRENT_ENGINE_NO_PORT_MAPPING": "0"}
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def home() -> Iterator[HomeNetwork]:
    network = home_network()
    try:
        home = network.__enter__()
    except (OSError, subprocess.CalledProcessError):
        missing("network namespaces are not allowed here")
    try:
        yield home
    finally:
        network.__exit__(None, None, None)


class Child(Program):
    """A process of ours behind the router."""

    def __init__(
        self, home: HomeNetwork, folder: Path, protocols: str, *, lifetime_s: int = 7200
    ) -> None:
        arguments = [protocols, str(lifetime_s), str(PORT), str(folder / "state")]
        super().__init__(
            [sys.executable, "-m", "tests.support.mapping_child", *arguments],
            host=home.client,
            log=folder / "child.log",
            env={"PYTHONPATH": str(ROOT)},
        )

    def facts(self) -> dict[str, Any]:
        lines = [line for line in self.output().splitlines() if line.startswith('{"status"')]
        return dict(json.loads(lines[-1])) if lines and lines[-1].endswith("}") else {}

    def open_in(self, *, is_ipv6: bool = False) -> list[str]:
        """Return the protocols of the ports that it holds for open."""
        status = self.facts().get("status", [])
        return [
            each["protocol"] for each in status if each["protocol"] and each["is_ipv6"] == is_ipv6
        ]

    def wait_open(self, count: int = 2, *, is_ipv6: bool = False) -> None:
        def are_open() -> bool:
            assert self.alive, self.output()[-3000:]
            return len(self.open_in(is_ipv6=is_ipv6)) == count

        wait_until(are_open, timeout_s=40, what="ports are open")


@PROTOCOLS
def test_both_ports_are_opened_lead_to_us_and_are_closed_at_the_end(
    home: HomeNetwork, tmp_path: Path, protocol: str
) -> None:
    client = home.client.address()
    with MiniUpnpd(home.router, tmp_path) as router:
        assert not home.reaches(PORT)
        with Child(home, tmp_path, protocol) as child:
            child.wait_open()
            assert child.open_in() == [protocol] * 2
            leases = router.leases()
            assert {(each.transport, each.port) for each in leases} == {
                ("TCP", PORT),
                ("UDP", PORT),
            }
            assert {each.client for each in leases} == {client}
            assert router.leads_to(client, PORT) == 2
            assert home.reaches(PORT)
            facts = child.facts()
            assert facts["port"] == PORT
            assert facts["hosts"] == [OUTSIDE]
            child.process.terminate()
            assert child.wait(60) == 0
        assert router.leases() == []
        assert router.leads_to(client, PORT) == 0
        assert not home.reaches(PORT)


@PROTOCOLS
def test_mappings_are_renewed_before_they_end(
    home: HomeNetwork, tmp_path: Path, protocol: str
) -> None:
    with (
        MiniUpnpd(home.router, tmp_path) as router,
        Child(home, tmp_path, protocol, lifetime_s=8) as child,
    ):
        child.wait_open()
        first = {each.transport: each.expires_s for each in router.leases()}

        def are_renewed() -> bool:
            now = {each.transport: each.expires_s for each in router.leases()}
            return all(now.get(name, 0) >= first[name] + 3 for name in ("TCP", "UDP"))

        wait_until(are_renewed, timeout_s=40, what="both are renewed")
        assert "because it has expired" not in router.output()
        assert child.open_in() == [protocol] * 2


@PROTOCOLS
def test_a_router_that_begins_anew_gets_them_again(
    home: HomeNetwork, tmp_path: Path, protocol: str
) -> None:
    with Child(home, tmp_path, protocol) as child:
        with MiniUpnpd(home.router, tmp_path) as router:
            began = time.monotonic()
            child.wait_open()
            # Its clock counts seconds, and clients grant it two: a shorter life is no other one.
            wait_until(lambda: time.monotonic() - began > 6, timeout_s=60, what="it has an age")
            router.kill()
            router.forget()
        assert not (tmp_path / "leases").exists()
        with MiniUpnpd(home.router, tmp_path) as router:
            wait_until(lambda: len(router.leases()) == 2, timeout_s=60, what="both are open again")
            wait_until(lambda: len(child.open_in()) == 2, timeout_s=60, what="and known to be")


def test_rfc6887_a_firewall_of_ipv6_is_opened_and_closed(home: HomeNetwork, tmp_path: Path) -> None:
    with MiniUpnpd(home.router, tmp_path) as router:
        with Child(home, tmp_path, "PCP") as child:
            child.wait_open(is_ipv6=True)
            pinholes = router.pinholes()
            assert {(each.transport, each.port) for each in pinholes} == {
                ("TCP", PORT),
                ("UDP", PORT),
            }
            child.process.terminate()
            assert child.wait(60) == 0
        assert router.pinholes() == [], router.output()[-4000:]


def test_a_port_that_another_machine_has_is_replaced_by_the_one_that_is_given(
    home: HomeNetwork, tmp_path: Path
) -> None:
    (tmp_path / "leases").write_text(f"TCP:{PORT}:{home.client.address(9)}:{PORT}:0:theirs\n")
    with MiniUpnpd(home.router, tmp_path) as router, Child(home, tmp_path, "PCP") as child:
        child.wait_open()
        ours = [each for each in router.leases() if each.client == home.client.address()]
        given = {each.transport: each.port for each in ours}
        assert given["TCP"] != PORT
        wait_until(lambda: child.facts()["port"] == given["TCP"], timeout_s=60, what="it is told")
        assert home.reaches(given["TCP"])


def test_upnp_is_asked_where_the_other_protocols_have_no_answer(
    home: HomeNetwork, tmp_path: Path
) -> None:
    with MiniUpnpd(home.router, tmp_path, natpmp=False) as router:
        with Child(home, tmp_path, "PCP,NAT-PMP,UPnP") as child:
            child.wait_open()
            assert child.open_in() == ["UPnP"] * 2
            assert len(router.leases()) == 2
            child.process.terminate()
            assert child.wait(60) == 0
        assert router.leases() == []


def test_mappings_of_a_run_that_was_killed_are_taken_over(
    home: HomeNetwork, tmp_path: Path
) -> None:
    with MiniUpnpd(home.router, tmp_path) as router:
        with Child(home, tmp_path, "PCP") as child:
            child.wait_open()
            child.kill()
        assert len(router.leases()) == 2
        (tmp_path / "child.log").unlink()
        with Child(home, tmp_path, "PCP") as child:
            child.wait_open()
            assert child.open_in() == ["PCP"] * 2
            child.process.terminate()
            assert child.wait(60) == 0
        assert router.leases() == []


def test_the_command_line_opens_its_port_unasked_and_closes_it_when_it_is_interrupted(
    home: HomeNetwork, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    payload = make_payload(tmp_path, "small.bin", {"small.bin": 100_003})
    with (
        MiniUpnpd(home.router, tmp_path) as router,
        EngineSeed(home.client, tmp_path / "seed", [payload], port=PORT, variables=ASKING) as seed,
    ):
        wait_until(lambda: len(router.leases()) == 1, timeout_s=40, what="the TCP port is open")
        assert home.reaches(PORT)
        seed.process.send_signal(signal.SIGINT)
        seed.wait(60)
        assert router.leases() == []
