"""A pytest fixture that runs rules of the kit.

    pytest_plugins = ["torrent_engine.conformance.pytest_plugin"]

in a test module or the topmost conftest.py makes the fixture ``conformance`` available.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest

from torrent_engine.conformance import testing
from torrent_engine.conformance.results import RunReport


class ConformanceFixture:
    """What the fixture ``conformance`` is."""

    def run(
        self,
        subject: str,
        prefixes: Sequence[str] = (),
        *,
        expected: str | Path | None = None,
        patience: float = 1.0,
        strict: bool = False,
    ) -> RunReport:
        """Start a program and run rules; fail the test with what it did wrong.

        See :func:`torrent_engine.conformance.testing.run`.
        """
        __tracebackhide__ = True
        report = testing.run(subject, prefixes, expected=expected, patience=patience, strict=strict)
        try:
            testing.check(report)
        except AssertionError as error:
            pytest.fail(str(error), pytrace=False)
        return report


@pytest.fixture
def conformance() -> ConformanceFixture:
    """Return an object whose ``run(subject, prefixes)`` holds a program to the BEPs."""
    return ConformanceFixture()
