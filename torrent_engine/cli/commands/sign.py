"""``torrent-engine sign``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from torrent_engine.cli.options.common import SOURCE, FilledPath, common_options
from torrent_engine.cli.options.groups import torrent_size_option
from torrent_engine.cli.options.sections import SectionedCommand
from torrent_engine.cli.output.exit_codes import CliError, ExitCode
from torrent_engine.cli.tasks.new_file import refuse_existing, write_new
from torrent_engine.service.sources import STDIN, is_url

if TYPE_CHECKING:
    from torrent_engine.codec.certificates import Certificate, SigningKey
    from torrent_engine.codec.metainfo import Metainfo

STDOUT: Final = "-"
MAX_PASSWORD_BYTES: Final = 1_024
FILE: Final = FilledPath(path_type=Path)


@click.command(
    "sign",
    cls=SectionedCommand,
    epilog="The info-hash and the signatures of others stay. The key is RSA of at least 2048 bits,"
    " as of `openssl genrsa -aes256 -out key.pem 4096`; the common name of its certificate, such as"
    " com.example, names the signer.",
)
@click.argument("torrent", type=SOURCE, metavar="TORRENT")
@click.option(
    "-k", "--key", "key_file", type=FILE, required=True, metavar="FILE", help="The private key."
)
@click.option(
    "--certificate",
    "certificate_file",
    type=FILE,
    required=True,
    metavar="FILE",
    help="The certificate of the key; of several the first.",
)
@click.option(
    "-n",
    "--name",
    help="Refuse to sign unless the certificate is of this name.  [default: sign with its name]",
)
@click.option(
    "--password-file",
    type=FILE,
    metavar="FILE",
    help="The first line is the password of the key.  [default: asked for on a terminal]",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="The .torrent file to write; - for standard output.  [default: the TORRENT itself]",
)
@click.option(
    "--digest",
    type=click.Choice(["sha1", "sha256"]),
    help="What is signed: sha1 is what other programs read.  [default: sha1 for v1 torrents, else"
    " sha256]",
)
@click.option(
    "--no-certificate",
    is_flag=True,
    help="Leave the certificate out: it can be checked by those who have it.",
)
@click.option(
    "--update-url",
    metavar="URL",
    help="Where newer versions are found, instead of where the torrent says (BEP 39)."
    "  [default: none]",
)
@click.option("-f", "--force", is_flag=True, help="Overwrite an existing file that -o names.")
@click.option("-q", "--quiet", is_flag=True, help="Print only errors.")
@torrent_size_option
@common_options
def command(**options: Any) -> ExitCode:  # noqa: ANN401
    """Sign a TORRENT (BEP 35): a path, an http(s) URL with -o, or - for standard input."""
    from torrent_engine.cli.tasks import arguments
    from torrent_engine.codec.signatures import sign_torrent

    torrent: str = options["torrent"]
    output, may_replace = _output(torrent, options)
    if output is not None and not may_replace:
        refuse_existing(output)
    key, certificate = _signer(options)
    signed = sign_torrent(
        arguments.load_now(torrent, options["max_torrent_size"]),
        key,
        certificate,
        digest=options["digest"],
        has_certificate=not options["no_certificate"],
        update_url=options["update_url"],
    )
    if output is None:
        from torrent_engine.cli.output.render import write_bytes

        write_bytes(signed.to_bytes())
        return ExitCode.OK
    write_new(output, signed.to_bytes(), replace=may_replace)
    if not options["quiet"]:
        _print_summary(output, signed, certificate)
    return ExitCode.OK


def _output(torrent: str, options: dict[str, Any]) -> tuple[Path | None, bool]:
    """Return where to write, None for standard output, and whether a file there is replaced."""
    given = options["output"]
    if given == STDOUT or (not given and torrent == STDIN):
        return None, False
    if given:
        return Path(given), options["force"] or Path(given) == Path(torrent)
    if is_url(torrent):
        raise CliError("-o is needed for a TORRENT that is a URL")
    return Path(torrent), True


def _signer(options: dict[str, Any]) -> "tuple[SigningKey, Certificate]":
    from torrent_engine.cli.tasks.certificates import certificates_of, file_content
    from torrent_engine.codec.certificates import SigningKey

    certificate = certificates_of(options["certificate_file"])[0]
    if options["name"] not in {None, certificate.name}:
        raise CliError(f"--name {options['name']}: the certificate is of {certificate.name}")
    data = file_content(options["key_file"])
    return SigningKey(data, _password(data, options["password_file"])), certificate


def _password(key: bytes, path: Path | None) -> bytes | None:
    """Return the password of an encrypted key; None for others."""
    if b"ENCRYPTED" not in key:
        return None
    if path is not None:
        with path.open("rb") as file:
            return file.readline(MAX_PASSWORD_BYTES).rstrip(b"\r\n") or None
    if not sys.stdin.isatty():
        raise CliError("the key has a password; --password-file gives it")
    password: str = click.prompt("Password of the key", hide_input=True, err=True)
    return password.encode()


def _print_summary(output: Path, signed: "Metainfo", certificate: "Certificate") -> None:
    from torrent_engine.cli.output.render import print_wrapped
    from torrent_engine.cli.output.text import safe

    count = len(signed.signatures)
    signatures = "1 signature" if count == 1 else f"{count} signatures"
    print_wrapped(safe(f"{output}: signed as {certificate.name}; it has {signatures}"))
