"""`runner-gateway pki init`, `issue` and `renew`: the verbs that make certificates.

Options in, sentences out, as in `commands`, whose group they join.
"""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import click

from gateway.pki import authority as authorities
from gateway.pki import issuing, naming, options, renewing, telling
from gateway.pki.authority import Plan
from gateway.pki.certificates import Kind, Names
from gateway.pki.handing_out import Extras
from gateway.pki.issuing import Wanted
from gateway.pki.places import Places

_CA_DAYS: Final = 3650
_LIST_DAYS: Final = 7


class _Init(NamedTuple):
    """Options of `init`."""

    name: str | None
    days: int | None
    crl_days: int | None
    server: bool
    dns: tuple[str, ...]
    ip: tuple[str, ...]
    users: tuple[str, ...]
    group: str | None
    encrypt: bool
    force: bool


class _Issue(NamedTuple):
    """Options of `issue`."""

    server: bool
    user: str | None
    uris: tuple[str, ...]
    cn: str | None
    dns: tuple[str, ...]
    ip: tuple[str, ...]
    name: str | None
    days: int | None
    out: str | None
    group: str | None
    force: bool


class _Extras(NamedTuple):
    """Options about what is written beside."""

    bundle: bool
    pkcs12: bool
    pkcs12_passphrase_file: str | None


@click.command(short_help="Make an authority.")
@options.directory_option
@click.option("--name", metavar="NAME", help="What it is called (default: by this host).")
@options.days_option("default 3650")
@options.list_days_option
@click.option("--server", is_flag=True, help="Also a certificate for the gateway on this host.")
@click.option("--dns", multiple=True, metavar="NAME", help="A host name of that gateway.")
@click.option("--ip", multiple=True, metavar="ADDRESS", help="An address of that gateway.")
@click.option("--user", "users", multiple=True, metavar="USER", help="Also one for that user.")
@options.group_option
@click.option("--encrypt", is_flag=True, help="Encrypt the authority's key with a passphrase.")
@options.passphrase_option
@click.option("--force", is_flag=True, help="Where there is one already: move it aside.")
@options.speaks
def init(directory: str, passphrase_file: str | None, **given: Any) -> None:  # noqa: ANN401  click's values
    """Make an authority: its key, its certificate, and an empty revocation list.

    With --server and --user also the first certificates, so that a gateway can start and
    somebody can ask it.
    """
    asked = _Init(**given)
    places, gid = Places(directory), options.group_id(asked.group)
    called = naming.ca_name(asked.name or f"runnerd CA of {socket.gethostname()}"[:64])
    if not asked.force:
        authorities.refuse_existing(places)
    wanted = _first(asked, gid)
    for one in wanted:
        issuing.refuse_existing(places, one)
    secret = None
    if asked.encrypt or passphrase_file is not None:
        secret = options.passphrase(passphrase_file, "the new authority's key", new=True)
    plan = Plan(called, asked.days or _CA_DAYS, asked.crl_days or _LIST_DAYS, secret, gid)
    now = datetime.now(UTC)
    telling.authority(called, directory, authorities.create(places, plan, now=now))
    with authorities.opened(directory, lambda: secret or b"", now) as authority:
        telling.signed_list(places.revocations, authority.sign_list())
        for one in wanted:
            telling.issued(directory, issuing.issue(authority, one))
    _after_init(directory, asked, {one.kind for one in wanted})


@click.command(short_help="Make a certificate, for the gateway or a client.")
@options.directory_option
@click.option("--server", is_flag=True, help="For a gateway (default: for a client).")
@click.option("--user", metavar="USER", help=f"A client that is {naming.USER_PREFIX}USER.")
@click.option("--uri", "uris", multiple=True, metavar="URI", help="A client that is that URI.")
@click.option("--cn", metavar="NAME", help="The common name (default: from the others).")
@click.option("--dns", multiple=True, metavar="NAME", help="A host name of a server (default:"
              " this host's, localhost).")  # fmt: skip
@click.option("--ip", multiple=True, metavar="ADDRESS", help="An address of a server (default:"
              " 127.0.0.1, ::1).")  # fmt: skip
@click.option("--name", metavar="NAME", help="What its files are called (default: the user, or"
              " `server`).")  # fmt: skip
@options.days_option("default 90 for clients, 365 for servers")
@click.option("--out", metavar="DIR", help="Where its files go.")
@options.extras_options
@options.group_option
@options.passphrase_option
@click.option("--force", is_flag=True, help="Replace files that are there.")
@options.speaks
def issue(
    directory: str,
    passphrase_file: str | None,
    **given: Any,  # noqa: ANN401  click's values
) -> None:
    """Make a key and a certificate, good for one purpose: a server's or a client's.

    A client is known by its user or its URI; what it may do says the gateway's policy.
    """
    extras, asked = _take_extras(given), _Issue(**given)
    _check_kind(asked, extras)
    wanted = _server(asked) if asked.server else _client(asked.user, asked)
    wanted = wanted._replace(extras=_read_extras(extras), days=asked.days or wanted.days)
    with options.opened(directory, passphrase_file) as authority:
        result = issuing.issue(authority, wanted)
    telling.issued(directory, result)


@click.command(short_help="Make the next certificate for the same names.")
@click.argument("which")
@options.directory_option
@options.days_option("default 90 for clients, 365 for servers")
@click.option("--rekey", is_flag=True, help="With a new key.")
@click.option("--revoke", is_flag=True, help="Revoke the earlier one at once.")
@click.option("--out", "directory_of_files", metavar="DIR",
              help="Where its files go (default: where they were).")  # fmt: skip
@options.extras_options
@options.passphrase_option
@options.speaks
def renew(which: str, directory: str, passphrase_file: str | None, **given: Any) -> None:  # noqa: ANN401
    """Make the next certificate in the place of WHICH: a name, a serial, or a file.

    The key stays, unless --rekey. The earlier certificate counts until it ends, unless --revoke.
    """
    extras = _read_extras(_take_extras(given))
    how = renewing.Renewal(**given, extras=extras)
    with options.opened(directory, passphrase_file) as authority:
        telling.renewed(renewing.renew(authority, which, how))


def _first(asked: _Init, gid: int | None) -> list[Wanted]:
    """What `init` issues at once."""
    wanted = []
    if asked.server or asked.dns or asked.ip:
        names = _server_names(None, asked.dns, asked.ip)
        days = renewing.DAYS[Kind.SERVER]
        wanted.append(Wanted(Kind.SERVER, names, naming.SERVER_NAME, days, gid=gid))
    wanted += [_client(user) for user in asked.users]
    return [one._replace(replace=asked.force) for one in wanted]


def _server(asked: _Issue) -> Wanted:
    names = _server_names(asked.cn, asked.dns, asked.ip)
    called = naming.file_name(asked.name, naming.SERVER_NAME)
    gid = options.group_id(asked.group)
    return Wanted(
        Kind.SERVER, names, called, renewing.DAYS[Kind.SERVER], directory=asked.out, gid=gid,
        replace=asked.force,
    )  # fmt: skip


def _server_names(common_name: str | None, dns: tuple[str, ...], ip: tuple[str, ...]) -> Names:
    if not dns and not ip:
        return naming.server_names(common_name, *options.own_names())
    return naming.server_names(common_name, dns, ip)


def _client(user: str | None, asked: _Issue | None = None) -> Wanted:
    days = renewing.DAYS[Kind.CLIENT]
    if asked is None:
        names = naming.client_names(user, (), None)
        return Wanted(Kind.CLIENT, names, naming.file_name(None, names.common_name), days)
    names = naming.client_names(user, asked.uris, asked.cn)
    called = naming.file_name(asked.name, user or names.common_name)
    return Wanted(Kind.CLIENT, names, called, days, directory=asked.out, replace=asked.force)


def _check_kind(asked: _Issue, extras: _Extras) -> None:
    """What goes together."""
    if asked.server and (asked.user or asked.uris or any(extras)):
        raise click.UsageError("--server goes with --dns and --ip, not with what clients have.")
    if not asked.server and (asked.dns or asked.ip or asked.group):
        raise click.UsageError("--dns, --ip and --group are of servers; add --server.")


def _take_extras(given: dict[str, Any]) -> _Extras:
    return _Extras(**{name: given.pop(name) for name in _Extras._fields})


def _read_extras(asked: _Extras) -> Extras:
    if not asked.pkcs12 and asked.pkcs12_passphrase_file is None:
        return Extras(asked.bundle)
    secret = options.passphrase(asked.pkcs12_passphrase_file, "the PKCS #12 file", new=True)
    return Extras(asked.bundle, secret)


def _after_init(directory: str, asked: _Init, made: set[Kind]) -> None:
    if Kind.SERVER not in made:
        telling.then(telling.command(directory, "issue", "--server"))
    if not asked.users:
        telling.then(telling.command(directory, "issue", "--user", os.environ.get("USER", "alice")))
