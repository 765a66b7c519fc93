"""What the tests promise of themselves: each can fail, by an assertion, not by how it is run."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
FILES = sorted(TESTS.rglob("test_*.py"))
FAILING = {"pytest.raises", "pytest.warns", "pytest.fail", "expect"}
"""``expect`` is playwright's: it waits until something of a page is as it should be."""
STANDS_STILL = """
from tests.support.loop_debug import leave_out_stacks
leave_out_stacks()
import asyncio, time, uvloop
async def main():
    loop = asyncio.get_running_loop()
    loop.slow_callback_duration = 0.01
    ended = asyncio.Event()
    loop.call_soon(time.sleep, 0.05)
    loop.call_later(0.001, time.sleep, 0.05)
    loop.call_later(0.2, ended.set)
    await ended.wait()
uvloop.run(main(), debug=True)
"""


def functions_of(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every test function; rules of a state machine are not looked at."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith(
            "test_"
        ):
            yield node


def can_fail(test: ast.AST) -> bool:
    """Say if something in the body asserts, in a function that it defines and runs too."""
    return any(
        isinstance(node, ast.Assert)
        or (isinstance(node, ast.Call) and ast.unparse(node.func) in FAILING)
        for node in ast.walk(test)
    )


def test_every_test_has_an_assertion_in_its_body() -> None:
    found = {
        f"{path.relative_to(TESTS)}::{test.name}"
        for path in FILES
        for test in functions_of(ast.parse(path.read_text()))
        if not can_fail(test)
    }
    assert found == set()


def test_a_test_without_an_assertion_is_seen() -> None:
    source = "def test_one():\n    run()\n\nasync def test_two():\n    assert run()\n"
    assert [can_fail(test) for test in functions_of(ast.parse(source))] == [False, True]


def test_a_loop_that_stands_still_in_debug_mode_says_so_and_goes_on() -> None:
    command = [sys.executable, "-W", "error", "-c", STANDS_STILL]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count(" took ") >= 2
    assert "Error" not in ran.stderr
