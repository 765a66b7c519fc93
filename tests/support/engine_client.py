"""The engine under test as a user runs it: the command line with ``--json``, in its own process."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.support.netns import Host
from tests.support.payload import Payload
from tests.support.processes import Program, accepts_at, wait_until

Address = tuple[str, int]


def format_peer(address: Address) -> str:
    """Return ``host:port``, with an IPv6 host in brackets."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


DISCOVERY: Mapping[str, str] = {"TORRENT_ENGINE_NO_DHT": "0", "TORRENT_ENGINE_NO_LSD": "0"}
"""Variables for a process that may use the DHT and LSD, which the tests switch off elsewhere."""


class EngineProcess(Program):
    """``torrent-engine COMMAND ... --json``; ``variables`` are put into its environment."""

    def __init__(
        self,
        host: Host,
        folder: Path,
        command: str,
        arguments: Sequence[str],
        *,
        name: str,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        root = str(Path(__file__).parents[2])
        ours = {"TORRENT_ENGINE_STATE_DIR": str(folder / "state"), "PYTHONPATH": root}
        super().__init__(
            [sys.executable, "-m", "torrent_engine", command, *arguments],
            host=host,
            log=folder / f"{name}.log",
            env={**ours, **(variables or {})},
        )

    def events(self, kind: str | None = None) -> Iterator[Mapping[str, object]]:
        """Yield the events printed so far, oldest first."""
        for line in self.output().splitlines():
            if line.startswith("{") and line.endswith("}"):
                event = json.loads(line)
                if kind in (None, event["type"]):
                    yield event

    def wait_event(self, kind: str, *, timeout_s: float = 30.0, count: int = 1) -> None:
        """Wait until ``count`` events of a kind were printed; fail early if the process ends."""

        def seen() -> bool:
            ended = not self.alive
            enough = sum(1 for _ in self.events(kind)) >= count
            if ended and not enough:
                raise AssertionError(f"ended without {kind}: {self.output()[-3000:]}")
            return enough

        wait_until(seen, timeout_s=timeout_s, what=f"event {kind}")


class EngineLeech(EngineProcess):
    """``torrent-engine download`` of .torrents or links; ends by itself when all is complete."""

    def __init__(
        self,
        host: Host,
        folder: Path,
        torrents: Sequence[Path | str],
        *,
        port: int,
        peers: Sequence[Address] = (),
        extra: Sequence[str] = (),
        name: str = "engine-leech",
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.save_dir = folder / "saved"
        super().__init__(
            host,
            folder,
            "download",
            [
                *map(str, torrents),
                *("--json", "--dir", str(self.save_dir), "--port", str(port)),
                *(word for peer in peers for word in ("--peer", format_peer(peer))),
                *extra,
            ],
            name=name,
            variables=variables,
        )

    def wait_complete(self, timeout_s: float = 40.0) -> None:
        """Wait for exit code 0; AssertionError with the output otherwise."""
        code = self.wait(timeout_s)
        assert code == 0, f"exit code {code}: {self.output()[-3000:]}"


class EngineSeed(EngineProcess):
    """``torrent-engine seed``; runs until ended."""

    def __init__(
        self,
        host: Host,
        folder: Path,
        payloads: Sequence[Payload],
        *,
        port: int,
        peers: Sequence[Address] = (),
        extra: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            host,
            folder,
            "seed",
            [
                *(str(payload.torrent) for payload in payloads),
                *("--json", "--dir", str(payloads[0].source_dir), "--port", str(port)),
                *(word for peer in peers for word in ("--peer", format_peer(peer))),
                *extra,
            ],
            name="engine-seed",
            variables=variables,
        )

    def wait_seeding(self) -> None:
        """Wait until a torrent is checked and on offer."""
        wait_until(
            lambda: any(event["state"] == "seeding" for event in self.events("stats.update")),
            timeout_s=60,
            what="it seeds",
        )

    def uploaded_bytes(self) -> int:
        """Return the payload sent so far, over all torrents, to the second."""
        newest = {event["info_hash"]: event for event in self.events("stats.update")}
        return sum(int(str(event["uploaded_bytes"])) for event in newest.values())


class EngineTracker(EngineProcess):
    """``torrent-engine tracker`` on one port: HTTP over TCP, and the UDP protocol."""

    def __init__(
        self, host: Host, folder: Path, *, port: int, address: str, only_there: bool = False
    ) -> None:
        """Listen everywhere; ``only_there``: at ``address``, from where datagrams then come."""
        authority = format_peer((address, port))
        where = ["--host", address] if only_there else []
        self.http_url = f"http://{authority}/announce"
        self.udp_url = f"udp://{authority}/announce"
        self._host = host
        self._address = (address, port)
        super().__init__(
            host, folder, "tracker", ["--port", str(port), *where], name="engine-tracker"
        )

    def wait_listening(self) -> None:
        """Wait until it accepts connections."""

        def accepts() -> bool:
            assert self.alive, self.output()[-3000:]
            return self._host.call(lambda: accepts_at(self._address))

        wait_until(accepts, timeout_s=60, what="our tracker listens")
