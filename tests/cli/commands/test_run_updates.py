"""``run`` as a process that follows a public key (BEP 46): it moves to what is published."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.dht_client import EngineNode, ask_engine
from tests.support.engine_client import DISCOVERY, EngineProcess, EngineSeed, format_peer
from tests.support.netns import LOOPBACK
from tests.support.payload import Payload, make_payload
from tests.support.processes import free_port, wait_until
from torrent_engine.cli.main import cli
from torrent_engine.cli.output.exit_codes import ExitCode

HERE = "127.0.0.1"
PATIENCE_S = 180.0
QUIET = ("--no-lsd", "--no-port-mapping", "--listen", HERE)


def publish(node: EngineNode, payload: Payload, key: Path) -> str:
    """Publish a torrent by the command line; return the link."""
    words = ("publish", str(payload.torrent), "--key-file", str(key), "--once")
    told = ask_engine(LOOPBACK, *words, by=[node.address], address=HERE)
    assert told["code"] == 0, told
    return str(told["link"])


def test_bep46_run_moves_to_the_version_that_is_published(tmp_path: Path) -> None:
    first = make_payload(tmp_path / "1", "news-1", {"page": 100_000, "old": 1_000})
    second = make_payload(tmp_path / "2", "news-2", {"page": 120_000, "new": 1_000})
    port, saved = free_port(), tmp_path / "saved"
    with (
        EngineNode(LOOPBACK, tmp_path / "node") as node,
        seeding(tmp_path, first) as one,
        seeding(tmp_path, second) as other,
    ):
        link = publish(node, first, tmp_path / "key")
        words = [link, "--json", "--dir", str(saved), "--port", str(port), *QUIET]
        words += ["--dht-bootstrap", format_peer(node.address), "--update-interval", "1s"]
        words += [word for seed in (one, other) for word in ("--peer", f"{HERE}:{seed.port}")]
        with EngineProcess(
            LOOPBACK, tmp_path / "run", "run", words, name="run", variables=DISCOVERY
        ) as run:
            wait_complete(first, saved, run)
            assert publish(node, second, tmp_path / "key") == link
            wait_complete(second, saved, run)
            wait_until(
                lambda: listed(tmp_path) == [second.info_hash.hex()],
                timeout_s=PATIENCE_S,
                what="the newer version is the only one",
            )
    assert first.is_complete_in(saved), "what only the older one had stays"


@pytest.mark.parametrize("text", ["0", "999ms", "0.9s", "-1s", "often"])
def test_an_interval_of_less_than_a_second_is_refused(text: str) -> None:
    refused = CliRunner().invoke(cli, ["run", f"--update-interval={text}"])
    assert refused.exit_code == ExitCode.BAD_OPTION
    assert "--update-interval" in refused.stderr


class Seeding(EngineSeed):
    """A seed of one torrent, and its port."""

    port = 0


def seeding(folder: Path, payload: Payload) -> Seeding:
    port = free_port()
    seed = Seeding(
        LOOPBACK, folder / payload.torrent.stem, [payload], port=port, extra=[*QUIET, "--no-dht"]
    )
    seed.port = port
    return seed


def wait_complete(payload: Payload, saved: Path, run: EngineProcess) -> None:
    def is_there() -> bool:
        assert run.alive, run.output()[-3000:]
        return payload.is_complete_in(saved)

    wait_until(is_there, timeout_s=PATIENCE_S, what=f"{payload.torrent.stem} is there")


def listed(folder: Path) -> list[str]:
    """Return the info-hashes of the torrents that ``run`` has."""
    argv = [sys.executable, "-m", "torrent_engine", "list", "--json"]
    argv += ["--state-dir", str(folder / "run" / "state")]
    done = subprocess.run(argv, capture_output=True, check=True, timeout=PATIENCE_S)
    return [json.loads(line)["info_hash"] for line in done.stdout.splitlines()]
