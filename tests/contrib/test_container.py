"""The container: its build steps, and its start as far as this machine can do without an engine."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "contrib" / "container"
ENTRYPOINT = FOLDER / "entrypoint.py"


@pytest.fixture
def entry(tmp_path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("container_entrypoint", ENTRYPOINT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def containerfile() -> str:
    return (FOLDER / "Containerfile").read_text()


def test_the_build_copies_what_is_there_and_what_the_wheel_needs() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", containerfile(), re.MULTILINE)
    names = [name for line in copied for name in line.split()]
    assert all((ROOT / name).exists() for name in names)
    assert {"pyproject.toml", "README.md", "LICENSE", "torrent_engine", "share"} <= set(names)


def test_the_image_follows_the_habits_of_others() -> None:
    text = containerfile()
    assert 'VOLUME ["/config", "/downloads", "/watch"]' in text
    assert "EXPOSE 9091 6881/tcp 6881/udp" in text
    assert "PUID=1000 PGID=1000 UMASK=022 TZ=" in text
    assert "USER " not in text  # it is given up by the entry point, or by --user
    assert re.search(r"^HEALTHCHECK .*\\\n +CMD \[", text, re.MULTILINE)


def test_variables_of_other_images_become_settings(entry: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a password\n")
    values = entry.daemon_environment(
        {
            "USER": "me",
            "FILE__PASS": str(tmp_path / "secret"),
            "PEERPORT": "51413",
            "WHITELIST": "127.0.0.1, 192.168.1.*,10.*.*.*",
            "HOST_WHITELIST": "nas.example",
            "TRANSMISSION_WEB_HOME": "/web",
            "TZ": "Europe/Berlin",
            "HOME": "/root",
            "TORRENT_ENGINE_LISTEN__ADDRESS": "0.0.0.0:80",
        }
    )
    assert values == {
        "TORRENT_ENGINE_STATE_DIR": "/config/state",
        "TORRENT_ENGINE_DAEMON_CONFIG": "/config/daemon.toml",
        "TORRENT_ENGINE_LISTEN__ADDRESS": "0.0.0.0:80",
        "TORRENT_ENGINE_LISTEN__ALLOW_PLAIN_HTTP": "true",
        "TORRENT_ENGINE_AUTH__USER": "me",
        "TORRENT_ENGINE_AUTH__PASSWORD": "a password",
        "TORRENT_ENGINE_NETWORK__PORT": "51413",
        "TORRENT_ENGINE_LISTEN__HOSTS": "nas.example",
        "TORRENT_ENGINE_LISTEN__ALLOW_FROM": "127.0.0.1,192.168.1.0/24,10.0.0.0/8",
        "TORRENT_ENGINE_TRANSMISSION__WEB_ROOT": "/web",
        "XDG_DOWNLOAD_DIR": "/downloads",
        "TZ": "Europe/Berlin",
        "HOME": "/config",
    }


def test_the_daemon_understands_these_settings(entry: ModuleType, tmp_path: Path) -> None:
    from torrent_engine.daemon.settings.loading import Places, load

    entry.write_first_configuration(tmp_path, tmp_path / "watch")
    names = {"PASS": "x", "PEERPORT": "1", "WHITELIST": "1.2.3.*", "HOST_WHITELIST": "a"}
    environment = entry.daemon_environment(names, tmp_path, tmp_path)
    merged = load(Places(environment))
    assert (merged.settings.network.port, merged.settings.listen.allow_plain_http) == (1, True)
    assert merged.settings.listen.allow_from == ("1.2.3.0/24",)
    assert [each.folder for each in merged.tables.watch] == [str(tmp_path / "watch")]


def test_a_configuration_that_is_there_stays(entry: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "daemon.toml").write_text("# mine\n")
    entry.write_first_configuration(tmp_path)
    assert (tmp_path / "daemon.toml").read_text() == "# mine\n"


def test_a_number_that_is_none_ends_the_start(entry: ModuleType) -> None:
    assert entry.number({"UMASK": "027"}, "UMASK", 0, 8) == 0o27
    with pytest.raises(SystemExit, match="PUID='me' is no number"):
        entry.number({"PUID": "me"}, "PUID", 1)


def test_a_daemon_that_does_not_answer_is_unhealthy(entry: ModuleType, tmp_path: Path) -> None:
    assert entry.check_health(tmp_path / "daemon.sock") == 1


def test_health_is_asked_at_the_socket_that_the_daemon_has(entry: ModuleType) -> None:
    path = entry.socket_path
    assert path({}) == path({"TORRENT_ENGINE_LISTEN__SOCKET": "auto"})
    assert path({}) == Path("/config/state/daemon.sock")
    assert path({"TORRENT_ENGINE_STATE_DIR": "/state"}) == Path("/state/daemon.sock")
    assert path({"TORRENT_ENGINE_LISTEN__SOCKET": "/run/te.sock"}) == Path("/run/te.sock")


def test_starting_container_is_no_unhealthy_one() -> None:
    found = re.search(r"--start-period=(\d+)s", containerfile())
    assert found is not None
    assert int(found[1]) >= 900  # the first good answer ends it


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Return a folder that looks like the image, made of the programs of this machine."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root can make one")
    root = tmp_path / "image"
    for name in ("config", "downloads", "watch", "tmp", "proc", "dev"):
        (root / name).mkdir(parents=True)
        (root / name).chmod(0o777)
    mount = ["unshare", "-m", "mount", "-t", "tmpfs", "x", str(root / "tmp")]
    probe = subprocess.run(mount, check=False)
    if probe.returncode:
        pytest.skip("this machine does not let us mount")
    return root


def mounts(root: Path) -> str:
    """Return the commands that fill the image: everything read-only but its volumes."""
    prefix = Path(sys.base_prefix)
    wanted = ["/usr", "/lib", "/lib64", "/bin", "/etc", str(prefix), str(ROOT), sys.prefix]
    lines = []
    for source in dict.fromkeys(wanted):
        if Path(source).exists():
            target = f"{root}{source}"
            lines.append(f"mkdir -p {target} && mount --bind -o ro {source} {target}")
    lines += [f"mount -t proc proc {root}/proc", f"mount --rbind /dev {root}/dev"]
    return " && ".join(lines)


def test_the_container_starts_as_another_user_and_answers(
    entry: ModuleType, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    environment = {
        "PATH": f"{sys.prefix}/bin:/usr/sbin:/usr/bin:/bin",
        "PUID": "12345",
        "PGID": "12346",
        "UMASK": "027",
        "TORRENT_ENGINE_LISTEN__ADDRESS": f"127.0.0.1:{port}",
        "TORRENT_ENGINE_NETWORK__LOOPBACK_ONLY": "true",
        "TORRENT_ENGINE_NETWORK__PORT": "0",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    start = f"exec chroot {image} {sys.prefix}/bin/python {ENTRYPOINT}"
    process = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", f"{mounts(image)} && {start}"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    limit = threading.Timer(100.0, os.killpg, (process.pid, signal.SIGKILL))
    limit.start()
    try:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "listening on http" in line:
                break
        assert any(line.startswith("token: ") for line in lines), lines
        monkeypatch.chdir(image / "config" / "state")  # names of sockets are short
        while entry.check_health(Path("daemon.sock")):  # 503 while the engine is opened
            time.sleep(0.05)
        state = (image / "config" / "state").stat()
        assert (state.st_uid, state.st_gid) == (12345, 12346)
        assert 'folder = "/watch"' in (image / "config" / "daemon.toml").read_text()
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        errors = process.communicate()[1]
        limit.cancel()
    assert process.returncode == 0, errors


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
