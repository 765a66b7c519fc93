"""Runs Debian's SOCKS server (Dante) and HTTP proxy (tinyproxy) in a network namespace."""

from pathlib import Path

from tests.support.netns import Host
from tests.support.processes import Program, accepts_at, require_program, wait_until

DANTE_CONFIG = """
logoutput: stderr
internal: {address} port = {port}
external: {outside}
clientmethod: none
socksmethod: none
user.privileged: root
user.unprivileged: nobody
client pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}
socks pass {{
    from: 0.0.0.0/0 to: 0.0.0.0/0
    command: {commands}
}}
socks pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 command: bindreply udpreply }}
"""
TINYPROXY_CONFIG = """
Port {port}
Listen {address}
Bind {outside}
Timeout 600
MaxClients 100
LogLevel Info
BasicAuth {username} {password}
"""
USERNAME, PASSWORD = "somebody", "secret"


class _ProxyServer(Program):
    """A server at :attr:`address`; what it connects to sees :attr:`outside`."""

    def __init__(
        self, host: Host, folder: Path, argv: list[str], address: tuple[str, int], outside: str
    ) -> None:
        self.address, self.outside = address, outside
        self._host = host
        super().__init__(argv, host=host, log=folder / "proxy.log")
        try:
            wait_until(self._accepts, timeout_s=30, what="the proxy listens")
        except BaseException:
            self.end()
            raise

    def _accepts(self) -> bool:
        assert self.alive, self.output()[-2000:]
        return self._host.call(lambda: accepts_at(self.address))


class Dante(_ProxyServer):
    """SOCKS4, SOCKS4a and SOCKS5; with datagrams unless told otherwise."""

    def __init__(
        self,
        host: Host,
        folder: Path,
        *,
        address: tuple[str, int],
        outside: str,
        relays_datagrams: bool = True,
    ) -> None:
        program = require_program("danted", "dante-server")
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "danted.conf"
        commands = "connect udpassociate" if relays_datagrams else "connect"
        text = DANTE_CONFIG.format(
            address=address[0], port=address[1], outside=outside, commands=commands
        )
        config.write_text(text)
        argv = [program, "-f", str(config), "-p", str(folder / "danted.pid"), "-N", "1"]
        super().__init__(host, folder, argv, address, outside)


class Tinyproxy(_ProxyServer):
    """HTTP with CONNECT, for :data:`USERNAME` with :data:`PASSWORD`."""

    def __init__(self, host: Host, folder: Path, *, address: tuple[str, int], outside: str) -> None:
        program = require_program("tinyproxy", "tinyproxy")
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "tinyproxy.conf"
        text = TINYPROXY_CONFIG.format(
            address=address[0],
            port=address[1],
            outside=outside,
            username=USERNAME,
            password=PASSWORD,
        )
        config.write_text(text)
        super().__init__(host, folder, [program, "-d", "-c", str(config)], address, outside)
