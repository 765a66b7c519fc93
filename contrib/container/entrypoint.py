#!/usr/bin/env python3
"""Start of the container: variables as users of other images know them, user and group, the daemon.

Needs nothing but Python. The variables are PUID, PGID, UMASK, TZ; USER, PASS, PEERPORT, WHITELIST,
HOST_WHITELIST, TRANSMISSION_WEB_HOME; each with ``_FILE`` behind or ``FILE__`` before its name is
read from a file. Those of the daemon, ``TORRENT_ENGINE_<SECTION>__<KEY>``, go before them.
"""

import http.client
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

CONFIG = Path("/config")
DOWNLOADS = Path("/downloads")
WATCH = Path("/watch")
PREFIX = "TORRENT_ENGINE_"
DEFAULT_PORT = 9091
NAMES = {
    "USER": "AUTH__USER",
    "PASS": "AUTH__PASSWORD",
    "PEERPORT": "NETWORK__PORT",
    "HOST_WHITELIST": "LISTEN__HOSTS",
    "WHITELIST": "LISTEN__ALLOW_FROM",
    "TRANSMISSION_WEB_HOME": "TRANSMISSION__WEB_ROOT",
}
FIRST_CONFIGURATION = """\
# Configuration of the daemon; `torrent-engine daemon` and the manual page have all settings.
# What is changed by a remote control is kept beside it, and goes before it.

[[watch]]
folder = "{watch}"
"""


def value_of(environment: Mapping[str, str], name: str) -> str:
    """Return a variable, or what is in the file that it names; "" if there is none."""
    for variable in (f"{name}_FILE", f"FILE__{name}"):
        if path := environment.get(variable, ""):
            return Path(path).read_text("utf-8").strip()
    return environment.get(name, "")


def networks(whitelist: str) -> str:
    """Return addresses such as ``192.168.1.*`` as networks, separated by commas."""
    return ",".join(_network(each.strip()) for each in whitelist.split(",") if each.strip())


def _network(pattern: str) -> str:
    parts = pattern.split(".")
    if "*" not in parts or len(parts) != 4:
        return pattern
    fixed = parts.index("*")
    address = [*parts[:fixed], *["0"] * (4 - fixed)]
    return f"{'.'.join(address)}/{fixed * 8}"


def daemon_environment(
    environment: Mapping[str, str], config: Path = CONFIG, downloads: Path = DOWNLOADS
) -> dict[str, str]:
    """Return the environment of the daemon."""
    values = {
        f"{PREFIX}STATE_DIR": str(config / "state"),
        f"{PREFIX}DAEMON_CONFIG": str(config / "daemon.toml"),
        f"{PREFIX}LISTEN__ADDRESS": f"0.0.0.0:{DEFAULT_PORT}",
        # What reaches the port is decided by the mapping of the container's ports.
        f"{PREFIX}LISTEN__ALLOW_PLAIN_HTTP": "true",
        "XDG_DOWNLOAD_DIR": str(downloads),
        "HOME": str(config),
    }
    for name, setting in NAMES.items():
        if value := value_of(environment, name):
            values[PREFIX + setting] = networks(value) if name == "WHITELIST" else value
    hidden = {name for each in NAMES for name in (each, f"{each}_FILE", f"FILE__{each}")}
    kept = {name: value for name, value in environment.items() if name not in hidden}
    return values | kept | {"HOME": values["HOME"]}


def write_first_configuration(config: Path = CONFIG, watch: Path = WATCH) -> None:
    """Write a configuration if there is none."""
    path = config / "daemon.toml"
    if not os.path.lexists(path):
        path.write_text(FIRST_CONFIGURATION.format(watch=watch), "utf-8")


def number(environment: Mapping[str, str], name: str, default: int, base: int = 10) -> int:
    """Return a variable as a number; the program ends with a message if it is none."""
    text = environment.get(name, "").strip()
    try:
        return int(text, base) if text else default
    except ValueError:
        sys.exit(f"{name}={text!r} is no number")


def become(user: int, group: int, config: Path = CONFIG) -> None:
    """Give up root, if this is root, for a user who owns the configuration."""
    if os.geteuid() != 0 or user == 0:
        return
    for path in (config, *config.rglob("*")):
        found = path.lstat()
        if (found.st_uid, found.st_gid) != (user, group):
            os.chown(path, user, group, follow_symlinks=False)
    os.setgroups([])
    os.setgid(group)
    os.setuid(user)


class SocketConnection(http.client.HTTPConnection):
    """A connection to the daemon's own socket, which no setting of addresses or TLS changes."""

    def __init__(self, path: Path) -> None:
        """``path`` is that of the socket."""
        super().__init__("localhost", timeout=8)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def socket_path(environment: Mapping[str, str], config: Path = CONFIG) -> Path:
    """Return where the socket of the daemon is."""
    named = environment.get(f"{PREFIX}LISTEN__SOCKET", "")
    if named not in {"", "auto"}:
        return Path(named)
    return Path(environment.get(f"{PREFIX}STATE_DIR") or config / "state") / "daemon.sock"


def check_health(path: Path) -> int:
    """Return 0 if the daemon at a socket answers, and its engine is open, as an exit code."""
    connection = SocketConnection(path)
    try:
        connection.request("GET", "/healthz")
        return 0 if connection.getresponse().status == 200 else 1
    except OSError as error:
        sys.stderr.write(f"unhealthy: {error}\n")
        return 1
    finally:
        connection.close()


def main(arguments: list[str]) -> None:
    """Become the daemon, or what the arguments name."""
    if arguments == ["--health"]:
        sys.exit(check_health(socket_path(os.environ)))
    environment = dict(os.environ)
    os.umask(number(environment, "UMASK", 0o022, 8))
    become(number(environment, "PUID", 1000), number(environment, "PGID", 1000))
    write_first_configuration()
    command = arguments or ["torrent-engine", "daemon", "run"]
    os.execvpe(command[0], command, daemon_environment(environment))  # noqa: S606 - as asked


if __name__ == "__main__":
    main(sys.argv[1:])
