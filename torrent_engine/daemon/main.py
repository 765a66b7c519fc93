"""``torrent-engine daemon``: the group of commands. What they need is imported when they run."""

import importlib.util
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from torrent_engine.base.collector import paused_collector
from torrent_engine.base.errors import ConfigError, NetworkError
from torrent_engine.daemon.security.principals import Scope
from torrent_engine.daemon.unit import CONFIGURATION_EXIT, has_notify_reload, unit
from torrent_engine.service.system import has_screen

if TYPE_CHECKING:
    from torrent_engine.daemon.client import DaemonClient
    from torrent_engine.daemon.settings.loading import Places

Command = TypeVar("Command", bound=Callable[..., Any])
PROGRAM: Final = "torrent-engine"
NEEDED: Final = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
STOP_S: Final = 70.0  # a little more than a daemon takes at most
POLL_S: Final = 0.1

state_dir_option = click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="State folder (or TORRENT_ENGINE_STATE_DIR).  [default: torrent_engine in the user's"
    " folder of states]",
)
config_option = click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Configuration file (or TORRENT_ENGINE_DAEMON_CONFIG).  [default:"
    " torrent_engine/daemon.toml in the user's configuration folder, and"
    " /etc/torrent-engine/daemon.toml]",
)
assignments_option = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Value of a setting, such as limits.download_kb_s=500; may be repeated.",
)


@click.group("daemon", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """Download in the background, and serve remote controls over HTTP.

    Without a command it is `torrent-engine daemon run`.
    """
    if context.invoked_subcommand is None:
        context.invoke(run)


@command.command("run")
@config_option
@state_dir_option
@click.option(
    "--listen",
    metavar="HOST:PORT",
    help="Address of the HTTP interfaces.  [default: 127.0.0.1:9091]",
)
@assignments_option
@click.pass_context
def run(
    context: click.Context,
    /,
    config: Path | None = None,
    state_dir: Path | None = None,
    listen: str | None = None,
    assignments: tuple[str, ...] = (),
) -> None:
    """Run in the foreground until SIGTERM or Ctrl-C; SIGHUP reads the settings again."""
    require_packages()
    with paused_collector(freezes=True):
        from torrent_engine.daemon.http.notify import Notifier
        from torrent_engine.daemon.http.sockets import passed_sockets
        from torrent_engine.daemon.life import Daemon, DaemonOptions
        from torrent_engine.service import loop

    options = (*assignments, *([f"listen.address={listen}"] if listen is not None else []))
    places = places_of(config, options)
    settings = loaded(places, folder_of(state_dir))
    credentials = os.environ.get("CREDENTIALS_DIRECTORY", "")
    chosen = DaemonOptions(
        places,
        folder_of(state_dir),
        Path(credentials) if credentials else None,
        passed_sockets(os.environ),
    )
    log_to_stderr(context, settings["log.level"], is_json=settings["log.json"])
    loop.run(Daemon(chosen, Notifier(os.environ), tell).run)


@command.command("status")
@state_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing; the exit code says it.")
def status(state_dir: Path | None, *, as_json: bool, quiet: bool) -> None:
    """Show whether the daemon runs."""
    client = client_of(state_dir)
    phase = client.ask("GET", "/healthz")
    facts = client.ask("GET", "/api/v1") if phase == "ok" else {"phase": phase}
    if as_json:
        click.echo(json.dumps(facts))
    elif not quiet:
        click.echo(_status_line(facts))
    if phase != "ok":
        raise NetworkError(f"the daemon is {phase}")


def _status_line(facts: dict[str, Any]) -> str:
    if "version" not in facts:
        return str(facts["phase"])
    where = ", ".join(facts["listeners"])
    return f"running: version {facts['version']}, process {facts['pid']}, {where}"


@command.command("stop")
@state_dir_option
def stop(state_dir: Path | None) -> None:
    """Stop the daemon, and wait until it has ended."""
    client = client_of(state_dir)
    client.ask("POST", "/api/v1/shutdown")
    deadline = time.monotonic() + STOP_S
    while client.is_answered():
        if time.monotonic() > deadline:
            raise NetworkError(f"the daemon did not end within {STOP_S:g} s")
        time.sleep(POLL_S)


@command.command("reload")
@state_dir_option
def reload(state_dir: Path | None) -> None:
    """Let the daemon read its settings, certificate and lists again."""
    report = client_of(state_dir).ask("POST", "/api/v1/reload")
    if not report["changed"] and not report["pending"]:
        tell("no setting has changed")
    for key in report["changed"]:
        click.echo(f"{key}: changed")
    for key in report["pending"]:
        click.echo(f"{key}: takes effect at the next start")


@command.command("open")
@state_dir_option
@click.option("--print", "only_print", is_flag=True, help="Print the address only.")
def open_page(state_dir: Path | None, *, only_print: bool) -> None:
    """Open the daemon's page in a browser, logged in by a ticket of one minute."""
    client = client_of(state_dir)
    found = client.ask("GET", "/api/v1")["interfaces"]["ui"]
    pages = [each for each in found if each.startswith("http")]
    if not pages:
        raise NetworkError("the daemon has no address that a browser can open")
    ticket = client.ask("POST", "/api/v1/session/ticket")["ticket"]
    address = f"{pages[0]}#ticket={ticket}"
    if only_print or not has_screen() or click.launch(address) != 0:
        click.echo(address)


@command.command("token")
@state_dir_option
@click.option("--list", "lists", is_flag=True, help="List the named tokens.")
@click.option(
    "--make", "name", metavar="NAME", help="Make a token for another program.  [default: none]"
)
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope.value for scope in Scope]),
    metavar="SCOPE",
    help="What it may do: " + ", ".join(Scope) + "; may be repeated.  [default: read]",
)
@click.option("--revoke", metavar="ID", help="Revoke a named token.  [default: none]")
def token(
    state_dir: Path | None,
    *,
    lists: bool,
    name: str | None,
    scopes: tuple[str, ...],
    revoke: str | None,
) -> None:
    """Print the token of the daemon, or manage named ones."""
    if lists:
        for each in client_of(state_dir).ask("GET", "/api/v1/tokens")["items"]:
            click.echo(f"{each['id']}  {','.join(each['scopes'])}  {each['name']}")
    elif revoke is not None:
        client_of(state_dir).ask("DELETE", f"/api/v1/tokens/{revoke}")
    elif name is not None:
        body = {"name": name, "scopes": list(scopes) or ["read"]}
        click.echo(client_of(state_dir).ask("POST", "/api/v1/tokens", body)["token"])
    else:
        from torrent_engine.daemon.security.token_file import TOKEN_NAME, read_token

        path = folder_of(state_dir) / TOKEN_NAME
        try:
            click.echo(read_token(path))
        except FileNotFoundError:
            raise ConfigError(f"{path}: `{PROGRAM} daemon` makes it at its first start") from None


@command.command("password")
@state_dir_option
@click.option("--remove", is_flag=True, help="Have no password; the token is one always.")
def password(state_dir: Path | None, *, remove: bool) -> None:
    """Set the password for browsers and remotes; it is read from the terminal or standard input."""
    client = client_of(state_dir)
    if remove:
        given = ""
    elif sys.stdin.isatty():
        given = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        given = sys.stdin.readline().rstrip("\r\n")
        if not given:
            raise ConfigError("no password at standard input")
    client.ask("PUT", "/api/v1/password", {"password": given})


@command.command("config")
@click.argument("action", type=click.Choice(["show", "check", "schema", "reset"]), default="show")
@click.argument("key", required=False)
@config_option
@state_dir_option
@assignments_option
@click.option("--origin", is_flag=True, help="Show where each value comes from.")
def config_command(
    action: str,
    key: str | None,
    config: Path | None,
    state_dir: Path | None,
    assignments: tuple[str, ...],
    *,
    origin: bool,
) -> None:
    """Show the settings, check them, print their JSON Schema, or reset KEY.

    `show` asks the daemon if it runs, and reads the files otherwise, or with --config or --set.
    """
    if action == "schema":
        from torrent_engine.daemon.settings.schema import settings_schema

        click.echo(json.dumps(settings_schema(), indent=2))
    elif action == "reset":
        if key is None:
            raise click.UsageError("reset needs the KEY of a setting")
        client_of(state_dir).ask("DELETE", f"/api/v1/settings/{key}")
    else:
        places, folder = places_of(config, assignments), folder_of(state_dir)
        asks = action == "show" and config is None and not assignments
        rows = _rows_of_daemon(folder) if asks else None
        if rows is None:
            rows = _rows_of_files(places, folder)
        if action == "show":
            _show(rows, key, with_origin=origin)


def _rows_of_daemon(folder: Path) -> dict[str, tuple[Any, str]] | None:
    """Return values with their origins by keys; None if no daemon runs."""
    client = client_of(folder)
    if not client.is_answered():
        return None
    found = client.ask("GET", "/api/v1/settings")["settings"]
    return {name: (each["value"], each["origin"]) for name, each in found.items()}


def _rows_of_files(places: "Places", folder: Path) -> dict[str, tuple[Any, str]]:
    """Return the same of the files; everything that is wrong is printed, and ends the program."""
    from torrent_engine.daemon.settings.store import SettingsStore

    loaded(places, folder)
    store = SettingsStore(places, now=time.time)
    return {view.key: (view.value, view.origin) for view in store.views()}


def _show(rows: dict[str, tuple[Any, str]], key: str | None, *, with_origin: bool) -> None:
    chosen = [name for name in rows if key in {None, name, name.partition(".")[0]}]
    if not chosen:
        raise ConfigError(f"there is no setting {key!r}")
    for name in chosen:
        value, where = rows[name]
        shown = json.dumps(value)
        click.echo(f"{name} = {shown}  # {where}" if with_origin else f"{name} = {shown}")


@command.command("openapi")
@state_dir_option
def openapi(state_dir: Path | None) -> None:
    """Print the description of the daemon's interface, as OpenAPI."""
    document = client_of(state_dir).ask("GET", "/api/v1/openapi.json")
    click.echo(json.dumps(document, indent=2))


@command.command("unit")
@click.option("--user", "is_user", is_flag=True, help="A unit for `systemctl --user`.")
@config_option
def unit_command(config: Path | None, *, is_user: bool) -> None:
    """Print a unit for the systemd of this machine, with the paths of this installation."""
    from torrent_engine.daemon.settings.engine_config import download_folder
    from torrent_engine.daemon.settings.loading import load

    folder = download_folder(load(places_of(config, ())).settings)
    program = Path(sys.argv[0]).absolute()
    text = unit(program, is_user=is_user, folders=[folder], reloads_by_notify=has_notify_reload())
    click.echo(text, nl=False)


# -- what commands share --------------------------------------------------------------------------


def require_packages() -> None:
    """Raise ConfigError if the packages of the daemon are not installed."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"the daemon needs {', '.join(missing)}: pip install 'torrent-engine[daemon]'"
        )


def places_of(config: Path | None, assignments: tuple[str, ...]) -> "Places":
    """Return where settings are looked for."""
    from torrent_engine.daemon.settings.loading import Places

    return Places(os.environ, assignments, config)


def loaded(places: "Places", folder: Path) -> dict[str, Any]:
    """Return the settings by key; everything that is wrong is printed, and ends the program."""
    from torrent_engine.daemon.settings.loading import SettingsError
    from torrent_engine.daemon.settings_check import check_sources

    try:
        return dict(check_sources(places, folder).values)
    except SettingsError as error:
        for line in error.errors:
            tell(f"{PROGRAM}: {line}")
        raise click.exceptions.Exit(CONFIGURATION_EXIT) from None


def folder_of(state_dir: Path | None) -> Path:
    """Return the state folder."""
    from torrent_engine.daemon.engine_port.places import default_state_dir
    from torrent_engine.daemon.settings.loading import state_folder

    return state_folder(os.environ, state_dir, default_state_dir())


def client_of(state_dir: Path | None) -> "DaemonClient":
    """Return the client of the daemon of a state folder."""
    from torrent_engine.daemon.client import DaemonClient
    from torrent_engine.daemon.listeners import SOCKET_NAME

    return DaemonClient(folder_of(state_dir) / SOCKET_NAME)


def tell(line: str) -> None:
    """Show a line to who started the command; a log on a full disk ends no daemon."""
    with suppress(OSError):
        click.echo(line, err=True)


def log_to_stderr(context: click.Context, level: str, *, is_json: bool = False) -> None:
    """Write records to stderr, unless ``--debug`` of the program does it."""
    from torrent_engine.daemon.state.log_lines import JsonLines

    settings: Any = context.obj
    if getattr(settings, "debug", False):
        return
    from torrent_engine.daemon.log_lines import LineFormatter

    handler = logging.StreamHandler(sys.stderr)
    stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    text = LineFormatter(f"{stamp}%(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonLines() if is_json else text)
    root = logging.getLogger("torrent_engine")
    root.addHandler(handler)
    root.setLevel(level.upper())
