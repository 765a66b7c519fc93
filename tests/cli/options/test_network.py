"""How peers are reached: options of download, seed, run and metadata, and their variables."""

from contextlib import suppress
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.test_mistakes import invoke
from torrent_engine.base.config import (
    AddressClass,
    ClassRule,
    EncryptionLevel,
    EncryptionPolicy,
    IpFilterConfig,
    NetworkConfig,
    ProxyConfig,
    ProxyKind,
)
from torrent_engine.cli.commands import download, metadata, run, seed
from torrent_engine.cli.options.common import PREFIX
from torrent_engine.cli.options.network import FILTER_OPTIONS, REACH_OPTIONS
from torrent_engine.cli.options.network_values import (
    parse_ip_range,
    parse_port_ranges,
    parse_proxy,
    parse_proxy_uses,
)
from torrent_engine.cli.output.exit_codes import CliError, ExitCode
from torrent_engine.cli.tasks.transfers import named_peers, shared_config

COMMANDS = {each.name: each for each in (download.command, seed.command, metadata.command)}
P = EncryptionPolicy
PROXY = "socks5://proxy.example:1080"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for option in options_of(download.command):
        monkeypatch.delenv(str(option.envvar), raising=False)


def options_of(command: click.Command) -> list[click.Option]:
    params = [each for each in command.params if isinstance(each, click.Option)]
    return [each for each in params if str(each.envvar).startswith(PREFIX)]


def config_of(*arguments: str, command: click.Command = download.command) -> NetworkConfig:
    with command.make_context("test", ["x.torrent", *arguments]) as context:
        return shared_config(context.params).network


# -- what each option says ----------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_without_options_all_is_as_the_configuration_says(command: click.Command) -> None:
    assert config_of(command=command) == NetworkConfig()


def test_run_takes_them_too() -> None:
    with run.command.make_context("run", ["--encryption", "required"]) as context:
        config = run.manager_config(context.params).shared.network
    assert config.encryption.incoming is P.REQUIRED


def test_all_commands_have_all_of_them() -> None:
    count = len(REACH_OPTIONS) + len(FILTER_OPTIONS)
    names = [{each.name for each in options_of(command)} for command in COMMANDS.values()]
    names.append({each.name for each in options_of(run.command)})
    expected = {f"--{name}".replace("_", "-")[2:].replace("-", "_") for name in _names()}
    assert len(expected) == count
    assert all(expected <= each for each in names)


def _names() -> set[str]:
    @click.command
    def empty() -> None: ...

    for decorate in (*REACH_OPTIONS, *FILTER_OPTIONS):
        decorate(empty)
    return {str(each.name) for each in empty.params}


@pytest.mark.parametrize(
    ("arguments", "incoming", "outgoing"),
    [
        (["--encryption=required"], P.REQUIRED, P.REQUIRED),
        (["--encryption=DISABLED"], P.DISABLED, P.DISABLED),
        (["--incoming-encryption=preferred"], P.PREFERRED, P.ALLOWED),
        (["--outgoing-encryption=required"], P.ALLOWED, P.REQUIRED),
        (["--outgoing-encryption=allowed", "--encryption=required"], P.REQUIRED, P.ALLOWED),
    ],
)
def test_encryption_of_each_direction(
    arguments: list[str], incoming: EncryptionPolicy, outgoing: EncryptionPolicy
) -> None:
    encryption = config_of(*arguments).encryption
    assert (encryption.incoming, encryption.outgoing) == (incoming, outgoing)


@pytest.mark.parametrize("level", list(EncryptionLevel))
def test_level_of_encryption(level: EncryptionLevel) -> None:
    assert config_of("--encryption-level", level).encryption.level is level


@pytest.mark.parametrize(
    ("transport", "tcp", "utp"), [("tcp", True, False), ("utp", False, True), ("both", True, True)]
)
def test_transport(transport: str, tcp: bool, utp: bool) -> None:
    config = config_of("--transport", transport)
    assert (config.tcp, config.utp.incoming, config.utp.outgoing) == (tcp, utp, utp)


def test_switches() -> None:
    config = config_of("--no-holepunch", "--anonymous", "--interface", "tun0")
    assert not config.holepunch.enabled
    assert config.anonymous
    assert config.interface == "tun0"


def test_proxy_and_what_goes_through_it() -> None:
    assert config_of("--proxy", PROXY).proxy == ProxyConfig(ProxyKind.SOCKS5, "proxy.example", 1080)
    some = config_of("--proxy", PROXY, "--proxy-for", "Trackers, web-seeds").proxy
    assert some is not None
    assert (some.for_peers, some.for_trackers, some.for_web_seeds) == (False, True, True)
    required = config_of("--proxy", PROXY, "--require-proxy").proxy
    assert required is not None
    assert required.required


def test_ip_filter() -> None:
    arguments = ["--ip-filter=a.p2p", "--ip-filter=b.dat.gz", "--block-ip=1.2.3.0/24"]
    arguments += [
        "--block-ip=2001:db8::/32",
        "--allow-ip=1.2.3.4",
        "--unlimited-ip=9.0.0.0-9.0.0.9",
    ]
    arguments += ["--block-ports=1-1023,6881", "--always-allow-local"]
    blocked = AddressClass("--block-ip", ClassRule.BLOCKED, ("1.2.3.0/24", "2001:db8::/32"))
    assert config_of(*arguments).ip_filter == IpFilterConfig(
        paths=("a.p2p", "b.dat.gz"),
        classes=(
            blocked,
            AddressClass("--allow-ip", ClassRule.ALLOWED, ("1.2.3.4",)),
            AddressClass("--unlimited-ip", ClassRule.UNLIMITED, ("9.0.0.0-9.0.0.9",)),
        ),
        blocked_ports=((1, 1023), (6881, 6881)),
        always_allow_local=True,
    )


VALUES = {
    "ENCRYPTION": "required",
    "INCOMING_ENCRYPTION": "disabled",
    "OUTGOING_ENCRYPTION": "required",
    "ENCRYPTION_LEVEL": "rc4",
    "TRANSPORT": "utp",
    "NO_HOLEPUNCH": "1",
    "PROXY": "http://u:p@proxy.example:8080",
    "INTERFACE": "192.0.2.7",
    "ANONYMOUS": "1",
    "IP_FILTER": "a.p2p",
    "BLOCK_IP": "1.2.3.4 5.6.7.8",
    "ALLOW_IP": "::1",
    "UNLIMITED_IP": "10.0.0.0/8",
    "BLOCK_PORTS": "80",
    "ALWAYS_ALLOW_LOCAL": "1",
}


@pytest.mark.parametrize("name", [name for name in VALUES if name != "TRANSPORT"])
def test_each_can_be_set_by_a_variable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}{name}", VALUES[name])
    assert config_of() != NetworkConfig()


def test_the_transport_and_the_use_of_a_proxy_can_be_set_by_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"TRANSPORT": "utp", "PROXY": PROXY, "PROXY_FOR": "peers"}.items():
        monkeypatch.setenv(f"{PREFIX}{name}", value)
    monkeypatch.setenv(f"{PREFIX}REQUIRE_PROXY", "1")
    config = config_of()
    assert config.proxy == ProxyConfig(
        ProxyKind.SOCKS5,
        "proxy.example",
        1080,
        for_trackers=False,
        for_web_seeds=False,
        required=True,
    )
    assert not config.tcp


# -- mistakes -----------------------------------------------------------------------------

CHOICES = "is not one of"
FORM = "a proxy is KIND://[USER:PASSWORD@]HOST:PORT"
MISTAKES: dict[str, tuple[list[str], str]] = {
    "encryption": (["--encryption", "maybe"], CHOICES),
    "incoming_encryption": (["--incoming-encryption", ""], CHOICES),
    "level": (["--encryption-level", "aes"], CHOICES),
    "transport": (["--transport", "udp"], CHOICES),
    "proxy_kind": (["--proxy", "ftp://h:1"], "of kind socks5, socks4 or http"),
    "proxy_no_kind": (["--proxy", "h:1080"], FORM),
    "proxy_no_port": (["--proxy", "socks5://host"], FORM),
    "proxy_port_0": (["--proxy", "socks5://host:0"], FORM),
    "proxy_port_large": (["--proxy", "socks5://host:65536"], FORM),
    "proxy_no_host": (["--proxy", "socks5://:1080"], FORM),
    "proxy_ipv6_bare": (["--proxy", "socks5://::1:1080"], FORM),
    "proxy_path": (["--proxy", "http://host:8080/path"], FORM),
    "proxy_query": (["--proxy", "http://host:8080?x"], FORM),
    "proxy_bad_brackets": (["--proxy", "http://[::1:8080"], FORM),
    "proxy_socks4_password": (["--proxy", "socks4://u:p@h:1"], "SOCKS4 knows users, and no pass"),
    "proxy_use": (["--proxy", PROXY, "--proxy-for", "dht"], "some of peers, trackers, web-seeds"),
    "proxy_no_use": (["--proxy", PROXY, "--proxy-for", ""], "some of peers, trackers, web-seeds"),
    "use_of_no_proxy": (["--proxy-for", "peers"], "--proxy-for needs --proxy"),
    "no_proxy_required": (["--require-proxy"], "--require-proxy needs --proxy"),
    "utp_through_http": (
        ["--transport", "utp", "--proxy", "http://h:1"],
        "--transport utp: of proxies only those of SOCKS5 can carry it",
    ),
    "name_with_required_proxy": (
        ["--proxy", PROXY, "--require-proxy", "--peer", "host.example:1"],
        "--peer host.example:1: with --require-proxy no name is looked up here",
    ),
    "interface": (["--interface", "a b"], "the name of an interface"),
    "block_ip": (["--block-ip", "1.2.3"], "a range is ADDRESS, ADDRESS/LENGTH or FIRST-LAST"),
    "allow_ip": (["--allow-ip", "host"], "a range is ADDRESS"),
    "unlimited_ip": (["--unlimited-ip", "1.2.3.9-1.2.3.1"], "a range is ADDRESS"),
    "ports_words": (["--block-ports", "http"], "a port is a number"),
    "ports_0": (["--block-ports", "0-9"], "ports are numbers and ranges such as 1-1023,6881"),
    "ports_down": (["--block-ports", "9-1"], "ports are numbers and ranges"),
    "ports_empty": (["--block-ports", "1,"], "a port is a number"),
    "ip_filter_folder": (["--ip-filter", "."], "is a directory"),
}
HERE = ["--listen", "127.0.0.1", "--port", "0", "--state-dir", "state"]
LINK = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES)
@pytest.mark.parametrize("command", ["download", "metadata"])
def test_a_mistake_is_one_line_and_its_exit_code(
    command: str,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke(command, LINK, *arguments, *HERE)
    assert result.exit_code == ExitCode.BAD_OPTION
    assert result.stderr.count("\n") == 1
    assert message in result.stderr


@pytest.mark.parametrize(
    "url",
    [
        "socks5://me:hunter2@host",
        "http://me:hunter2\u2100@host:x",
        "ftp://me:hunter2@host:1",
        "http://me:hunter2@host:1/x",
    ],
)
def test_no_password_is_repeated_in_an_error(url: str) -> None:
    result = invoke("download", "x", "--proxy", url)
    assert result.exit_code == ExitCode.BAD_OPTION
    assert "hunter2" not in result.output


def test_a_list_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("download", LINK, "--ip-filter", "none.p2p", *HERE)
    assert result.exit_code == ExitCode.NOT_FOUND
    assert "none.p2p: no such file or directory" in result.stderr
    assert "Traceback" not in result.stderr


# -- values -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("socks5://h:1", ProxyConfig(ProxyKind.SOCKS5, "h", 1)),
        ("SOCKS5H://h:1/", ProxyConfig(ProxyKind.SOCKS5, "h", 1)),
        ("socks4a://me@h:1", ProxyConfig(ProxyKind.SOCKS4, "h", 1, username="me")),
        ("http://[::1]:3128", ProxyConfig(ProxyKind.HTTP, "::1", 3128)),
        (
            "socks5://a%40b:p%3A%2Fw:x@h:1",
            ProxyConfig(ProxyKind.SOCKS5, "h", 1, username="a@b", password="p:/w:x"),
        ),
    ],
)
def test_proxies_that_are_read(url: str, expected: ProxyConfig) -> None:
    assert parse_proxy(url) == expected


@given(st.text(max_size=40) | st.text(max_size=30).map(lambda rest: f"socks5://{rest}"))
def test_the_parsers_raise_nothing_but_value_errors(text: str) -> None:
    for parse in (parse_proxy, parse_proxy_uses, parse_port_ranges, parse_ip_range):
        with suppress(ValueError):
            assert parse(text) is not None


def test_literal_peers_are_fine_with_a_required_proxy() -> None:
    peers = download.command.make_context(
        "test", ["x", "--proxy", PROXY, "--require-proxy", "--peer", "192.0.2.1:6881"]
    )
    assert [str(peer) for peer in named_peers(peers.params)] == ["192.0.2.1:6881"]
    named = download.command.make_context(
        "test", ["x", "--proxy", PROXY, "--require-proxy", "--peer", "name.example:1"]
    )
    with pytest.raises(CliError, match="no name is looked up here"):
        named_peers(named.params)
