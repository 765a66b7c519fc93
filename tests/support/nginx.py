"""Runs nginx as a web seed: files of a folder, over plain HTTP, in a network namespace or here."""

import os
from pathlib import Path

from tests.support.netns import Host
from tests.support.processes import Program, accepts_at, require_program, wait_until

CONFIG = """
daemon off;
{user}
worker_processes 1;
error_log stderr warn;
pid {folder}/nginx.pid;
events {{ worker_connections 256; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    sendfile on;
    default_type application/octet-stream;
    server {{
        listen {authority};
        root {root};
        location /moved/ {{ if ($request_uri ~ "^/moved(.*)$") {{ return 302 $1; }} }}
        {extra}
    }}
}}
"""


class Nginx(Program):
    """An nginx that serves the files below ``root`` at :attr:`url`, and moved there from moved/."""

    def __init__(
        self, host: Host, folder: Path, root: Path, *, address: tuple[str, int], extra: str = ""
    ) -> None:
        program = require_program("nginx", "nginx-light")
        folder.mkdir(parents=True, exist_ok=True)
        name, port = address
        authority = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
        user = "user root;" if os.geteuid() == 0 else ""
        config = folder / "nginx.conf"
        config.write_text(
            CONFIG.format(user=user, folder=folder, root=root, authority=authority, extra=extra)
        )
        self.url = f"http://{authority}/"
        self._host, self._address = host, address
        self._access_log = folder / "access.log"
        super().__init__(
            [program, "-c", str(config), "-p", str(folder), "-e", "stderr"],
            host=host,
            log=folder / "nginx.log",
        )
        wait_until(self._accepts, timeout_s=60, what="nginx listens")

    def _accepts(self) -> bool:
        assert self.alive, self.output()[-2000:]
        return self._host.call(lambda: accepts_at(self._address))

    def access_lines(self) -> list[str]:
        """Return what it logged, a line a request."""
        return self._access_log.read_text().splitlines()
