"""How peers are found: options of download, seed and metadata, and their variables."""

from pathlib import Path

import click
import pytest

from tests.cli.test_mistakes import invoke
from torrent_engine.base.config import DhtConfig, PoolConfig, SharedConfig
from torrent_engine.cli.commands import download, metadata, seed
from torrent_engine.cli.output.exit_codes import ExitCode
from torrent_engine.cli.tasks.transfers import shared_config

SWITCHES = ("dht", "pex", "lsd", "web_seed")


def config_of(*arguments: str, command: click.Command = download.command) -> SharedConfig:
    with command.make_context("test", ["x.torrent", *arguments]) as context:
        return shared_config(context.params)


def enabled(config: SharedConfig) -> set[str]:
    return {name for name in SWITCHES if getattr(config, name).enabled}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "NO_DHT",
        "NO_PEX",
        "NO_LSD",
        "NO_WEB_SEEDS",
        "ALLOW_LOCAL_WEB_SEEDS",
        "DHT_BOOTSTRAP",
        "NO_PORT_MAPPING",
    ):
        monkeypatch.delenv(f"TORRENT_ENGINE_{name}", raising=False)


@pytest.mark.parametrize("command", [download.command, seed.command], ids=["download", "seed"])
def test_every_way_to_find_peers_is_open_unless_told_otherwise(command: click.Command) -> None:
    config = config_of(command=command)
    assert enabled(config) == set(SWITCHES)
    assert config.dht.bootstrap == DhtConfig().bootstrap


@pytest.mark.parametrize("name", SWITCHES)
def test_each_way_can_be_closed_by_an_option(name: str) -> None:
    option = {"web_seed": "--no-web-seeds"}.get(name, f"--no-{name}")
    assert enabled(config_of(option)) == set(SWITCHES) - {name}


@pytest.mark.parametrize("name", SWITCHES)
def test_each_way_can_be_closed_by_a_variable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variable = {"web_seed": "NO_WEB_SEEDS"}.get(name, f"NO_{name.upper()}")
    monkeypatch.setenv(f"TORRENT_ENGINE_{variable}", "1")
    assert enabled(config_of()) == set(SWITCHES) - {name}


def test_a_variable_of_0_closes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORRENT_ENGINE_NO_DHT", "0")
    assert enabled(config_of()) == set(SWITCHES)


def test_d1_local_web_seeds_are_asked_only_when_the_user_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not config_of().web_seed.allow_local
    assert config_of("--allow-local-web-seeds").web_seed.allow_local
    monkeypatch.setenv("TORRENT_ENGINE_ALLOW_LOCAL_WEB_SEEDS", "1")
    assert config_of().web_seed.allow_local


def test_the_router_is_asked_for_a_port_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert config_of().port_mapping.enabled
    assert config_of("--listen", "127.0.0.1", "--listen", "10.0.0.1").port_mapping.enabled
    assert not config_of("--listen", "127.0.0.1", "--listen", "::1").port_mapping.enabled
    assert not config_of("--no-port-mapping").port_mapping.enabled
    monkeypatch.setenv("TORRENT_ENGINE_NO_PORT_MAPPING", "1")
    assert not config_of().port_mapping.enabled


def test_metadata_asks_no_router_for_a_port() -> None:
    assert not config_of(command=metadata.command).port_mapping.enabled


def test_limits_over_all_torrents() -> None:
    config = config_of()
    assert config.pool.max_connections == PoolConfig().max_connections
    assert config.bandwidth.limit_local_network
    limits = ["--max-connections", "30", "--unlimited-local-network", "--max-upload-limit", "1M"]
    config = config_of(*limits)
    assert config.pool.max_connections == 30
    assert not config.bandwidth.limit_local_network
    assert config.max_upload_bytes_per_s == 1 << 20


@pytest.mark.parametrize("value", ["-1", "x", "1000001", "1.5", ""])
def test_a_number_of_connections_is_a_number(value: str) -> None:
    result = invoke("download", "x", "--max-connections", value)
    assert result.exit_code == ExitCode.BAD_OPTION
    assert "a whole number from 0 to 1,000,000 is needed" in result.stderr


def test_bep5_routers_replace_the_default_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = (("10.0.0.1", 6881), ("2001:db8::1", 7000), ("router.example", 1))
    arguments = ["--dht-bootstrap=10.0.0.1:6881", "--dht-bootstrap=[2001:db8::1]:7000"]
    config = config_of(*arguments, "--dht-bootstrap=router.example:1")
    assert config.dht.bootstrap == ours
    monkeypatch.setenv("TORRENT_ENGINE_DHT_BOOTSTRAP", "10.0.0.1:6881 [2001:db8::1]:7000")
    assert config_of().dht.bootstrap == ours[:2]


@pytest.mark.parametrize("value", ["host", "host:0", "::1:80", "h:x"])
def test_bep5_a_router_without_a_port_is_a_mistake(value: str, tmp_path: Path) -> None:
    result = invoke("download", tmp_path / "x", "--dht-bootstrap", value)
    assert result.exit_code == ExitCode.BAD_OPTION
    assert "--dht-bootstrap" in result.stderr
