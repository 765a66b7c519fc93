"""Rules that the source of the web page keeps: safe text, no inline code, known libraries."""

import hashlib
import re
from pathlib import Path

import pytest

import torrent_engine
from tests.daemon.page.browser.cases import CASES

STATIC = Path(torrent_engine.__file__).parent / "daemon" / "page" / "static"
MODULES = sorted(each for each in STATIC.rglob("*.js"))
OWN = {str(each.relative_to(STATIC)): each.read_text() for each in MODULES}
FORBIDDEN = {
    "innerHTML": r"innerHTML|outerHTML|insertAdjacentHTML|dangerouslySet|document\.write",
    "eval": r"\beval\s*\(|new Function\b|setTimeout\(\s*['\"`]|javascript:",
    "other sites": r"['\"`](?:https?:)?//(?!tracker\.example)[a-z]",
    "console": r"\bconsole\.|\bdebugger\b",
    "var": r"^\s*var\s",
    "inline style": r"\sstyle=\"",
}
IMPORT = re.compile(r"(?:\bfrom\s+|\bimport\s+|\bimport\()'([^']+)'")
MAX_LINES = 300


@pytest.mark.parametrize("name", OWN)
def test_module_has_a_purpose_and_nothing_forbidden(name: str) -> None:
    text = OWN[name]
    assert text.startswith("/**"), "a module says what is in it"
    assert text.count("\n") <= MAX_LINES or name.startswith("locale/")
    found = [rule for rule, pattern in FORBIDDEN.items() if re.search(pattern, text, re.MULTILINE)]
    assert found == []


@pytest.mark.parametrize("name", OWN)
def test_imports_lead_to_files_that_export_what_is_named(name: str) -> None:
    for path in IMPORT.findall(OWN[name]):
        target = (STATIC / name).parent / path
        assert path.startswith("."), f"{path} is no relative path"
        assert target.resolve().is_relative_to(STATIC)
        assert target.is_file(), f"{path} does not exist"
    for names, path in re.findall(r"(?:import|export) \{([^}]+)\} from '([^']+)'", OWN[name]):
        target = (STATIC / name).parent / path
        if target.suffix == ".mjs":
            continue
        exported = target.read_text()
        for each in names.split(","):
            plain = each.strip().split(" as ")[0]
            pattern = rf"export (?:async )?(?:const|let|function|class) {plain}\b"
            is_passed_on = re.search(rf"export \{{[^}}]*\b{plain}\b", exported)
            assert not plain or re.search(pattern, exported) or is_passed_on, plain


def test_index_has_no_inline_code_and_names_nothing_of_other_sites() -> None:
    text = (STATIC / "index.html").read_text()
    assert re.search(r"<script(?![^>]*\ssrc=)", text) is None
    assert re.search(r"<style|\son\w+=|\sstyle=|//", text) is None


def test_style_fetches_nothing() -> None:
    text = (STATIC / "style.css").read_text()
    assert "url(" not in text
    assert "@import" not in text


def test_libraries_are_those_that_are_noted() -> None:
    notes = (STATIC / "vendor" / "README.md").read_text()
    noted = dict(re.findall(r"\| (\S+\.mjs) \| [^|]+ \| ([0-9a-f]{64}) \|", notes))
    files = {each.name: each for each in (STATIC / "vendor").glob("*.mjs")}
    assert set(noted) == set(files)
    for name, file in files.items():
        assert hashlib.sha256(file.read_bytes()).hexdigest() == noted[name], name
        for path in re.findall(r'from"([^"]+)"', file.read_text()):
            assert (file.parent / path).is_file()
    assert len(list((STATIC / "vendor").glob("LICENSE-*.txt"))) == 4


# -- texts ----------------------------------------------------------------------------------------

T = re.compile(r"\bt\('((?:[^'\\]|\\.)+)'")
TN = re.compile(r"\btn\('((?:[^'\\]|\\.)+)', '((?:[^'\\]|\\.)+)'")


def german() -> dict[str, str]:
    """Return the English texts of the German catalogue, and their translations as written."""
    return dict(re.findall(r"^  '((?:[^'\\]|\\.)+)': (.+),$", OWN["locale/de.js"], re.MULTILINE))


def test_every_text_is_in_the_german_catalogue() -> None:
    known = set(german())
    used = {text for source in OWN.values() for text in T.findall(source)}
    used |= {one for source in OWN.values() for one, _ in TN.findall(source)}
    assert sorted(used - known) == []


def test_every_text_of_the_catalogue_is_used() -> None:
    sources = "".join(text for name, text in OWN.items() if not name.startswith("locale/"))
    words = set(re.findall(r"\w+", sources))  # keys of tables need no quotes
    unused = [text for text in german() if f"'{text}'" not in sources and text not in words]
    assert unused == []


def test_translations_have_the_same_places() -> None:
    for name, translation in german().items():
        places = set(re.findall(r"\{\w+\}", name)) - {"{n}"}
        assert set(re.findall(r"\{\w+\}", translation)) - {"{n}"} == places, name


# -- tests of the page ----------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_every_case_of_the_page_has_its_tests(case: str) -> None:
    for name in CASES[case]:
        module, _, test = name.partition(".")
        text = (Path(__file__).parent / "browser" / f"{module}.py").read_text()
        assert f"def {test}(" in text
