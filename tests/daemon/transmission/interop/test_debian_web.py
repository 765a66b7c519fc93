"""Debian's web interface of Transmission (package transmission-common) from ``web_root``."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.transmission.interop.remote import RemoteDaemon
from tests.support.processes import missing

pytestmark = pytest.mark.interop
FOLDER = Path("/usr/share/transmission/web")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemoteDaemon]:
    if not (FOLDER / "index.html").is_file():
        missing("Debian package transmission-common is not installed")
    folder = tmp_path_factory.mktemp("web")
    with RemoteDaemon(folder, env={"TRANSMISSION_WEB_HOME": str(FOLDER)}) as daemon:
        daemon.wait_ready()
        yield daemon


def test_every_file_is_served_as_it_is(served: RemoteDaemon) -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(files) > 20
    for path in files:
        status, _, body = served.get(f"/transmission/web/{path.relative_to(FOLDER)}")
        assert (status, body == path.read_bytes()) == (200, True), path


def test_what_the_page_names_is_there_with_its_type(served: RemoteDaemon) -> None:
    status, fields, body = served.get("/transmission/web/")
    assert (status, fields["content-type"]) == (200, "text/html; charset=utf-8")
    page = body.decode()
    named = re.findall(r'(?:src|href)="\./([^"?]+)', page)
    assert len(named) > 10
    types = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}
    for path in named:
        status, fields, _ = served.get(f"/transmission/web/{path}")
        found = list(FOLDER.glob(path))
        assert status == (200 if found else 404), path
        suffix = Path(path).suffix
        if found and suffix in types:
            assert fields["content-type"] == types[suffix], path


def test_the_page_is_found_as_people_type_it(served: RemoteDaemon) -> None:
    status, fields, _ = served.get("/transmission/")
    assert (status, fields["location"]) == (301, "/transmission/web/")


def test_the_rpc_of_the_page_asks_for_a_password(served: RemoteDaemon) -> None:
    status, fields, _ = served.request("POST", "/transmission/rpc", b"{}")
    assert (status, fields["www-authenticate"].partition(" ")[0]) == (401, "Basic")
    assert served.ask("session-get", fields=["version"])["version"].startswith("4.1.3")
