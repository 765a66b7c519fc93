"""One file from a local nginx as the only seed: ours, libtorrent and aria2 in turn."""

import argparse
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bencodepy

from bench.harness import (
    HERE,
    Party,
    Torrent,
    free_port,
    machine,
    make_torrent,
    median,
    save,
    workspace,
)

FIGURES = ("mib_per_s", "seconds", "cpu_s", "peak_rss_mib")
NGINX = """
daemon off; worker_processes 1; error_log stderr; pid {folder}/nginx.pid; {user}
events {{ worker_connections 64; }}
http {{
    access_log off; sendfile on;
    client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size-mib", type=int, default=1024)
    parser.add_argument("--piece-kib", type=int, default=1024)
    parser.add_argument("--dir", default="/dev/shm", help="where everything lies")
    parser.add_argument("--leeches", default="our,libtorrent,aria2")
    options = parser.parse_args()
    names = options.leeches.split(",")
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    about = machine()
    with workspace(options.dir) as folder:
        torrent = make_torrent(folder, options.size_mib, options.piece_kib)
        with nginx(folder, torrent.payload.parent) as url:
            name_web_seed(torrent, url + torrent.payload.name)
            for number in range(options.rounds):
                shift = number % len(names)
                for name in names[shift:] + names[:shift]:
                    figures = run(name, torrent, folder)
                    print(json.dumps({"round": number, "leech": name, **figures}), flush=True)
                    rows[name].append(figures)
    medians = {
        name: {figure: round(median(found, figure), 2) for figure in FIGURES}
        for name, found in rows.items()
    }
    for name, figures in medians.items():
        print(name, figures)
    document = {"what": "web_seed", "machine": about, "medians": medians, "rows": rows}
    print("written:", save("web_seed", {**document, "options": vars(options)}))


def name_web_seed(torrent: Torrent, url: str) -> None:
    """Write the URL into the .torrent."""
    document = bencodepy.decode(torrent.path.read_bytes())
    torrent.path.write_bytes(bencodepy.encode({**document, b"url-list": url.encode()}))


@contextmanager
def nginx(folder: Path, root: Path) -> Iterator[str]:
    """Run nginx over ``root``; gives its URL."""
    port, config = free_port(), folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(NGINX.format(folder=folder, user=user, port=port, root=root))
    program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin") or "nginx"
    process = subprocess.Popen([program, "-c", str(config), "-p", str(folder), "-e", "stderr"])
    try:
        time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(10)


def run(name: str, torrent: Torrent, folder: Path) -> dict[str, float]:
    """Download once; return the leech's figures."""
    save_dir = folder / "saved"
    save_dir.mkdir()
    try:
        path = str(HERE / "parties" / f"{name}_web_leech.py")
        with Party([path, str(torrent.path), str(save_dir)]) as leech:
            figures: dict[str, float] = json.loads(leech.line())
        if (save_dir / torrent.payload.name).stat().st_size != torrent.total_bytes:
            raise RuntimeError(f"{name} says complete, but the file is short")
    finally:
        shutil.rmtree(save_dir)
    return figures


if __name__ == "__main__":
    main()
