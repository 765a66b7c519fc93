"""Options about connections with peers, of ``download``, ``seed``, ``run`` and ``metadata``.

Each can also be set by an environment variable.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click

from torrent_engine.base.config import (
    AddressClass,
    ClassRule,
    EncryptionConfig,
    EncryptionLevel,
    EncryptionPolicy,
    HolepunchConfig,
    IpFilterConfig,
    NetworkConfig,
    ProxyConfig,
    ProxyKind,
    UtpConfig,
)
from torrent_engine.cli.options.common import PREFIX
from torrent_engine.cli.options.network_values import (
    INTERFACE,
    IP_RANGE,
    PORT_RANGES,
    PROXY,
    PROXY_USE,
    values_of,
)
from torrent_engine.cli.output.exit_codes import CliError

TRANSPORTS: Final = ("tcp", "utp", "both")
_CLASSES: Final = (
    ("block_ip", ClassRule.BLOCKED),
    ("allow_ip", ClassRule.ALLOWED),
    ("unlimited_ip", ClassRule.UNLIMITED),
)


def _option(option: str, text: str, **settings: Any) -> Callable[[Any], Any]:  # noqa: ANN401
    """Return an option that can also be set by an environment variable."""
    name = option.removeprefix("--").replace("-", "_")
    variable = PREFIX + name.upper()
    return click.option(option, name, envvar=variable, show_envvar=True, help=text, **settings)


def _policy(option: str, text: str) -> Callable[[Any], Any]:
    return _option(option, text, type=values_of(tuple(EncryptionPolicy)), metavar="POLICY")


REACH_OPTIONS: Final = (
    _policy(
        "--encryption",
        "Encryption of peer connections: disabled, allowed, preferred or required."
        f"  [default: {EncryptionConfig().incoming}]",
    ),
    _policy(
        "--incoming-encryption",
        "The same, for incoming connections only.  [default: as --encryption]",
    ),
    _policy(
        "--outgoing-encryption",
        "The same, for outgoing connections only.  [default: as --encryption]",
    ),
    _option(
        "--encryption-level",
        "Encrypt everything (rc4) or only the handshake (plaintext)."
        f"  [default: {EncryptionConfig().level}]",
        type=values_of(tuple(EncryptionLevel)),
        metavar="LEVEL",
    ),
    _option(
        "--transport",
        "Transport of peer connections: tcp, utp or both.  [default: both]",
        type=values_of(TRANSPORTS),
        metavar="WHICH",
    ),
    _option("--no-holepunch", "Disable the holepunch extension (BEP 55).", is_flag=True),
    _option(
        "--proxy",
        "Proxy: socks5://, socks4:// or http://, then [USER:PASSWORD@]HOST:PORT. Other users of"
        " this machine can read command lines, but not environment variables.  [default: none]",
        type=PROXY,
        metavar="URL",
    ),
    _option(
        "--proxy-for",
        "Traffic that uses the proxy: some of peers,trackers,web-seeds.  [default: all]",
        type=PROXY_USE,
        metavar="LIST",
    ),
    _option(
        "--require-proxy",
        "Never bypass the proxy: disable what it does not support.",
        is_flag=True,
    ),
    _option(
        "--interface",
        "Network interface, or local address, that all traffic uses.  [default: any]",
        type=INTERFACE,
        metavar="NAME",
    ),
    _option("--anonymous", "Hide which client this is from peers and trackers.", is_flag=True),
)

FILTER_OPTIONS: Final = (
    _option(
        "--ip-filter",
        "Blocklist of addresses in P2P, DAT or CIDR format, optionally gzipped; may be repeated."
        " `run` reloads it on SIGHUP.",
        type=click.Path(dir_okay=False, path_type=Path),
        multiple=True,
        metavar="FILE",
    ),
    _option(
        "--block-ip",
        "Block these addresses: ADDRESS, ADDRESS/LENGTH or FIRST-LAST; may be repeated.",
        type=IP_RANGE,
        multiple=True,
        metavar="RANGE",
    ),
    _option(
        "--allow-ip",
        "Allow these addresses even if they are blocked otherwise; may be repeated.",
        type=IP_RANGE,
        multiple=True,
        metavar="RANGE",
    ),
    _option(
        "--unlimited-ip",
        "Exempt these addresses from rate limits; may be repeated.",
        type=IP_RANGE,
        multiple=True,
        metavar="RANGE",
    ),
    _option(
        "--block-ports",
        "Do not connect to peers at these ports, such as 1-1023,6881.  [default: none]",
        type=PORT_RANGES,
        default=(),
        metavar="PORTS",
    ),
    _option("--always-allow-local", "Never block peers of the local network.", is_flag=True),
)


def network_config(options: Mapping[str, Any]) -> NetworkConfig:
    """Return the network configuration. Raises CliError for options that contradict each other."""
    transport = options["transport"] or "both"
    utp = transport != "tcp"
    config = NetworkConfig(
        tcp=transport != "utp",
        encryption=_encryption(options),
        utp=UtpConfig(incoming=utp, outgoing=utp),
        holepunch=HolepunchConfig(enabled=not options["no_holepunch"]),
        proxy=_proxy(options),
        interface=options["interface"],
        anonymous=options["anonymous"],
        ip_filter=_ip_filter(options),
    )
    _check_utp_only(config)
    return config


def _check_utp_only(config: NetworkConfig) -> None:
    proxy = config.proxy
    if not config.tcp and proxy and proxy.for_peers and proxy.kind is not ProxyKind.SOCKS5:
        raise CliError("--transport utp: of proxies only those of SOCKS5 can carry it")


def _encryption(options: Mapping[str, Any]) -> EncryptionConfig:
    default = EncryptionConfig()
    both = options["encryption"]
    return EncryptionConfig(
        incoming=EncryptionPolicy(options["incoming_encryption"] or both or default.incoming),
        outgoing=EncryptionPolicy(options["outgoing_encryption"] or both or default.outgoing),
        level=EncryptionLevel(options["encryption_level"] or default.level),
    )


def _proxy(options: Mapping[str, Any]) -> ProxyConfig | None:
    proxy: ProxyConfig | None = options["proxy"]
    uses: frozenset[str] | None = options["proxy_for"]
    if proxy is None:
        for option in ("proxy_for", "require_proxy"):
            if options[option]:
                raise CliError(f"--{option.replace('_', '-')} needs --proxy")
        return None
    if uses is None:
        return replace(proxy, required=options["require_proxy"])
    return replace(
        proxy,
        for_peers="peers" in uses,
        for_trackers="trackers" in uses,
        for_web_seeds="web-seeds" in uses,
        required=options["require_proxy"],
    )


def _ip_filter(options: Mapping[str, Any]) -> IpFilterConfig:
    return IpFilterConfig(
        paths=tuple(str(path) for path in options["ip_filter"]),
        classes=tuple(
            AddressClass(f"--{name.replace('_', '-')}", rule, tuple(options[name]))
            for name, rule in _CLASSES
            if options[name]
        ),
        blocked_ports=options["block_ports"],
        always_allow_local=options["always_allow_local"],
    )
