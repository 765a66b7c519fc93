"""The daemon as a process: start, signals, stop, one process a state folder, systemd, TLS."""

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from tests.support import slow_http as http
from tests.support.own_daemon import OwnDaemon, command
from tests.support.processes import accepts_at, free_port, wait_until

BASIC_EXIT = {"bad_option": 28, "in_use": 12, "network": 6, "unfinished": 7}


def test_first_start_prints_address_and_token_and_the_token_lets_in(tmp_path: Path) -> None:
    with OwnDaemon(tmp_path) as daemon:
        assert f"listening on {daemon.url('/')}" in daemon.output()
        assert f"token: {daemon.token}" in daemon.output()
        assert (daemon.state / "daemon.token").stat().st_mode & 0o777 == 0o600
        assert daemon.state.stat().st_mode & 0o777 == 0o700
        assert daemon.ask("GET", "/api/v1")["version"]
        assert http.get(daemon.url("/api/v1")).status_code == 401
        pid = daemon.ask("GET", "/api/v1")["pid"]
        assert daemon.program is not None
        assert pid == daemon.program.process.pid
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0
        first = daemon.token
        daemon.start()
        assert daemon.token == first
        assert daemon.output().count("token: ") == 1
    assert not (daemon.state / "daemon.sock").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is full")
def test_f1_a_log_on_a_full_disk_ends_no_daemon(tmp_path: Path) -> None:
    log = tmp_path / "daemon.log"
    log.symlink_to("/dev/full")
    daemon = OwnDaemon(tmp_path).start(ready=False)
    assert daemon.program is not None
    daemon.program.log = tmp_path / "nothing"  # the device would be read for ever
    daemon.program.log.touch()
    with daemon.program:
        wait_until(daemon.is_ready, timeout_s=60.0, what="the daemon answers")
        assert daemon.ask("GET", "/api/v1")["version"]
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_with_an_endless_answer_a_deaf_client_and_half_a_request(
    tmp_path: Path, number: signal.Signals
) -> None:
    with OwnDaemon(tmp_path) as daemon:
        head = f"Host: localhost\r\nAuthorization: Bearer {daemon.token}\r\n\r\n".encode()
        requests = [
            b"GET /api/v1/events HTTP/1.1\r\n" + head,
            b"GET /api/v1/events HTTP/1.1\r\n" + head,
            b"GET /api/v1 HTTP/1.1\r\nHost: local",
            b"",
        ]
        with closing(Clients(daemon.port, requests)):
            begun_s = time.monotonic()
            daemon.signal(number)
            assert daemon.wait() == 0
    assert time.monotonic() - begun_s < 30  # the engine is closed in that time too


class Clients:
    """Connections that have sent something and read nothing."""

    def __init__(self, port: int, requests: list[bytes]) -> None:
        self._sockets = []
        for request in requests:
            client = socket.create_connection(("127.0.0.1", port))
            client.sendall(request)
            self._sockets.append(client)

    def close(self) -> None:
        for client in self._sockets:
            client.close()


def test_stop_over_http_ends_the_process(tmp_path: Path) -> None:
    with OwnDaemon(tmp_path) as daemon:
        assert daemon.ask("POST", "/api/v1/shutdown") == {"stopping": True}
        assert daemon.wait() == 0


def test_stop_during_the_start_ends_it(tmp_path: Path) -> None:
    daemon = OwnDaemon(tmp_path).start(ready=False)
    try:
        wait_until(
            lambda: "listening" in daemon.output(), timeout_s=60, what="the listener is bound"
        )
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0
    finally:
        daemon.__exit__()


# -- T15: one process a state folder ---------------------------------------------------------------


def test_second_daemon_on_a_state_folder_is_refused(tmp_path: Path) -> None:
    with OwnDaemon(tmp_path) as daemon:
        port = free_port()
        second = run("daemon", "run", f"--state-dir={daemon.state}", f"--listen=127.0.0.1:{port}")
        assert second.returncode == BASIC_EXIT["in_use"]
        assert daemon.program is not None
        pid = daemon.program.process.pid
        assert f"managed by another process ({pid})" in second.stderr
        assert "daemon status" in second.stderr
        assert not accepts_at(("127.0.0.1", port))
        assert daemon.is_ready()  # its socket was not taken away
        assert daemon.run("status")[0] == 0


def test_run_and_daemon_refuse_one_another(tmp_path: Path) -> None:
    with OwnDaemon(tmp_path) as daemon:
        beside = run("run", f"--state-dir={daemon.state}", "-d", str(tmp_path))
        assert beside.returncode == BASIC_EXIT["in_use"]
        assert daemon.program is not None
        assert f"another process ({daemon.program.process.pid})" in beside.stderr
    argv = [*command("run"), f"--state-dir={daemon.state}", "-d", str(tmp_path), "--port", "0"]
    output = tmp_path / "run.log"
    with output.open("w") as log, subprocess.Popen(argv, stdout=log, stderr=log) as running:
        try:
            wait_until(lambda: "port" in output.read_text(), timeout_s=60, what="`run` has started")
            second = run("daemon", "run", f"--state-dir={daemon.state}", "--listen=127.0.0.1:0")
            assert second.returncode == BASIC_EXIT["in_use"]
            assert f"another process ({running.pid})" in second.stderr
        finally:
            running.terminate()
            running.wait(60)


def test_address_in_use_is_told_before_torrents_are_restored(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run("daemon", "run", f"--state-dir={tmp_path}/state", f"--listen={address}")
    assert done.returncode == BASIC_EXIT["network"]
    assert "another program listens there; choose another address with --listen" in done.stderr
    assert not (tmp_path / "state" / "state.db").exists()


def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "XDG_CONFIG_HOME": "/nonexistent", **(env or {})},
        check=False,
    )


# -- settings --------------------------------------------------------------------------------------


def test_every_error_of_the_settings_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "daemon.toml"
    file.write_text("[limits]\ndownload = 1\npeers = 0\n")
    done = run(
        "daemon",
        "run",
        f"--config={file}",
        f"--state-dir={tmp_path}/state",
        "--set=queue.seeds=x",
        env={"TORRENT_ENGINE_LOG__LEVEL": "loud"},
    )
    assert done.returncode == BASIC_EXIT["bad_option"]
    lines = done.stderr.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("torrent-engine: ") for line in lines)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("listen.address=0.0.0.0:0", "who would see the token"),
        ("listen.address=nowhere", "an address is HOST:PORT"),
        ("listen.origins=*", "an origin such as https://HOST"),
        ("listen.allow_from=10.0.0.0/33", "listen.allow_from"),
        ("listen.socket_users=nobody-has-this-name", "there is no user"),
        ("tls.certificate=/nonexistent/a.pem", "tls: /nonexistent/a.pem"),
        ("network.proxy=s3cret", "network.proxy"),
        ("auth.password_hash=s3cret", "auth.password_hash"),
    ],
)
def test_settings_with_which_nothing_can_run_are_refused(
    tmp_path: Path, setting: str, words: str
) -> None:
    done = run("daemon", "run", f"--state-dir={tmp_path}/state", f"--set={setting}")
    assert done.returncode == BASIC_EXIT["bad_option"], done.stderr
    assert words in done.stderr
    assert "s3cret" not in done.stderr
    assert "Traceback" not in done.stderr


def test_sighup_and_reload_read_the_settings_again_and_keep_the_process(tmp_path: Path) -> None:
    file = tmp_path / "daemon.toml"
    file.write_text("[limits]\nupload_kb_s = 1\n")
    with OwnDaemon(tmp_path, options=[f"--config={file}"]) as daemon:
        value_of = lambda key: daemon.ask("GET", "/api/v1/settings")["settings"][key]["value"]  # noqa: E731
        file.write_text("[limits]\nupload_kb_s = 2\n[metrics]\nenabled = false\n")
        daemon.signal(signal.SIGHUP)
        wait_until(
            lambda: value_of("limits.upload_kb_s") == 2, timeout_s=30, what="SIGHUP has effect"
        )
        file.write_text("[limits]\nupload_kb_s = 3\n[metrics]\nenabled = true\n")
        code, output, _ = daemon.run("reload")
        assert code == 0
        assert output.splitlines() == [
            "limits.upload_kb_s: changed",
            "metrics.enabled: takes effect at the next start",
        ]
        file.write_text("[limits]\nupload_kb_s = 'x'\n")
        code, _, errors = daemon.run("reload")
        assert code != 0
        assert "upload_kb_s" in errors
        daemon.signal(signal.SIGHUP)
        wait_until(
            lambda: "settings were not read again" in daemon.output(),
            timeout_s=30,
            what="a wrong file is told",
        )
        assert value_of("limits.upload_kb_s") == 3


def test_setting_that_needs_it_restarts_the_engine_inside_the_process(tmp_path: Path) -> None:
    with OwnDaemon(tmp_path) as daemon:
        before = daemon.ask("GET", "/api/v1")
        with socket.create_connection(("127.0.0.1", daemon.port)):  # is kept
            changed = daemon.ask("PATCH", "/api/v1/settings", {"network.dht": False})
            assert changed["changed"]["restart"] == ["network.dht"]
            wait_until(daemon.is_ready, timeout_s=30, what="the engine is open again")
        after = daemon.ask("GET", "/api/v1")
        assert (after["pid"], after["epoch"]) == (before["pid"], before["epoch"])
        daemon.signal(signal.SIGTERM)
        daemon.wait()
        daemon.start()  # what was changed outlives the process
        value = daemon.ask("GET", "/api/v1/settings")["settings"]["network.dht"]
        assert (value["value"], value["origin"]) == (False, "changed at run time")


def test_tokens_sessions_and_the_password_outlive_the_process(tmp_path: Path) -> None:
    with OwnDaemon(tmp_path) as daemon:
        code, secret, _ = daemon.run("token", "--make", "sonarr", "--scope", "read")
        assert code == 0
        assert daemon.run("password", stdin="correct horse\n")[0] == 0
        cookie = http.post(
            daemon.url("/api/v1/session"), json={"password": "correct horse"}
        ).cookies
        assert http.get(daemon.url("/api/v1/session"), cookies=cookie).status_code == 200
        daemon.signal(signal.SIGTERM)
        daemon.wait()
        daemon.start()
        bearer = {"Authorization": f"Bearer {secret.strip()}"}
        asked = [
            http.get(daemon.url("/api/v1"), headers=bearer),
            http.get(daemon.url("/api/v1"), auth=("torrent", "correct horse")),
            http.get(daemon.url("/api/v1/session"), cookies=cookie),
        ]
        assert [answer.status_code for answer in asked] == [200, 200, 200]


# -- commands --------------------------------------------------------------------------------------


def test_commands_talk_to_the_daemon_by_its_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for screen in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(screen, raising=False)
    daemon = OwnDaemon(tmp_path)
    code, _, errors = daemon.run("status")
    assert code == BASIC_EXIT["network"]
    assert "no daemon listens" in errors
    assert "`torrent-engine daemon` starts one" in errors
    with daemon:
        code, output, _ = daemon.run("status")
        assert (code, output[:8]) == (0, "running:")
        assert daemon.run_json("status", "--json")["listeners"][0] == daemon.url("/")
        assert daemon.run("status", "--quiet") == (0, "", "")
        assert "/api/v1/torrents" in daemon.run_json("openapi")["paths"]
        code, output, _ = daemon.run("open", "--print")
        address, _, ticket = output.strip().partition("#ticket=")
        assert address == daemon.url("/")
        login = http.post(daemon.url("/api/v1/session"), json={"ticket": ticket})
        assert login.status_code == 201
        code, output, errors = daemon.run("open")  # no screen, no browser
        assert (code, errors) == (0, "")
        assert output.startswith(f"{address}#ticket=")
        assert daemon.run("token")[1].strip() == daemon.token
        assert daemon.run("token", "--make", "phone", "--scope", "read")[0] == 0
        name = daemon.run("token", "--list")[1].split()
        assert name[1:] == ["read", "phone"]
        assert daemon.run("token", "--revoke", name[0])[0] == 0
        assert daemon.run("token", "--list")[1] == ""
        assert daemon.run("stop")[0] == 0
        assert daemon.wait() == 0


def test_config_shows_checks_and_resets(tmp_path: Path) -> None:
    daemon = OwnDaemon(tmp_path)
    code, output, _ = daemon.run("config", "show", "limits.download_kb_s", "--origin")
    assert (code, output) == (0, "limits.download_kb_s = 0  # default\n")
    code, output, errors = daemon.run("config", "check", "--set", "limits.peers=x")
    assert (code, output) == (BASIC_EXIT["bad_option"], "")
    assert "limits.peers" in errors
    together = ("listen.address=nowhere", "listen.origins=*")
    code, output, errors = daemon.run("config", "check", *(f"--set={each}" for each in together))
    assert (code, output) == (BASIC_EXIT["bad_option"], "")
    assert "listen.address: 'nowhere'" in errors
    assert "listen.origins: '*'" in errors
    assert daemon.run("config", "check")[0] == 0
    code, output, errors = daemon.run("config", "show", "limits.peer")
    assert (code, output) == (BASIC_EXIT["bad_option"], "")
    assert "there is no setting 'limits.peer'" in errors
    with daemon:
        daemon.ask("PATCH", "/api/v1/settings", {"limits.download_kb_s": 5})
        _, output, _ = daemon.run("config", "show", "limits", "--origin")
        assert "limits.download_kb_s = 5  # changed at run time\n" in output
        other = tmp_path / "other.toml"
        other.write_text("[limits]\ndownload_kb_s = 3\n")
        _, output, _ = daemon.run("config", "show", "limits", "--config", str(other))
        assert "limits.download_kb_s = 3\n" in output
        assert daemon.run("config", "reset", "limits.download_kb_s")[0] == 0
        assert "limits.download_kb_s = 0\n" in daemon.run("config", "show")[1]


def test_token_of_a_daemon_that_never_ran_is_explained(tmp_path: Path) -> None:
    code, output, errors = OwnDaemon(tmp_path).run("token")
    assert (code, output) == (BASIC_EXIT["bad_option"], "")
    assert "daemon.token: `torrent-engine daemon` makes it at its first start" in errors


def test_unit_of_the_command_names_this_installation() -> None:
    system, user = run("daemon", "unit"), run("daemon", "unit", "--user")
    assert (system.returncode, user.returncode) == (0, 0)
    assert "daemon run\n" in system.stdout
    assert "User=torrent-engine\n" in system.stdout
    assert "User=" not in user.stdout


# -- systemd ---------------------------------------------------------------------------------------


def test_service_manager_is_told_start_reload_watchdog_and_stop(tmp_path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
        told: list[str] = []

        def until(word: str) -> None:
            while word not in "\n".join(told):
                told.append(manager.recv(4096).decode())

        with OwnDaemon(tmp_path, env=env) as daemon:
            until("READY=1")
            begin = "\n".join(told).partition("READY=1")[0]
            assert "EXTEND_TIMEOUT_USEC=60000000\nSTATUS=starting" in begin
            until("STATUS=0 torrents")
            told.clear()
            until("WATCHDOG=1")
            until("WATCHDOG=1")
            daemon.signal(signal.SIGHUP)
            until("RELOADING=1")
            assert "MONOTONIC_USEC=" in "\n".join(told)
            until("READY=1")
            daemon.signal(signal.SIGTERM)
            until("STOPPING=1")
            assert daemon.wait() == 0


def test_passed_socket_is_used_in_the_place_of_the_address(tmp_path: Path) -> None:
    launcher = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True);"
        "os.environ['LISTEN_PID'] = str(os.getpid()); os.execv(sys.argv[2], sys.argv[2:])"
    )
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
        argv = [sys.executable, "-c", launcher, str(listener.fileno())]
        argv += [*command("daemon", "run"), f"--state-dir={tmp_path}/state"]
        argv += ["--set=network.loopback_only=true", "--set=network.port=0"]
        env = {**os.environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "http"}
        log = (tmp_path / "log").open("w")
        with (
            log,
            subprocess.Popen(
                argv, pass_fds=[listener.fileno()], env=env, stdout=log, stderr=log
            ) as daemon,
        ):
            try:
                wait_until(
                    lambda: is_healthy(f"http://127.0.0.1:{port}/healthz"),
                    timeout_s=60,
                    what="it answers at the passed socket",
                )
                output = (tmp_path / "log").read_text()
                assert f"listening on http://127.0.0.1:{port}/" in output
                assert ":9091" not in output
            finally:
                daemon.terminate()
                daemon.wait(60)


def is_healthy(url: str, verify: ssl.SSLContext | bool = True) -> bool:
    try:
        return http.get(url, verify=verify).status_code == 200
    except httpx2.TransportError:
        return False


def test_credentials_of_systemd_are_used(tmp_path: Path) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "token").write_text("a-token-of-the-service-manager\n")
    (folder / "password").write_text("a password\n")
    with OwnDaemon(tmp_path, env={"CREDENTIALS_DIRECTORY": str(folder)}) as daemon:
        for auth in ("a-token-of-the-service-manager", "a password"):
            answer = http.get(daemon.url("/api/v1"), auth=("torrent", auth))
            assert answer.status_code == 200
        assert not (daemon.state / "daemon.token").exists()
        assert "a-token" not in daemon.output()


def test_first_start_with_a_password_prints_no_token(tmp_path: Path) -> None:
    with OwnDaemon(tmp_path, env={"TORRENT_ENGINE_AUTH__PASSWORD": "a password"}) as daemon:
        answer = http.get(daemon.url("/api/v1"), auth=("torrent", "a password"))
        assert answer.status_code == 200
        assert daemon.token  # it is there, and lets in too
        assert daemon.ask("GET", "/api/v1")["version"]
        assert "daemon token" in daemon.output()
        for secret in (daemon.token, "a password"):
            assert secret not in daemon.output()


# -- TLS -------------------------------------------------------------------------------------------


def test_self_signed_certificate_serves_https_and_is_kept(tmp_path: Path) -> None:
    daemon = OwnDaemon(tmp_path, "tls.self_signed=true", "listen.hosts=nas.example")
    daemon.start(ready=False)
    try:
        certificate = daemon.state / "daemon.crt"
        wait_until(
            lambda: certificate.exists() and is_healthy(secure(daemon), trusting(certificate)),
            timeout_s=60,
            what="it answers with TLS",
        )
        first = certificate.read_bytes()
        assert (daemon.state / "daemon.key").stat().st_mode & 0o777 == 0o600
        with (
            socket.create_connection(("127.0.0.1", daemon.port)) as plain,
            trusting(certificate).wrap_socket(plain, server_hostname="nas.example") as connection,
        ):
            assert connection.version() in {"TLSv1.2", "TLSv1.3"}
        session = http.post(
            secure(daemon, "/api/v1/session"),
            json={"password": daemon.token},
            verify=trusting(certificate),
        )
        assert session.headers["set-cookie"].startswith("__Host-te_session=")
        with pytest.raises(httpx2.TransportError):
            http.get(daemon.url("/healthz"))
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0
        daemon.start(ready=False)
        wait_until(
            lambda: is_healthy(secure(daemon), trusting(certificate)),
            timeout_s=60,
            what="it answers again",
        )
        assert certificate.read_bytes() == first
    finally:
        daemon.__exit__()


def secure(daemon: OwnDaemon, path: str = "/healthz") -> str:
    return daemon.url(path).replace("http:", "https:")


def trusting(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificate))
    context.set_alpn_protocols(["http/1.1"])
    return context
