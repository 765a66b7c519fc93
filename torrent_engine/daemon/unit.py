"""The unit of systemd for the daemon, for the system or for one user."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

CONFIGURATION_EXIT: Final = 28
"""The exit code of a wrong configuration, at which a new start is of no use."""

NOTIFY_RELOAD: Final = 253
"""The first systemd that has it."""

_SERVICE: Final = """\
[Unit]
Description=BitTorrent daemon (torrent_engine)
Documentation=man:torrent-engine-daemon(1)
{order}
[Service]
Type={type}
ExecStart={command} daemon run
{reload}{identity}TimeoutStartSec=300
TimeoutStopSec=90
WatchdogSec=60
Restart=on-failure
RestartSec=5
RestartPreventExitStatus={exit}
LimitNOFILE=65536
UMask=0027
{hardening}# Nice=5
# IOSchedulingClass=best-effort
# IOSchedulingPriority=7

[Install]
WantedBy={target}
"""
_SYSTEM_IDENTITY: Final = """\
User=torrent-engine
StateDirectory=torrent_engine
StateDirectoryMode=0700
ConfigurationDirectory=torrent-engine
"""
_HARDENING: Final = """\
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ReadWritePaths={writable}
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
"""


def unit(
    command: Path, *, is_user: bool, folders: Sequence[Path] = (), reloads_by_notify: bool = True
) -> str:
    """Return the text of a unit.

    ``folders`` are written to, beside the state; without ``reloads_by_notify`` it is one for
    a systemd before 253.
    """
    writable = " ".join(f"-{_quoted(str(folder))}" for folder in folders) or "-/srv"
    return _SERVICE.format(
        order=""
        if is_user
        else "After=network-online.target nss-lookup.target\nWants=network-online.target\n",
        type="notify-reload" if reloads_by_notify else "notify",
        command=_quoted(str(command)),
        reload="" if reloads_by_notify else "ExecReload=kill -HUP $MAINPID\n",
        identity="" if is_user else _SYSTEM_IDENTITY,
        exit=CONFIGURATION_EXIT,
        hardening="NoNewPrivileges=yes\n" if is_user else _HARDENING.format(writable=writable),
        target="default.target" if is_user else "multi-user.target",
    )


def has_notify_reload() -> bool:
    """Return whether the systemd of this machine knows ``Type=notify-reload``: since 253.

    Where there is none, the unit is for another machine, and its systemd is taken for a new one.
    """
    program = shutil.which("systemctl")
    if program is None:
        return True
    done = subprocess.run(  # noqa: S603 - no argument comes from outside
        [program, "--version"], capture_output=True, text=True, timeout=10, check=False
    )
    found = re.match(r"systemd (\d+)", done.stdout)
    return found is None or int(found[1]) >= NOTIFY_RELOAD


def _quoted(text: str) -> str:
    """Return a word of a unit: systemd.syntax(7)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if any(c in escaped for c in " \t'\";") else escaped
