"""Debian's transmission-daemon (3.00) on this machine, and how answers are compared with its."""

import base64
import http.client
import json
from pathlib import Path
from typing import Any

from tests.daemon.transmission.interop.remote import RemoteDaemon
from tests.support.netns import LOOPBACK
from tests.support.processes import Program, free_port, require_program
from torrent_engine.codec.metainfo import Metainfo

SETTINGS = {
    "dht-enabled": False,
    "lpd-enabled": False,
    "utp-enabled": False,
    "pex-enabled": False,
    "port-forwarding-enabled": False,
    "rpc-bind-address": "127.0.0.1",
    "rpc-whitelist-enabled": False,
    "rpc-host-whitelist-enabled": False,
    "rpc-authentication-required": False,
    "bind-address-ipv4": "127.0.0.1",
}


class Oracle(Program):
    """A transmission-daemon on this machine."""

    def __init__(self, folder: Path) -> None:
        program = require_program("transmission-daemon", "transmission-daemon")
        self.port = free_port()
        self.downloads = folder / "files"
        self.downloads.mkdir(parents=True)
        settings = {
            **SETTINGS,
            "rpc-port": self.port,
            "peer-port": free_port(),
            "download-dir": str(self.downloads),
        }
        (folder / "settings.json").write_text(json.dumps(settings))
        self._session_id = ""
        argv = [program, "--foreground", "--config-dir", str(folder)]
        super().__init__(argv, host=LOOPBACK, log=folder / "log", env={"HOME": str(folder)})

    def answers(self) -> bool:
        assert self.alive, self.output()[-2000:]
        try:
            self.ask("session-get")
        except OSError:
            return False
        return True

    def ask(self, method: str, **arguments: Any) -> Any:
        """Return the arguments of a successful answer."""
        plain = {name.replace("_", "-"): value for name, value in arguments.items()}
        value = self.post({"method": method, "arguments": plain})
        assert value["result"] == "success", value
        return value["arguments"]

    def post(self, value: Any) -> Any:
        """Send JSON with the session id, which is asked for if need be."""
        body = json.dumps(value)
        for _ in range(2):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            fields = {"X-Transmission-Session-Id": self._session_id}
            connection.request("POST", "/transmission/rpc", body, fields)
            answer = connection.getresponse()
            data = answer.read()
            self._session_id = answer.getheader("X-Transmission-Session-Id", self._session_id)
            connection.close()
            if answer.status != 409:
                break
        return json.loads(data)


def add(daemon: RemoteDaemon | Oracle, metainfo: Metainfo) -> None:
    encoded = base64.b64encode(metainfo.to_bytes()).decode()
    daemon.ask("torrent-add", metainfo=encoded, paused=True)
    daemon.ask("torrent-verify", ids=[metainfo.info_hash.hex()])


def checked(daemon: RemoteDaemon | Oracle) -> bool:
    told = daemon.ask("torrent-get", fields=["name", "status", "percentDone"])["torrents"]
    done = {each["name"]: (each["status"], each["percentDone"]) for each in told}
    return done == {"payload": (0, 1), "empty": (0, 0)}


def shape(value: Any) -> Any:
    """Return the keys and types of a value; whole and other numbers are one type in JSON."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, int | float) else type(value).__name__


def differences(theirs: Any, ours: Any, path: str = "") -> list[str]:
    """Return where ours lacks something of theirs, or has it in another type."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        missing = [f"{path}/{name}: is missing" for name in theirs.keys() - ours.keys()]
        inner = [
            text
            for name in theirs.keys() & ours.keys()
            for text in differences(theirs[name], ours[name], f"{path}/{name}")
        ]
        return missing + inner
    if isinstance(theirs, list) and isinstance(ours, list):
        if not theirs or not ours:
            return []
        return differences(theirs[0], ours[0], f"{path}[]")
    return [] if theirs == ours else [f"{path}: {ours} instead of {theirs}"]
