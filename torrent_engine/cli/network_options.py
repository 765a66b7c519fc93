"""Options of how peers are reached, of ``download``, ``seed``, ``run`` and ``metadata``.

Each can be set by a variable of the environment as well, for all runs of a shell.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click

from torrent_engine.base.network_config import (
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
from torrent_engine.cli.exit_codes import CliError
from torrent_engine.cli.network_values import (
    INTERFACE,
    IP_RANGE,
    PORT_RANGES,
    PROXY,
    PROXY_USE,
    values_of,
)
from torrent_engine.cli.options import PREFIX

TRANSPORTS: Final = ("tcp", "utp", "both")
_CLASSES: Final = (
    ("block_ip", ClassRule.BLOCKED),
    ("allow_ip", ClassRule.ALLOWED),
    ("unlimited_ip", ClassRule.UNLIMITED),
)


def _option(option: str, text: str, **settings: Any) -> Callable[[Any], Any]:  # noqa: ANN401
    """Return an option that a variable of the environment sets as well."""
    name = option.removeprefix("--").replace("-", "_")
    variable = PREFIX + name.upper()
    return click.option(option, name, envvar=variable, show_envvar=True, help=text, **settings)


def _policy(option: str, text: str) -> Callable[[Any], Any]:
    return _option(option, text, type=values_of(tuple(EncryptionPolicy)), metavar="POLICY")


REACH_OPTIONS: Final = (
    _policy(
        "--encryption",
        "Encrypted links: disabled, allowed, preferred or required."
        f"  [default: {EncryptionConfig().incoming}]",
    ),
    _policy("--incoming-encryption", "The same of links that others begin only."),
    _policy("--outgoing-encryption", "The same of links that we begin only."),
    _option(
        "--encryption-level",
        "What is encrypted: everything (rc4), or the handshake only (plaintext)."
        f"  [default: {EncryptionConfig().level}]",
        type=values_of(tuple(EncryptionLevel)),
        metavar="LEVEL",
    ),
    _option(
        "--transport",
        "What carries links with peers: tcp, utp or both.  [default: both]",
        type=values_of(TRANSPORTS),
        metavar="WHICH",
    ),
    _option("--no-holepunch", "Do not meet peers behind routers through a third.", is_flag=True),
    _option(
        "--proxy",
        "Send traffic through a proxy: socks5://, socks4:// or http://, then"
        " [USER:PASSWORD@]HOST:PORT. Others on this machine can read what stands in a command"
        " line; the variable is private.",
        type=PROXY,
        metavar="URL",
    ),
    _option(
        "--proxy-for",
        "What goes through it: some of peers,trackers,web-seeds.  [default: all]",
        type=PROXY_USE,
        metavar="LIST",
    ),
    _option(
        "--require-proxy",
        "Nothing goes around the proxy: what it cannot carry is switched off.",
        is_flag=True,
    ),
    _option(
        "--interface",
        "Network interface, or an address of ours, that all traffic keeps to.",
        type=INTERFACE,
        metavar="NAME",
    ),
    _option("--anonymous", "Say nothing that tells this program from others.", is_flag=True),
)

FILTER_OPTIONS: Final = (
    _option(
        "--ip-filter",
        "List of addresses that are kept out: P2P, DAT or CIDR, gzipped or not; may be repeated."
        " SIGHUP has `run` read it again.",
        type=click.Path(dir_okay=False, path_type=Path),
        multiple=True,
        metavar="FILE",
    ),
    _option(
        "--block-ip",
        "Keep these addresses out: ADDRESS, ADDRESS/LENGTH or FIRST-LAST; may be repeated.",
        type=IP_RANGE,
        multiple=True,
        metavar="RANGE",
    ),
    _option(
        "--allow-ip",
        "Let these in whatever else is kept out; may be repeated.",
        type=IP_RANGE,
        multiple=True,
        metavar="RANGE",
    ),
    _option(
        "--unlimited-ip",
        "The limits of rates are not for these; may be repeated.",
        type=IP_RANGE,
        multiple=True,
        metavar="RANGE",
    ),
    _option(
        "--block-ports",
        "Dial no peer at these ports, such as 1-1023,6881.",
        type=PORT_RANGES,
        default=(),
        metavar="PORTS",
    ),
    _option(
        "--always-allow-local", "Let peers of the own network in, listed or not.", is_flag=True
    ),
)


def network_config(options: Mapping[str, Any]) -> NetworkConfig:
    """Return how peers are reached. Raises CliError for options that contradict each other."""
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
        always_allows_local=options["always_allow_local"],
    )
