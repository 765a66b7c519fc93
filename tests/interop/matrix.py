"""Transfers with other programs in network namespaces, case by case: a table of what works.

Run it as root: ``python -m tests.interop.matrix [--programs qbittorrent,lftp] [--cases tcp,mse]``.
It is no test: it takes minutes, and a program that is not installed is left out. The results are
in ``docs/interop.md``.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bencodepy
import libtorrent

from tests.support.aria2_client import Aria2Client
from tests.support.ctorrent_client import CTorrentClient
from tests.support.deluge_client import DelugeClient
from tests.support.dht_client import EngineNodes
from tests.support.engine_client import EngineLeech, EngineProcess, EngineSeed, EngineTracker
from tests.support.lan import local_network
from tests.support.lftp_client import LftpClient
from tests.support.libtorrent_client import LibtorrentClient
from tests.support.netns import Host
from tests.support.payload import Payload, make_payload
from tests.support.processes import Program, wait_until
from tests.support.qbittorrent_client import QBittorrentClient
from tests.support.rtorrent_client import RTorrentClient
from tests.support.transmission_client import TransmissionClient
from tests.support.webtorrent_client import WebTorrentClient

OURS, THEIRS, TRACKERS = 7001, 7002, 6969
KIB, MIB = 1 << 10, 1 << 20
PATIENCE_S = 180.0
PEX_PATIENCE_S = 240.0  # some name nobody in their first minute
SLOW_BYTES_PER_S = 100_000
ENCRYPTION = {"tcp": "disabled", "utp": "disabled", "mse": "required"}
PROGRAMS = (
    "qbittorrent",
    "deluge",
    "transmission",
    "aria2",
    "rtorrent",
    "lftp",
    "ctorrent",
    "webtorrent",
)
CASES = (
    "tcp",
    "mse",
    "utp",
    "magnet",
    "udp-tracker",
    "dht",
    "lsd",
    "pex",
    "pads",
    "tiny-pieces",
    "huge-pieces",
    "select",
    "kill",
    "ipv6",
)
LIMITS = {
    "pads": {
        "transmission": "3.00 loads no hybrid torrent",
        "aria2": "1.36 gives a hybrid torrent another info-hash",
    },
    "mse": {"lftp": "has no encryption", "ctorrent": "has no encryption"},
    "utp": dict.fromkeys(("aria2", "rtorrent", "lftp", "ctorrent"), "has no uTP"),
    "magnet": {"ctorrent": "has no magnet links"},
    "udp-tracker": {"ctorrent": "HTTP trackers only"},
    "dht": {
        "ctorrent": "has no DHT",
        "qbittorrent": "enters the DHT by nodes of the internet only",
        "deluge": "enters the DHT by nodes of the internet only",
        "lftp": "sends nothing to the node that it is told of",
    },
    "lsd": dict.fromkeys(("rtorrent", "lftp", "ctorrent"), "has no LSD"),
    "pex": {"ctorrent": "has no PEX", "webtorrent": "names nobody, only takes"},
    "ipv6": {
        **dict.fromkeys(("rtorrent", "ctorrent"), "has no IPv6"),
        "deluge": "listens on IPv4 only, as it is installed",
    },
}
ONE_WAY = ("pex", "select", "kill")
"""Cases in which we are the leech; the other way is about what they do by themselves."""


@dataclass
class Scene:
    """The hosts and files of one case with one program."""

    program: str
    case: str
    is_seed: bool
    """They seed, and we leech."""
    hosts: list[Host]
    folder: Path
    stack: ExitStack
    payload: Payload
    announced: Payload
    tracker_url: str
    dht_nodes: list[tuple[str, int]]

    @property
    def save_dir(self) -> Path:
        """Return where they find or put the payload."""
        return self.payload.source_dir if self.is_seed else self.folder / "they-saved"

    @property
    def source(self) -> Payload | str:
        """Return what they are given."""
        if self.case == "magnet" and not self.is_seed:
            return self.magnet
        return self.announced

    @property
    def magnet(self) -> str:
        """Return a link with the tracker."""
        return f"magnet:?xt=urn:btih:{self.payload.info_hash.hex()}&tr={self.tracker_url}"

    @property
    def we_dial(self) -> bool:
        """Whether we are told their address, instead of both asking the tracker."""
        return self.case == "ipv6" or (self.is_seed and self.case not in FOUND)

    @property
    def peers(self) -> list[tuple[str, int]]:
        """Return whom we are told of."""
        host = self.hosts[1]
        address = host.address6() if self.case == "ipv6" else host.address()
        return [(address, THEIRS)] if self.we_dial else []


FOUND = ("udp-tracker", "dht", "lsd")
"""Cases about how peers are found."""


def start_them(scene: Scene) -> Program:
    """Start the other program with the torrent."""
    starters: dict[str, Callable[[Scene, Path, Host], Program]] = {
        "qbittorrent": _qbittorrent,
        "deluge": _deluge,
        "transmission": _transmission,
        "aria2": _aria2,
        "rtorrent": _rtorrent,
        "lftp": _lftp,
        "ctorrent": _ctorrent,
        "webtorrent": _webtorrent,
    }
    return starters[scene.program](scene, scene.folder / "them", scene.hosts[1])


def _ready(scene: Scene, client: Any) -> Program:
    if scene.is_seed and scene.case != "pex":
        client.wait_complete(scene.payload, PATIENCE_S)
    program: Program = client
    return program


def _qbittorrent(scene: Scene, folder: Path, host: Host) -> Program:
    changes = {
        "encryption": {"mse": 1, "tcp": 2, "utp": 2}.get(scene.case, 0),
        "bittorrent_protocol": 2 if scene.case == "utp" else 1,
        "pex": scene.case == "pex",
        "lsd": scene.case == "lsd",
    }
    client = QBittorrentClient(host, folder, port=THEIRS, changes=changes)
    scene.stack.enter_context(client)
    limit_bytes_per_s = SLOW_BYTES_PER_S if scene.case == "pex" else 0
    client.add(scene.source, scene.save_dir, dlLimit=str(limit_bytes_per_s))
    return _ready(scene, client)


def _deluge(scene: Scene, folder: Path, host: Host) -> Program:
    policy = {"mse": 0, "tcp": 2, "utp": 2}.get(scene.case, 1)
    changes = {
        "enc_in_policy": policy,
        "enc_out_policy": policy,
        "utpex": scene.case == "pex",
        "lsd": scene.case == "lsd",
    }
    client = scene.stack.enter_context(DelugeClient(host, folder, port=THEIRS, changes=changes))
    limit_kib_per_s = SLOW_BYTES_PER_S / KIB if scene.case == "pex" else -1
    client.add(scene.source, scene.save_dir, max_download_speed=limit_kib_per_s)
    return _ready(scene, client)


def _transmission(scene: Scene, folder: Path, host: Host) -> Program:
    changes = {
        "encryption": {"mse": 2, "tcp": 0, "utp": 0}.get(scene.case, 1),
        "utp-enabled": scene.case == "utp",
        "pex-enabled": scene.case == "pex",
        "lpd-enabled": scene.case == "lsd",
        "bind-address-ipv4": "0.0.0.0",
        "speed-limit-down-enabled": scene.case == "pex",
        "speed-limit-down": SLOW_BYTES_PER_S // KIB,
    }
    client = TransmissionClient(
        host, folder, port=THEIRS, changes=changes, dht_nodes=scene.dht_nodes
    )
    scene.stack.enter_context(client)
    if isinstance(scene.source, str):
        where = {"download-dir": str(scene.save_dir)}
        client._rpc("torrent-add", filename=scene.source, **where)
    else:
        client.add(scene.source, scene.save_dir)
    return _ready(scene, client)


def _aria2(scene: Scene, folder: Path, host: Host) -> Program:
    extra = [f"--bt-enable-lpd={str(scene.case == 'lsd').lower()}"]
    extra.append(f"--enable-peer-exchange={str(scene.case == 'pex').lower()}")
    if scene.case == "mse":
        extra.append("--bt-force-encryption=true")
    if scene.case == "pex":
        extra.append(f"--max-download-limit={SLOW_BYTES_PER_S}")
    if scene.case == "ipv6":
        extra.append(f"--interface={host.address6()}")
    node = scene.dht_nodes[0] if scene.dht_nodes else None
    is_udp = scene.case == "udp-tracker"
    client = Aria2Client(host, folder, port=THEIRS, udp_trackers=is_udp, dht_node=node, extra=extra)
    scene.stack.enter_context(client)
    if isinstance(scene.source, str):
        client._rpc("addUri", [scene.source], {"dir": str(scene.save_dir)})
    else:
        client.add(scene.source, scene.save_dir)
    return _ready(scene, client)


def _rtorrent(scene: Scene, folder: Path, host: Host) -> Program:
    encryption = {"mse": "allow_incoming,require,require_RC4", "tcp": "none"}.get(
        scene.case, "allow_incoming,try_outgoing,enable_retry"
    )
    is_pex, is_dht = scene.case == "pex", scene.case == "dht"
    extra = "throttle.global_down.max_rate.set_kb = 100\n" if is_pex else ""
    client = RTorrentClient(
        host,
        folder,
        port=THEIRS,
        encryption=encryption,
        pex=is_pex,
        dht_port=THEIRS + 100 if is_dht else None,
        extra=extra,
    )
    scene.stack.enter_context(client)
    if is_dht:
        for address, number in scene.dht_nodes:
            client.call("dht.add_node", "", f"{address}:{number}")
    client.add(scene.source, scene.save_dir)
    return _ready(scene, client)


def _lftp(scene: Scene, folder: Path, host: Host) -> Program:
    node = "{}:{}".format(*scene.dht_nodes[0]) if scene.dht_nodes else ""
    limit = SLOW_BYTES_PER_S if scene.case == "pex" else 0
    client = LftpClient(
        host, folder, scene.source, scene.save_dir, port=THEIRS, dht=node, limit_bytes_per_s=limit
    )
    return scene.stack.enter_context(client)


def _ctorrent(scene: Scene, folder: Path, host: Host) -> Program:
    client = CTorrentClient(host, folder, scene.announced, scene.save_dir, port=THEIRS)
    return scene.stack.enter_context(client)


def _webtorrent(scene: Scene, folder: Path, host: Host) -> Program:
    client = WebTorrentClient(
        host,
        folder,
        scene.source,
        scene.save_dir,
        port=THEIRS,
        tracker=True,
        utp=scene.case == "utp",
        secure=scene.case == "mse",
        pex=scene.case == "pex",
        lsd=scene.case == "lsd",
        dht=scene.dht_nodes[0] if scene.dht_nodes else False,
        limit=SLOW_BYTES_PER_S if scene.case == "pex" else -1,
    )
    return scene.stack.enter_context(client)


def our_options(scene: Scene) -> list[str]:
    """Return what our command is told beside its torrent."""
    transport = "utp" if scene.case == "utp" else "tcp"
    options = ["--transport", transport, "--encryption", ENCRYPTION.get(scene.case, "allowed")]
    for address, port in scene.dht_nodes[:1]:
        options += ["--dht-bootstrap", f"{address}:{port}"]
    return options


def our_variables(case: str) -> dict[str, str]:
    """Return the environment that switches on what the case is about, and nothing else."""
    return {
        "TORRENT_ENGINE_NO_DHT": str(int(case != "dht")),
        "TORRENT_ENGINE_NO_LSD": str(int(case != "lsd")),
        "TORRENT_ENGINE_NO_PORT_MAPPING": "1",
    }


def make_content(case: str, folder: Path) -> Payload:
    """Write what is transferred."""
    folder.mkdir()
    if case == "pads":
        return _with_pads(folder)
    if case == "select":
        return make_payload(folder, "several", {"a.bin": MIB, "b.bin": 3 * MIB, "c.bin": 100_003})
    sizes = {
        "pex": (24 * MIB, 64 * KIB),
        "tiny-pieces": (4 * MIB, 16 * KIB),
        "huge-pieces": (48 * MIB + 1, 16 * MIB),
    }
    total, piece = sizes.get(case, (8 * MIB + 3, 64 * KIB))
    return make_payload(folder, "one.bin", {"one.bin": total}, piece_bytes=piece)


def _with_pads(folder: Path) -> Payload:
    """Make a hybrid torrent, whose files end in pads of up to a piece.

    The pads lie beside the files, for programs that take them for files like all others.
    """
    files = {f"file-{number}.bin": 300_000 + 7_777 * number for number in range(6)}
    plain = make_payload(folder, "padded", files)
    storage = libtorrent.file_storage()
    libtorrent.add_files(storage, str(plain.source_dir / "padded"))
    torrent = libtorrent.create_torrent(storage, 256 * KIB)
    libtorrent.set_piece_hashes(torrent, str(plain.source_dir))
    data = libtorrent.bencode(torrent.generate())
    path = folder / "padded.torrent"
    path.write_bytes(data)
    info = bencodepy.decode(data)[b"info"]
    for each in info[b"files"]:
        if b"p" in each.get(b"attr", b""):
            pad = plain.source_dir.joinpath("padded", *map(os.fsdecode, each[b"path"]))
            pad.parent.mkdir(exist_ok=True)
            pad.write_bytes(bytes(each[b"length"]))
    return Payload(
        "padded", path, plain.source_dir, plain.files, info, 256 * KIB, plain.total_bytes
    )


def run_case(program: str, case: str, *, is_seed: bool) -> dict[str, Any]:
    """Return what became of one case: ``result`` is "ok", "limit" or "failed"."""
    about: dict[str, Any] = {
        "program": program,
        "case": case,
        "they": "seed" if is_seed else "leech",
    }
    if (limit := LIMITS.get(case, {}).get(program)) is not None:
        return {**about, "result": "limit", "note": limit}
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix=f"te-{program}-{case}-"))
    folder.chmod(0o755)
    try:
        with ExitStack() as stack:
            note = _transfer(stack, program, case, folder, is_seed=is_seed)
        result = "ok"
    except Exception as error:
        result, note = "failed", f"{error!r:.300}"
    return {
        **about,
        "result": result,
        "note": note,
        "took_s": round(time.monotonic() - began, 1),
        "folder": str(folder),
    }


def _transfer(stack: ExitStack, program: str, case: str, folder: Path, *, is_seed: bool) -> str:
    hosts = stack.enter_context(local_network(3))
    payload = make_content(case, folder / "content")
    place = hosts[0].address(2)
    tracker = EngineTracker(
        hosts[0], folder / "tracker", port=TRACKERS, address=place, only_there=True
    )
    stack.enter_context(tracker).wait_listening()
    url = tracker.udp_url if case == "udp-tracker" else tracker.http_url
    if case in {"dht", "lsd"}:
        url = f"http://{place}:9/announce"
    nodes: list[tuple[str, int]] = []
    if case == "dht":
        nodes = stack.enter_context(EngineNodes(hosts[2], folder / "dht")).addresses
    scene = Scene(
        program, case, is_seed, hosts, folder, stack, payload, payload.announced_to(url), url, nodes
    )
    return _leech(scene) if is_seed else _seed(scene)


def _leech(scene: Scene) -> str:
    if scene.case == "pex":
        seed = LibtorrentClient(scene.hosts[2], scene.folder / "third", port=THEIRS)
        scene.stack.enter_context(seed).add(scene.announced, scene.payload.source_dir)
        seed.wait_complete(scene.payload, PATIENCE_S)
        scene.is_seed = False
    start_them(scene)
    if scene.case == "pex":
        scene.is_seed = True
        time.sleep(5)
    leech = _our_leech(scene, [])
    if scene.case == "kill":
        leech.wait_event("piece.completed", timeout_s=PATIENCE_S, count=5)
        leech.kill()
        leech = _our_leech(scene, [], name="again")
    leech.wait_complete(PEX_PATIENCE_S if scene.case == "pex" else PATIENCE_S)
    wanted = {"several/b.bin"} if scene.case == "select" else set(scene.payload.files)
    found = {name for name in wanted if (leech.save_dir / name).is_file()}
    assert found == wanted
    assert scene.case == "select" or scene.payload.is_complete_in(leech.save_dir)
    if scene.case == "pex":
        assert _named_by_pex(leech), "nobody named"
    return _link(leech)


def _named_by_pex(leech: EngineLeech) -> bool:
    """Whether somebody was named by a peer; the seed, who hears of us too, may be quicker."""
    sources: list[Any] = [event["sources"] for event in leech.events("stats.update")]
    met = [str(event["address"]) for event in leech.events("peer.connected")]
    return any(each["pex"]["candidates"] for each in sources) or len(set(met)) > 1


def _our_leech(scene: Scene, extra: Sequence[str], name: str = "us") -> EngineLeech:
    options = [*our_options(scene), *extra]
    if scene.case == "select":
        options += ["--select-file", "2"]
    if scene.case == "kill" and name == "us":
        options += ["--max-download-limit", "1M"]
    what: Path | str = scene.payload.torrent if scene.we_dial else scene.announced.torrent
    if scene.case == "magnet":
        what = scene.magnet
    leech = EngineLeech(
        scene.hosts[0],
        scene.folder / "us",
        [what],
        port=OURS,
        peers=scene.peers,
        extra=options,
        name=name,
        variables=our_variables(scene.case),
    )
    return scene.stack.enter_context(leech)


def _seed(scene: Scene) -> str:
    seed = EngineSeed(
        scene.hosts[0],
        scene.folder / "us",
        [scene.payload if scene.case == "ipv6" else scene.announced],
        port=OURS,
        peers=scene.peers,
        extra=our_options(scene),
        variables=our_variables(scene.case),
    )
    scene.stack.enter_context(seed).wait_event("session.started", timeout_s=PATIENCE_S)
    start_them(scene)
    wait_until(
        lambda: scene.payload.is_complete_in(scene.save_dir),
        timeout_s=PATIENCE_S,
        what=f"{scene.program} has it",
    )
    return _link(seed)


def _link(ours: EngineProcess) -> str:
    """Return how our line of the peer reads, and what carried the link."""
    wait_until(lambda: any(ours.events("peer.connected")), timeout_s=60, what="a peer")
    event = next(ours.events("peer.connected"))
    way = "incoming" if event["incoming"] else "outgoing"
    return f"{event['client']}, {event['transport']}, {event['encryption']}, {way}"


def main() -> None:
    """Run the cases, a few at a time, and print a JSON object for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", default=",".join(PROGRAMS))
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--at-once", type=int, default=3)
    chosen = parser.parse_args()
    os.environ.setdefault("CI", "")
    jobs = [
        (program, case, is_seed)
        for case in chosen.cases.split(",")
        for program in chosen.programs.split(",")
        for is_seed in ((True,) if case in ONE_WAY else (True, False))
    ]
    with ThreadPoolExecutor(chosen.at_once) as threads:
        for result in threads.map(lambda job: run_case(job[0], job[1], is_seed=job[2]), jobs):
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
