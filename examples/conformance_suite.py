"""Hold a BitTorrent program to the BEPs in a test suite: pytest examples/conformance_suite.py.

For a program of your own, let SUBJECT be the path of a TOML file with its command
(docs/conformance/index.md).
"""

import pytest

from torrent_engine.conformance.pytest_plugin import ConformanceFixture

pytest_plugins = ["torrent_engine.conformance.pytest_plugin"]
SUBJECT = "torrent-engine"


@pytest.mark.parametrize("prefix", ["BEP3-RQ-0", "BEP9-MD-0"])
def test_the_program_obeys(conformance: ConformanceFixture, prefix: str) -> None:
    """Run the rules whose ids begin with a prefix."""
    conformance.run(SUBJECT, [prefix], patience=5)
