"""``jobs``: what was done, listed, shown, cleared and exported; mistakes are one clear line."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from tests.cli import torrents
from tests.support.processes import wait_until
from torrent_engine.base.ids import InfoHash
from torrent_engine.cli.commands.jobs import KINDS, STATUSES
from torrent_engine.cli.main import cli
from torrent_engine.cli.output import jobs as job_views
from torrent_engine.cli.output.exit_codes import ExitCode
from torrent_engine.disk.state.job_table import Job, JobKind, JobStatus
from torrent_engine.disk.state.store import StateStore
from torrent_engine.engine.jobs.job_log import INTERRUPTED, JobLog

HASH = InfoHash(b"h" * 20)
DAY_S = 86_400.0
NOW_S = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC


def invoke(*arguments: object, env: dict[str, str | None] | None = None) -> Result:
    return CliRunner().invoke(cli, ["jobs", *map(str, arguments)], env=env)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder with four jobs; returned is the folder."""

    async def fill() -> None:
        async with await StateStore.open(tmp_path / "state") as store:
            log = await JobLog.open(store)
            done = log.begin("download", info_hash=HASH, name="a name", total_bytes=3 << 20)
            log.update(done, done_bytes=3 << 20, total_bytes=3 << 20)
            log.finish(done)
            log.finish(log.begin("check", info_hash=HASH, name="=1+1"), "failed", error="disk full")
            log.pause(log.begin("seed", name="tab\x1b[31m"), reason="stopped")
            log.begin("move", name="cut short")
            await log.close()

    anyio.run(fill)
    return tmp_path / "state"


def records(state: Path, *arguments: object) -> list[dict[str, Any]]:
    result = invoke("list", "--json", "--state-dir", state, *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return [json.loads(line) for line in result.stdout.splitlines()]


def id_of(state: Path, kind: str) -> str:
    (record,) = records(state, "--kind", kind)
    return str(record["id"])


def job(number: int, status: str, name: str, **more: Any) -> Job:
    fields = {"total_bytes": 1023 << 20, "done_bytes": 0, "error": None, "info_hash": None, **more}
    fields |= {"created_s": NOW_S, "updated_s": NOW_S - number * 50_000.0, "completed_s": None}
    job_id = f"0123456{number % 2}-{number}9ab"
    return Job(id=job_id, kind=JobKind.DOWNLOAD, status=JobStatus(status), name=name, **fields)


TABLES = {
    60: """\
ID          KIND      STATUS      DONE  NAME
01234560-0  download  running     0.0%  debian-13.1.0-amd64…
01234561-1  download  completed  12.5%  two
01234560-2  download  failed      0.0%  three (no space lef…
""",
    80: """\
ID          KIND      STATUS      DONE      SIZE  UPDATED      NAME
01234560-0  download  running     0.0%  1023 MiB  22:13:20     debian-13.1.0-am…
01234561-1  download  completed  12.5%  1023 MiB  08:20:00     two
01234560-2  download  failed      0.0%  1023 MiB  11-13 18:26  three (no space…
""",
    120: """\
ID          KIND      STATUS      DONE      SIZE  UPDATED      NAME
01234560-0  download  running     0.0%  1023 MiB  22:13:20     debian-13.1.0-amd64-netinst.iso
01234561-1  download  completed  12.5%  1023 MiB  08:20:00     two
01234560-2  download  failed      0.0%  1023 MiB  11-13 18:26  three (no space left on device)
""",
}


@pytest.mark.parametrize("width", TABLES)
def test_only_the_name_is_cut_then_columns_go(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_views, "_local", lambda s: f"{datetime.fromtimestamp(s, UTC):%F %T}")
    jobs = [
        job(0, "running", "debian-13.1.0-amd64-netinst.iso"),
        job(1, "completed", "two", progress=0.125),
        job(2, "failed", "three", error="no space left on device"),
    ]
    chars = job_views.unambiguous_chars(each.id for each in jobs)
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as capture:
        console.print(job_views.jobs_table(jobs, id_chars=chars, width=width, now_s=NOW_S))
    assert capture.get() == TABLES[width]


def test_ids_have_as_many_digits_as_tell_them_apart() -> None:
    ids = ["0123456789ab", "0123456789cd", "ffff"]
    assert job_views.unambiguous_chars(ids) == len("0123456789a")
    assert job_views.unambiguous_chars(["a", "b"]) == job_views.MIN_ID_CHARS
    assert job_views.unambiguous_chars([]) == job_views.MIN_ID_CHARS


def test_list_is_a_table_with_the_newest_first(state: Path) -> None:
    result = invoke("list", "--state-dir", state)
    assert (result.exit_code, result.stderr) == (0, "")
    head, *rows = result.stdout.splitlines()
    assert head.split() == ["ID", "KIND", "STATUS", "DONE", "SIZE", "UPDATED", "NAME"]
    assert [row.split()[1:3] for row in rows] == [
        ["move", "failed"],
        ["seed", "paused"],
        ["check", "failed"],
        ["download", "completed"],
    ]
    assert re.search(r"100%\s+3\.0 MiB\s+\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\s+a name$", rows[3])
    assert rows[0].endswith("cut short (interrupted)")
    assert "\x1b" not in result.stdout  # a name controls no terminal


def test_list_as_json_has_all_fields(state: Path) -> None:
    done = records(state, "--kind", "download")[0]
    assert re.fullmatch(r"[0-9a-f-]{36}", done.pop("id"))
    for time in ("created", "updated", "completed"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", done.pop(time))
    assert done == {
        "kind": "download",
        "status": "completed",
        "info_hash": HASH.hex(),
        "name": "a name",
        "progress": 1.0,
        "total_bytes": 3 << 20,
        "done_bytes": 3 << 20,
        "error": None,
        "reason": None,
    }


FILTERS = {
    "status": (["--status", "failed"], ["move", "check"]),
    "two statuses": (["--status", "paused", "--status", "completed"], ["seed", "download"]),
    "running is what lives": (["--status", "running"], []),
    "kind": (["--kind", "seed"], ["seed"]),
    "torrent": (["--info-hash", HASH.hex().upper()], ["check", "download"]),
    "first digits": (["--info-hash", HASH.hex()[:5]], ["check", "download"]),
    "both": (["--info-hash", HASH.hex(), "--status", "failed"], ["check"]),
    "newest": (["-n", "2"], ["move", "seed"]),
    "newest that pass": (["-n", "1", "--status", "completed"], ["download"]),
}


@pytest.mark.parametrize(("arguments", "kinds"), FILTERS.values(), ids=FILTERS.keys())
def test_a_filter_lists_what_passes(state: Path, arguments: list[str], kinds: list[str]) -> None:
    assert [record["kind"] for record in records(state, *arguments)] == kinds


def test_the_choices_are_all_there_are() -> None:
    assert set(KINDS) == set(JobKind)
    assert set(STATUSES) == set(JobStatus)


def test_show_tells_all_of_a_job_by_the_first_digits_of_its_id(state: Path) -> None:
    job_id = id_of(state, "check")
    for name in (job_id, job_id[:13], job_id[:13].upper()):
        result = invoke("show", name, "--state-dir", state)
        assert (result.exit_code, result.stderr) == (0, "")
        facts = dict(line.split(":", 1) for line in result.stdout.splitlines())
        assert facts["Id"].strip() == job_id
        assert facts["Error"].strip() == "disk full"
        assert facts["Status"].strip() == "failed"
    result = invoke("show", job_id, id_of(state, "seed"), "--json", "--state-dir", state)
    assert [json.loads(line)["kind"] for line in result.stdout.splitlines()] == ["check", "seed"]


def test_clear_forgets_finished_jobs(state: Path) -> None:
    result = invoke("clear", "--status", "completed", "--state-dir", state)
    assert (result.exit_code, result.stdout) == (0, "1 job cleared\n")
    result = invoke("clear", "--json", "--state-dir", state)
    assert json.loads(result.stdout) == {"cleared": 2}
    assert [record["kind"] for record in records(state)] == ["seed"]
    result = invoke("clear", id_of(state, "seed"), "--state-dir", state)
    assert result.stdout == "1 job cleared\n"
    assert invoke("list", "--state-dir", state).stdout == "no jobs\n"


def test_clear_keeps_what_is_running_and_says_so(state: Path) -> None:
    async def try_it() -> Result:
        async with await StateStore.open(state) as store:
            log = await JobLog.open(store)
            job_id = log.begin("download", name="n")
            await log.flush()
            run = anyio.to_thread.run_sync
            result = await run(lambda: invoke("clear", job_id, "--state-dir", state))
            assert await log.get(job_id) is not None
            await log.close()
            return result

    result = anyio.run(try_it)
    assert result.exit_code == ExitCode.BAD_OPTION
    assert "is running" in result.stderr


def test_export_writes_json_and_csv(state: Path, tmp_path: Path) -> None:
    listed = records(state)
    result = invoke("export", "--state-dir", state)
    assert json.loads(result.stdout) == listed
    output = tmp_path / "jobs.csv"
    result = invoke("export", "--format", "csv", "-o", output, "--state-dir", state)
    assert (result.exit_code, result.output) == (0, "")
    rows = list(csv.DictReader(io.StringIO(output.read_text())))
    assert [row["id"] for row in rows] == [record["id"] for record in listed]
    assert [row["name"] for row in rows][2] == "'=1+1"  # no formula of a spreadsheet
    assert rows[3]["info_hash"] == HASH.hex()
    assert rows[1]["error"] == ""
    assert list(rows[0]) == list(listed[0])
    result = invoke("export", "-o", output, "--state-dir", state)
    assert result.exit_code == ExitCode.FILE_EXISTS
    filtered = ["-o", output, "-f", "--status", "completed", "--state-dir", state]
    assert invoke("export", *filtered).exit_code == 0
    assert len(json.loads(output.read_text())) == 1


def test_without_a_state_folder_there_are_no_jobs(tmp_path: Path) -> None:
    env: dict[str, str | None] = {"XDG_STATE_HOME": str(tmp_path), "TORRENT_ENGINE_STATE_DIR": None}
    assert invoke("list", env=env).stdout == "no jobs\n"
    assert invoke("list", "--json", env=env).stdout == ""
    assert invoke("clear", env=env).stdout == "0 jobs cleared\n"
    assert json.loads(invoke("export", env=env).stdout) == []
    assert invoke("show", "ab", env=env).exit_code == ExitCode.NOT_FOUND
    assert list(tmp_path.iterdir()) == []  # asking makes nothing


def test_the_folder_may_be_in_the_environment(state: Path) -> None:
    result = invoke("list", "--json", env={"TORRENT_ENGINE_STATE_DIR": str(state)})
    assert len(result.stdout.splitlines()) == 4


MISTAKES: dict[str, tuple[list[str], ExitCode, str]] = {
    "no such command": (["ls"], ExitCode.BAD_OPTION, "no such command 'ls'"),
    "show without id": (["show"], ExitCode.BAD_OPTION, "missing argument 'ID...'"),
    "unknown id": (["show", "0" * 36], ExitCode.NOT_FOUND, f"no job '{'0' * 36}'"),
    "no id": (["show", "newest"], ExitCode.BAD_OPTION, "an id is hexadecimal digits and dashes"),
    "empty id": (["show", ""], ExitCode.BAD_OPTION, "an id is hexadecimal digits and dashes"),
    "clear unknown id": (["clear", "ffffffffff"], ExitCode.NOT_FOUND, "no job 'ffffffffff'"),
    "unknown status": (["list", "--status", "done"], ExitCode.BAD_OPTION, "'done' is not one of"),
    "unknown kind": (["clear", "--kind", "all"], ExitCode.BAD_OPTION, "'all' is not one of"),
    "no info-hash": (["list", "--info-hash", "xy"], ExitCode.BAD_OPTION, "40 hexadecimal"),
    "unknown info-hash": (["list", "--info-hash", "ab"], ExitCode.NOT_FOUND, "no job of a torrent"),
    "bad limit": (["list", "-n", "-1"], ExitCode.BAD_OPTION, "-1"),
    "unknown format": (["export", "--format", "xml"], ExitCode.BAD_OPTION, "'xml' is not one of"),
    "no such folder": (["export", "-o", "no/x"], ExitCode.NOT_FOUND, "no: no such folder"),
    "output is a folder": (["export", "-f", "-o", "."], ExitCode.FILE_EXISTS, "is a folder"),
}


@pytest.mark.parametrize(("arguments", "code", "words"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_clear_line(
    state: Path, arguments: list[str], code: ExitCode, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(state.parent)
    result = invoke(*arguments, env={"TORRENT_ENGINE_STATE_DIR": str(state)})
    assert result.exit_code == code
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_a_state_folder_that_is_none_is_said(tmp_path: Path) -> None:
    result = invoke("list", "--state-dir", tmp_path / "x")
    assert result.exit_code == ExitCode.NOT_FOUND
    assert result.stderr == f"torrent-engine: {tmp_path / 'x'}: no state database there\n"
    assert not (tmp_path / "x").exists()


def test_the_beginning_of_several_ids_names_them(state: Path) -> None:
    async def begin() -> None:
        async with await StateStore.open(state) as store:
            log = await JobLog.open(store)
            for number in range(20):
                log.finish(log.begin("add", name=str(number)))
            await log.close()

    anyio.run(begin)
    firsts = [record["id"][0] for record in records(state)]
    digit = max(firsts, key=firsts.count)
    result = invoke("show", digit, "--state-dir", state)
    assert result.exit_code == ExitCode.BAD_OPTION
    assert f"{firsts.count(digit)} jobs begin with '{digit}': {digit}" in result.stderr


# -- what the other commands record ---------------------------------------------------------------


def run(*arguments: object, env: dict[str, str | None] | None = None) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], env=env)


def test_create_is_a_job(tmp_path: Path) -> None:
    payload, output, state = torrents.write_payload(tmp_path), tmp_path / "o", tmp_path / "state"
    assert run("create", payload, "-o", output, "-q", "--state-dir", state).exit_code == 0
    result = run("create", tmp_path / "none", "-o", tmp_path / "p", "--state-dir", state)
    assert result.exit_code == ExitCode.NOT_FOUND
    failed, made = records(state)
    assert (made["kind"], made["status"], made["progress"]) == ("create", "completed", 1.0)
    assert made["total_bytes"] == made["done_bytes"] == sum(map(len, torrents.FILES.values()))
    assert len(made["info_hash"]) == 40
    assert (failed["status"], failed["name"], failed["info_hash"]) == ("failed", "none", None)
    assert "none" in failed["error"]
    assert list((state / "locks").glob("jobs-*")) == []


def test_verify_is_a_check(tmp_path: Path) -> None:
    payload, output, state = torrents.write_payload(tmp_path), tmp_path / "o", tmp_path / "state"
    assert run("create", payload, "-o", output, "-q", "--state-dir", state).exit_code == 0
    verify = ["verify", output, "-d", tmp_path, "-q", "--state-dir", state]
    assert run(*verify).exit_code == 0
    next(path for path in payload.rglob("*") if path.is_file()).write_bytes(b"")
    assert run(*verify).exit_code == ExitCode.CHECK_FAILED
    bad, good = records(state, "--kind", "check")
    assert (good["status"], good["error"], good["progress"]) == ("completed", None, 1.0)
    assert bad["status"] == "failed"
    assert "pieces do not match" in bad["error"]


def test_no_state_folder_is_made_unasked(tmp_path: Path) -> None:
    env: dict[str, str | None] = {"XDG_STATE_HOME": str(tmp_path / "home")}
    payload = torrents.write_payload(tmp_path)
    assert run("create", payload, "-o", tmp_path / "o", env=env).exit_code == 0
    assert not (tmp_path / "home").exists()


def test_a_state_folder_that_cannot_be_used_hinders_nothing(tmp_path: Path) -> None:
    payload = torrents.write_payload(tmp_path)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "state.db").mkdir()
    result = run("create", payload, "-o", tmp_path / "o", "--state-dir", tmp_path / "state")
    assert (result.exit_code, result.stderr) == (0, "")
    assert (tmp_path / "o").exists()


def test_f2_a_killed_command_leaves_an_interrupted_job(tmp_path: Path) -> None:
    state, fifo = tmp_path / "state", tmp_path / "fifo"
    os.mkfifo(fifo)
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from torrent_engine.cli.tasks.job_record import recorded\n"
        "with recorded('create', name='n', state_dir=Path(sys.argv[1])):\n"
        "    open(sys.argv[2], 'w').write('begun')\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(state), str(fifo)]) as process:
        try:
            assert fifo.read_text() == "begun"
            assert [record["status"] for record in records(state)] == ["running"]
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(60)
    wait_until(lambda: process.returncode is not None, timeout_s=30, what="its death")
    (left,) = records(state)
    assert (left["status"], left["error"]) == ("failed", INTERRUPTED)


def test_an_interrupted_command_is_cancelled(tmp_path: Path) -> None:
    from torrent_engine.cli.tasks.job_record import recorded

    with pytest.raises(KeyboardInterrupt), recorded("create", name="n", state_dir=tmp_path):
        raise KeyboardInterrupt
    (left,) = records(tmp_path)
    assert (left["status"], left["reason"]) == ("cancelled", "interrupted")
