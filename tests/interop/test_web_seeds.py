"""Downloads from nginx as the only seed, over IPv4 and IPv6 (BEP 19)."""

from pathlib import Path

import pytest

from tests.support.engine_client import EngineLeech
from tests.support.libtorrent_client import LibtorrentClient
from tests.support.netns import Host
from tests.support.nginx import Nginx
from tests.support.payload import Payload, make_payload
from tests.support.processes import free_port

pytestmark = pytest.mark.interop

LOCAL = ("--allow-local-web-seeds",)
ODD_NAMES = {
    "read me first!.txt": 100_003,
    "100% & more; a=b+c.bin": 200_000,
    "#1 (what?)/ünï [x].txt": 16_384,
    "#1 (what?)/'quoted\" ~.bin": 1_000_000,
    "empty": 0,
    "tiny": 1,
}


def address_of(host: Host, family: str) -> tuple[str, int]:
    name = host.address(3) if family == "IPv4" else host.address6(3)
    return (name, free_port())


def fetch(host: Host, folder: Path, payload: Payload, *options: str) -> EngineLeech:
    """Download until complete; returns the process, which has ended."""
    with EngineLeech(
        host, folder / "leech", [payload.torrent], port=free_port(), extra=(*LOCAL, *options)
    ) as leech:
        leech.wait_complete()
    assert payload.is_complete_in(leech.save_dir)
    return leech


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_bep19_single_file_from_nginx(hosts: tuple[Host, Host], folder: Path, family: str) -> None:
    left, right = hosts
    made = make_payload(folder, "a big file.bin", {"a big file.bin": 6_000_001})
    with Nginx(right, folder / "nginx", made.source_dir, address=address_of(right, family)) as web:
        fetch(left, folder, made.with_web_seeds(web.url))
        lines = web.access_lines()
    assert all(" 206 " in line for line in lines)
    assert sum(_sent_bytes(line) for line in lines) == made.total_bytes
    assert len(lines) < made.total_bytes / made.piece_bytes / 2  # runs of pieces


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
@pytest.mark.parametrize("path", ["", "moved/"], ids=["there", "redirected"])
def test_bep19_several_files_from_nginx(
    hosts: tuple[Host, Host], folder: Path, family: str, path: str
) -> None:
    left, right = hosts
    made = make_payload(folder, "odd names; 100%", ODD_NAMES)
    with Nginx(right, folder / "nginx", made.source_dir, address=address_of(right, family)) as web:
        fetch(left, folder, made.with_web_seeds(web.url + path))
        fetched = [line for line in web.access_lines() if " 206 " in line]
    assert sum(_sent_bytes(line) for line in fetched) == made.total_bytes


RAW_URLS = {
    "raw": "odd ünï 100%/",
    "raw and encoded": "odd%20ünï 100%25/",
    "encoded": "odd%20%C3%BCn%C3%AF%20100%25/",
    "redirected to raw UTF-8": "raw/",
}


@pytest.mark.parametrize("path", RAW_URLS.values(), ids=RAW_URLS)
def test_bep19_web_seed_with_raw_characters_in_its_url(
    hosts: tuple[Host, Host], folder: Path, path: str
) -> None:
    left, right = hosts
    made = make_payload(folder, "names 100%", ODD_NAMES)
    root = folder / "root"
    root.mkdir()
    (root / "odd ünï 100%").symlink_to(made.source_dir)
    moved = 'location ~ ^/raw/(.*)$ { return 302 "/odd ünï%20100%25/$1"; }'
    nginx = Nginx(right, folder / "nginx", root, address=address_of(right, "IPv4"), extra=moved)
    with nginx as web:
        if path == "raw/":
            made = make_payload(folder, "one file.bin", {"one file.bin": 300_000})
            (root / "odd ünï 100%").unlink()
            (root / "odd ünï 100%").symlink_to(made.source_dir)
        fetch(left, folder, made.with_web_seeds(web.url + path))
        fetched = [line for line in web.access_lines() if " 206 " in line]
    assert sum(_sent_bytes(line) for line in fetched) == made.total_bytes


def test_bep19_nginx_beside_libtorrent(hosts: tuple[Host, Host], folder: Path) -> None:
    """A slow web seed and a slow peer: both give something, and little twice.

    The limit leaves a busy machine the time to begin with both.
    """
    left, right = hosts
    made = make_payload(folder, "both.bin", {"both.bin": 8_000_000})
    limit = "limit_rate 1m;"
    with (
        Nginx(
            right, folder / "nginx", made.source_dir, address=address_of(right, "IPv4"), extra=limit
        ) as web,
        LibtorrentClient(
            right, folder / "seed", port=free_port(), address=right.address(4)
        ) as seed,
    ):
        seed.add(made, made.source_dir)
        seed.wait_complete(made)
        payload = made.with_web_seeds(web.url)
        peer = f"{seed.address[0]}:{seed.address[1]}"
        leech = fetch(left, folder, payload, "--peer", peer, "--max-download-limit", "1M")
    lines = web.access_lines()  # once it has ended, what it aborted is there too
    from_web = sum(_sent_bytes(line) for line in lines)
    assert 0 < from_web < made.total_bytes
    assert _downloaded_bytes(leech) < made.total_bytes * 1.25


def test_d1_a_torrent_alone_leads_to_no_local_server(
    hosts: tuple[Host, Host], folder: Path
) -> None:
    left, right = hosts
    made = make_payload(folder, "secret.bin", {"secret.bin": 100_000})
    with Nginx(right, folder / "nginx", made.source_dir, address=address_of(right, "IPv4")) as web:
        payload = made.with_web_seeds(web.url)
        with EngineLeech(left, folder / "leech", [payload.torrent], port=free_port()) as leech:
            leech.wait_event("web_seed.failed")
        assert web.access_lines() == []


def _sent_bytes(line: str) -> int:
    """Return the length of a body in a line of nginx's log."""
    return int(line.split('" ')[1].split()[1])


def _downloaded_bytes(leech: EngineLeech) -> int:
    return max(int(str(event["downloaded_bytes"])) for event in leech.events("session.completed"))
