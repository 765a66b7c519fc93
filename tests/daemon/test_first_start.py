"""The first torrents of a daemon, added as the README says."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.cli import torrents
from tests.support.own_daemon import OwnDaemon
from tests.support.processes import require_program

README = Path(__file__).parents[2] / "README.md"


def test_the_commands_of_the_readme_add_a_torrent_each(tmp_path: Path) -> None:
    require_program("curl", "curl")
    require_program("transmission-remote", "transmission-cli")
    (block,) = re.findall(r"^```sh\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    for name in ("a", "b", "c"):
        torrents.single(tmp_path, name, name.encode() * 40_000)
    with OwnDaemon(tmp_path) as daemon:
        script = block.replace("127.0.0.1:9091", f"127.0.0.1:{daemon.port}")
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", script],
            cwd=tmp_path,
            env=environment(daemon),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "a: added" in done.stdout
        rows = done.stdout[done.stdout.index("#  ID") :].splitlines()[1:]
        assert [row.split()[-1] for row in rows] == ["a", "b", "c"]


def environment(daemon: OwnDaemon) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"PATH": path, "TORRENT_ENGINE_STATE_DIR": str(daemon.state)}
    return os.environ | own
