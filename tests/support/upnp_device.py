"""A UPnP gateway on loopback: SSDP, descriptions and SOAP, written apart from the engine's code."""

import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import anyio
import anyio.abc

from tests.support.rude_server import response

DEVICE = "urn:schemas-upnp-org:device:{}:1"
SERVICE = "urn:schemas-upnp-org:service:{}:1"
ACTIONS = {
    "AddPortMapping": (
        "in NewRemoteHost string, in NewExternalPort ui2, in NewProtocol string,"
        "in NewInternalPort ui2, in NewInternalClient string, in NewEnabled boolean,"
        "in NewPortMappingDescription string, in NewLeaseDuration ui4"
    ),
    "DeletePortMapping": "in NewRemoteHost string, in NewExternalPort ui2, in NewProtocol string",
    "GetExternalIPAddress": "out NewExternalIPAddress string",
    "GetSpecificPortMappingEntry": (
        "in NewRemoteHost string, in NewExternalPort ui2, in NewProtocol string,"
        "out NewInternalPort ui2, out NewInternalClient string, out NewEnabled boolean,"
        "out NewPortMappingDescription string, out NewLeaseDuration ui4"
    ),
}
Key = tuple[str, int]
"""Protocol and external port."""


@dataclass
class UpnpDevice:
    """One gateway; a test changes what it says."""

    host: str = "127.0.0.1"
    external_host: str = "203.0.113.9"
    kind: str = "WANIPConnection"
    actions: tuple[str, ...] = tuple(ACTIONS)
    control_url: str = "/control"
    """With {port} for that of this server."""
    location: str | None = None
    only_permanent: bool = False
    taken: set[int] = field(default_factory=set)
    """External ports that lead to somebody else."""
    open: dict[Key, dict[str, str]] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    """By action: the code with which it is refused."""
    rewrite: Callable[[str, bytes], bytes] = lambda _path, body: body
    """Changes what is sent for a path."""
    is_mute: bool = False
    asked: list[str] = field(default_factory=list)
    """Paths, and actions."""
    port: int = 0

    def description(self) -> str:
        control_url = self.control_url.format(port=self.port)
        service = (
            f"<serviceList><service><serviceType>{SERVICE.format(self.kind)}</serviceType>"
            f"<serviceId>urn:upnp-org:serviceId:{self.kind}1</serviceId>"
            f"<SCPDURL>/scpd.xml</SCPDURL><controlURL>{control_url}</controlURL>"
            "<eventSubURL>/event</eventSubURL></service></serviceList>"
        )
        inner = self._device("WANConnectionDevice", service)
        middle = self._device("WANDevice", f"<deviceList>{inner}</deviceList>")
        outer = self._device("InternetGatewayDevice", f"<deviceList>{middle}</deviceList>")
        return (
            '<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0">'
            f"<specVersion><major>1</major><minor>0</minor></specVersion>{outer}</root>"
        )

    def _device(self, kind: str, content: str) -> str:
        return (
            f"<device><deviceType>{DEVICE.format(kind)}</deviceType><friendlyName>x</friendlyName>"
            "<manufacturer>x</manufacturer><modelName>x</modelName>"
            f"<UDN>uuid:{kind}</UDN>{content}</device>"
        )

    def scpd(self) -> str:
        actions, variables = "", {}
        for name in self.actions:
            arguments = ""
            for argument in ACTIONS[name].split(","):
                direction, argument_name, kind = argument.split()
                variables[argument_name] = kind
                arguments += (
                    f"<argument><name>{argument_name}</name><direction>{direction}</direction>"
                    f"<relatedStateVariable>{argument_name}</relatedStateVariable></argument>"
                )
            actions += (
                f"<action><name>{name}</name><argumentList>{arguments}</argumentList></action>"
            )
        table = "".join(
            f'<stateVariable sendEvents="no"><name>{name}</name><dataType>{kind}</dataType>'
            "</stateVariable>"
            for name, kind in variables.items()
        )
        return (
            '<?xml version="1.0"?><scpd xmlns="urn:schemas-upnp-org:service-1-0">'
            "<specVersion><major>1</major><minor>0</minor></specVersion>"
            f"<actionList>{actions}</actionList>"
            f"<serviceStateTable>{table}</serviceStateTable></scpd>"
        )

    # -- SOAP -------------------------------------------------------------------------------

    def soap(self, body: str) -> tuple[int, str]:
        found = re.search(r"<(?:\w+:)?(\w+) xmlns:?\w*=\"urn:schemas-upnp-org:service", body)
        assert found, body
        action = found[1]
        arguments = dict(re.findall(r"<(New\w+)>([^<]*)</", body))
        self.asked.append(action)
        code = self.faults.get(action, 0) or self._fault(action, arguments)
        if code:
            return 500, self._envelope(
                "<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring>"
                '<detail><UPnPError xmlns="urn:schemas-upnp-org:control-1-0">'
                f"<errorCode>{code}</errorCode><errorDescription>no</errorDescription>"
                "</UPnPError></detail></s:Fault>"
            )
        values = "".join(f"<{k}>{v}</{k}>" for k, v in self._do(action, arguments).items())
        kind = SERVICE.format(self.kind)
        return 200, self._envelope(
            f'<u:{action}Response xmlns:u="{kind}">{values}</u:{action}Response>'
        )

    def _envelope(self, content: str) -> str:
        return (
            '<?xml version="1.0"?>'
            '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
            's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/">'
            f"<s:Body>{content}</s:Body></s:Envelope>"
        )

    def _fault(self, action: str, arguments: dict[str, str]) -> int:
        if action == "AddPortMapping":
            if int(arguments["NewExternalPort"]) in self.taken:
                return 718
            if self.only_permanent and arguments["NewLeaseDuration"] != "0":
                return 725
        is_about_one = action in ("DeletePortMapping", "GetSpecificPortMappingEntry")
        return 714 if is_about_one and self._key(arguments) not in self.open else 0

    def _do(self, action: str, arguments: dict[str, str]) -> dict[str, str]:
        if action == "AddPortMapping":
            self.open[self._key(arguments)] = arguments
        elif action == "DeletePortMapping":
            del self.open[self._key(arguments)]
        elif action == "GetExternalIPAddress":
            return {"NewExternalIPAddress": self.external_host}
        else:
            names = ("InternalPort", "InternalClient", "Enabled", "PortMappingDescription")
            known = self.open[self._key(arguments)]
            return {f"New{name}": known[f"New{name}"] for name in (*names, "LeaseDuration")}
        return {}

    @staticmethod
    def _key(arguments: dict[str, str]) -> Key:
        return arguments["NewProtocol"], int(arguments["NewExternalPort"])

    # -- sockets ----------------------------------------------------------------------------

    async def handle(self, stream: anyio.abc.SocketStream) -> None:
        async with stream:
            with suppress(anyio.BrokenResourceError, anyio.EndOfStream, OSError):
                data = b""
                while b"\r\n\r\n" not in data:
                    data += await stream.receive()
                head, _, body = data.partition(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: *(\d+)", head)
                while length and len(body) < int(length[1]):
                    body += await stream.receive()
                await stream.send(self._answer(head.split()[1].decode(), body.decode()))

    def _answer(self, path: str, body: str) -> bytes:
        self.asked.append(path)
        pages = {"/device.xml": self.description, "/scpd.xml": self.scpd}
        status, text = (200, pages[path]()) if path in pages else self.soap(body)
        sent = self.rewrite(path, text.encode())
        return response(sent, status=status, Content_Type='text/xml; charset="utf-8"')

    def found(self, data: bytes) -> bytes | None:
        target = re.search(rb"(?m)^ST: (.*?)\r", data)
        if self.is_mute or target is None or not target[1].endswith(b"InternetGatewayDevice:1"):
            return None
        location = self.location or f"http://{self.host}:{self.port}/device.xml"
        lines = ("HTTP/1.1 200 OK", f"ST: {target[1].decode()}", f"LOCATION: {location}", "EXT:")
        return "\r\n".join((*lines, "", "")).encode()


@asynccontextmanager
async def serve_device(device: UpnpDevice) -> AsyncIterator[int]:
    """Answer searches on a UDP port of loopback, which is yielded, and requests over HTTP."""
    listener = await anyio.create_tcp_listener(local_host=device.host)
    device.port = listener.extra(anyio.abc.SocketAttribute.local_port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((device.host, 0))
        sock.setblocking(False)

        async def be_found() -> None:
            while True:
                await anyio.wait_readable(sock)
                data, address = sock.recvfrom(2048)
                if (answer := device.found(data)) is not None:
                    sock.sendto(answer, address)

        async with listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, device.handle)
            tasks.start_soon(be_found)
            yield int(sock.getsockname()[1])
            tasks.cancel_scope.cancel()
