"""`runner-gateway pki`: the verbs of a small authority, on the command line.

Options in, sentences out; what is done is in the modules beside this one. The gateway need not run,
and is not asked: it notices files that change.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

import click
import msgspec

from gateway.identity import IdentityError, read_certificate_pem
from gateway.pki import authority as authorities
from gateway.pki import files, finding, making_commands, options, telling
from gateway.pki import index as register
from gateway.pki.errors import PkiError


@click.group(context_settings={"help_option_names": ["-h", "--help"]},
             subcommand_metavar="VERB")  # fmt: skip
def pki() -> None:
    """Make the certificates that the gateway and its clients know each other by.

    `init` makes an authority, `issue` certificates; `renew` and `revoke` follow them through
    their life. docs/PKI.md says what is in them, and why.
    """


@pki.command(short_help="Make certificates not count any more.")
@click.argument("which")
@options.directory_option
@click.option("--reason", type=click.Choice(authorities.REASONS), default="unspecified")
@options.passphrase_option
@options.speaks
def revoke(which: str, directory: str, reason: str, passphrase_file: str | None) -> None:
    """Revoke WHICH: a serial, a file, or a name or subject with all its certificates.

    It takes effect when the gateway reads the new list: at once beside it, for who is connected
    too.
    """
    with options.opened(directory, passphrase_file) as authority:
        found = finding.find(authority, which)
        already = [one for one in found if one.revoked is not None]
        authority.revoke(found, reason)
        telling.revoked(found, already)
        telling.still_counting(directory, finding.others(authority, found))
        ends = authority.index.list_days * 86_400 + authority.seconds
        telling.signed_list(authority.places.revocations, datetime.fromtimestamp(ends, UTC))


@pki.command(short_help="Sign the revocation list anew.")
@options.directory_option
@options.list_days_option
@options.passphrase_option
@options.speaks
def crl(directory: str, crl_days: int | None, passphrase_file: str | None) -> None:
    """Sign the list of what was revoked anew, before the one in force ends.

    Without a list that counts the gateway lets nobody in. To be run more often than the list's
    days, by a timer.
    """
    with options.opened(directory, passphrase_file) as authority:
        telling.signed_list(authority.places.revocations, authority.sign_list(crl_days))


@pki.command("list", short_help="Show what was signed.")
@options.directory_option
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@options.speaks
def list_certificates(directory: str, *, as_json: bool) -> None:
    """Show all certificates that the authority has signed, oldest first."""
    index = register.load(authorities.require(directory).register)
    if as_json:
        text = msgspec.json.format(msgspec.json.encode(index.certificates), indent=2)
        click.echo(text.decode())
    else:
        telling.table(index, time.time())


@pki.command(short_help="Show how the gateway reads a client's certificate.")
@click.argument("file")
@options.speaks
def show(file: str) -> None:
    """Show how the gateway reads the client's certificate in FILE, or why it does not."""
    pem = files.read(file).decode("ascii", "replace")
    begin = pem.find("-----BEGIN CERTIFICATE-----")
    end = pem.find("-----END CERTIFICATE-----", begin)
    if begin < 0 or end < 0:
        raise PkiError(f"{file} has no certificate in PEM")
    try:
        certificate = read_certificate_pem(pem[begin:end] + "-----END CERTIFICATE-----\n")
    except IdentityError as error:
        raise PkiError(f"{file}: {error}") from None
    for label, value in (
        ("subject", certificate.subject),
        ("URIs", " ".join(certificate.uris) or "-"),
        ("common name", certificate.common_name or "-"),
        ("serial", certificate.serial),
        ("issuer", certificate.issuer),
        ("until", telling.day(certificate.not_after)),
        ("SHA-256", certificate.fingerprint),
    ):
        click.echo(f"{label:<12} {value}")


for _command in (making_commands.init, making_commands.issue, making_commands.renew):
    pki.add_command(_command)
