"""``sign``, and what ``show`` says of signatures (BEP 35)."""

import json
from pathlib import Path

import pytest

from tests.cli import torrents
from tests.cli.test_mistakes import invoke
from tests.support.signers import CA, certificate_pem, make_certificate, pem_of, rsa_key
from torrent_engine.cli.output.exit_codes import ExitCode
from torrent_engine.codec.metainfo import Metainfo

NAME = "com.example"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a torrent, the key and certificate of a signer, and another's."""
    (tmp_path / "key.pem").write_bytes(pem_of(rsa_key()))
    (tmp_path / "locked.pem").write_bytes(pem_of(rsa_key(), b"secret"))
    (tmp_path / "password").write_text("secret\n")
    (tmp_path / "own.crt").write_bytes(certificate_pem(make_certificate(NAME)))
    other = make_certificate("com.other", key=rsa_key(1), extensions=((CA, True),))
    (tmp_path / "other.crt").write_bytes(certificate_pem(other))
    torrents.multi(tmp_path).rename(tmp_path / "x.torrent")
    return tmp_path


def sign(folder: Path, *more: object, key: str = "key.pem", certificate: str = "own.crt"):
    options = ["--key", folder / key, "--certificate", folder / certificate]
    return invoke("sign", folder / "x.torrent", *options, *more)


def test_bep35_a_torrent_is_signed_in_place_and_shown(folder: Path) -> None:
    before = Metainfo.read(folder / "x.torrent")
    result = sign(folder)
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"signed as {NAME}; it has 1 signature" in result.stdout
    after = Metainfo.read(folder / "x.torrent")
    assert after.info_bytes == before.info_bytes
    shown = invoke("show", folder / "x.torrent")
    assert shown.exit_code == ExitCode.OK
    assert f"Signatures: {NAME}: untrusted: it is right" in " ".join(shown.stdout.split())


def test_bep35_show_ends_with_32_without_a_trusted_signature(folder: Path) -> None:
    trusted = ("--trusted", folder / "own.crt")
    torrent = folder / "x.torrent"
    assert invoke("show", torrent, *trusted).exit_code == ExitCode.CHECK_FAILED
    sign(folder)
    shown = invoke("show", torrent, *trusted)
    assert shown.exit_code == ExitCode.OK
    assert f"{NAME}: trusted: its certificate is trusted" in " ".join(shown.stdout.split())
    other = invoke("show", torrent, "--trusted", folder / "other.crt")
    assert other.exit_code == ExitCode.CHECK_FAILED


def test_bep35_json_has_who_signed(folder: Path) -> None:
    sign(folder, "--update-url", "http://feed.example/", "--digest", "sha256")
    line = invoke("show", "--json", folder / "x.torrent", "--trusted", folder / "own.crt").stdout
    (found,) = json.loads(line)["signatures"]
    assert (found["name"], found["status"], found["digest"]) == (NAME, "trusted", "sha256")
    assert found["update_url"] == "http://feed.example/"
    assert found["right"]
    assert found["trusted"]
    assert len(found["certificate_sha256"]) == 64


def test_bep35_several_sign_and_one_that_is_trusted_is_enough(folder: Path) -> None:
    (folder / "other.pem").write_bytes(pem_of(rsa_key(1)))
    sign(folder)
    result = sign(folder, key="other.pem", certificate="other.crt")
    assert "signed as com.other; it has 2 signatures" in result.stdout
    shown = invoke("show", folder / "x.torrent", "--trusted", folder / "other.crt")
    assert shown.exit_code == ExitCode.OK


def test_a_locked_key_needs_its_password(folder: Path) -> None:
    assert sign(folder, key="locked.pem").exit_code == ExitCode.BAD_OPTION
    password = ("--password-file", folder / "password")
    assert sign(folder, *password, key="locked.pem").exit_code == ExitCode.OK
    (folder / "password").write_text("other\n")
    wrong = sign(folder, *password, key="locked.pem")
    assert (wrong.exit_code, wrong.stderr.count("\n")) == (ExitCode.BAD_OPTION, 1)


def test_a_file_that_is_there_is_kept_without_force(folder: Path) -> None:
    output = folder / "y.torrent"
    output.write_bytes(b"mine")
    assert sign(folder, "-o", output).exit_code == ExitCode.FILE_EXISTS
    assert output.read_bytes() == b"mine"
    assert sign(folder, "-f", "-q", "-o", output).stdout == ""
    assert Metainfo.read(output).signatures
    assert not Metainfo.read(folder / "x.torrent").signatures


def test_a_signed_torrent_is_written_to_standard_output(folder: Path) -> None:
    result = sign(folder, "-o", "-", "--no-certificate")
    signed = Metainfo.from_bytes(result.stdout_bytes)
    assert b"certificate" not in signed.signatures[NAME.encode()]
    (folder / "x.torrent").write_bytes(result.stdout_bytes)
    assert "unknown: it has no certificate" in " ".join(
        invoke("show", folder / "x.torrent").stdout.split()
    )


MISTAKES = {
    "name": (["--name", "com.victim"], "key.pem", "own.crt", "the certificate is of com.example"),
    "other_key": ([], "key.pem", "other.crt", "another key"),
    "no_key": ([], "own.crt", "own.crt", "no private key"),
    "no_certificate": ([], "key.pem", "key.pem", "0 certificates"),
    "update_url": (["--update-url", "ftp://x"], "key.pem", "own.crt", "no URL"),
}


@pytest.mark.parametrize("case", MISTAKES.values(), ids=MISTAKES.keys())
def test_bep35_what_cannot_be_signed_is_told_in_one_line(folder: Path, case) -> None:
    options, key, certificate, said = case
    before = (folder / "x.torrent").read_bytes()
    result = sign(folder, *options, key=key, certificate=certificate)
    assert result.exit_code == ExitCode.BAD_OPTION
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert (folder / "x.torrent").read_bytes() == before


def test_a_url_is_signed_into_a_file_only(folder: Path) -> None:
    files = ["--key", folder / "key.pem", "--certificate", folder / "own.crt"]
    result = invoke("sign", "http://127.0.0.1:1/x.torrent", *files)
    assert (result.exit_code, "-o" in result.stderr) == (ExitCode.BAD_OPTION, True)
