"""Programs that are run without a shell, bounded in time and output."""

import errno
import json
import os
import signal
import sys
from pathlib import Path

import anyio
import pytest

from torrent_engine.service.programs import OutputLimit, Program, Programs

pytestmark = pytest.mark.anyio

TAIL = OutputLimit(100)


def python(code: str, *arguments: str, limit_s: float = 60.0, **changes) -> Program:
    environment = changes.pop("environment", {"PATH": os.environ["PATH"]})
    output = changes.pop("output", TAIL)
    command = (sys.executable, "-c", code, *arguments)
    return Program(command, environment, limit_s, output, **changes)


async def run(program: Program):
    with anyio.fail_after(60):
        return await Programs().run(program)


async def test_a_program_gets_its_arguments_environment_folder_and_input(tmp_path: Path) -> None:
    code = (
        "import json, os, sys\n"
        "facts = [sys.argv[1:], os.environ.get('A'), os.getcwd(), sys.stdin.read()]\n"
        "json.dump(facts + [sorted(os.environ)], open('out', 'w'))"
    )
    program = python(
        code, "$(id) ; `x` *", environment={"A": "b\0c"}, folder=tmp_path, stdin=b'{"x": 1}'
    )
    assert (await run(program)).failure == ""
    arguments, value, folder, stdin, names = json.loads((tmp_path / "out").read_text())
    assert (arguments, value, stdin) == (["$(id) ; `x` *"], "bc", '{"x": 1}')
    assert folder == str(tmp_path)
    assert set(names) - {"LC_CTYPE"} == {"A"}


async def test_input_that_is_not_read_does_not_hold_the_program_up() -> None:
    end = await run(python("pass", stdin=b"x" * 1_000_000))
    assert end.failure == ""


@pytest.mark.parametrize(
    ("limit", "expected"), [(OutputLimit(5), "56789"), (OutputLimit(5, keeps_end=False), "01234")]
)
async def test_the_beginning_or_the_end_of_the_output_is_kept(
    limit: OutputLimit, expected: str
) -> None:
    assert (await run(python("print(end='0123456789')", output=limit))).output == expected


async def test_much_output_is_read_to_its_end() -> None:
    code = "import sys\nfor _ in range(200): sys.stdout.write('x' * 10_000)\nprint('\\nend')"
    end = await run(python(code))
    assert (end.failure, end.output.endswith("end")) == ("", True)


FAILURES = {
    "status": ("import sys; print('no'); sys.exit(3)", "exit status 3: no"),
    "signal": ("import os; os.kill(os.getpid(), 9)", "ended by signal 9"),
}


@pytest.mark.parametrize(("code", "failure"), FAILURES.values(), ids=FAILURES)
async def test_a_failure_says_how_it_ended(code: str, failure: str) -> None:
    assert (await run(python(code))).failure == failure


async def test_a_program_that_does_not_exist_is_a_failure() -> None:
    end = await run(Program(("/nowhere/at/all",), {}, 1.0, TAIL))
    assert (end.code, end.failure) == (-1, "No such file or directory")


async def test_a_late_program_is_killed_with_its_children(tmp_path: Path) -> None:
    code = "trap '' TERM; sleep 600 & echo $! > pid; wait"
    environment = {"PATH": os.environ["PATH"]}
    command = ("/bin/sh", "-c", code)
    end = await run(Program(command, environment, 3.0, TAIL, tmp_path, end_grace_s=0.2))
    assert (end.code, end.failure) == (-signal.SIGKILL, "ended after 3 s")
    child = int((tmp_path / "pid").read_text())
    with anyio.fail_after(30):
        while is_running(child):  # noqa: ASYNC110 - it is nobody's child any more
            await anyio.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_cancelling_ends_the_program(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time\n"
        "def end(*_):\n    open('ended', 'w').close(); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\nopen('begun', 'w').close()\ntime.sleep(600)"
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Programs().run, python(code, folder=tmp_path))
        with anyio.fail_after(60):
            while not (tmp_path / "begun").exists():  # noqa: ASYNC110 - a file of a process
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert (tmp_path / "ended").exists()


async def test_without_a_descriptor_for_its_output_a_program_has_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def pipe() -> tuple[int, int]:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pipe", pipe)
        end = await run(python("print(1)"))
    assert end.failure == "Too many open files"
