"""The certificates that a gateway begins with, as `runner-gateway init` makes them.

What is there is kept, and only what is missing is made: whoever was interrupted, or began with the
verbs of `pki`, goes on from there. Nothing is overwritten; half of a pair is moved aside.
"""

from __future__ import annotations

import os
import secrets
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509

from gateway.pki import authority as authorities
from gateway.pki import files, handing_out, issuing, naming, options, renewing
from gateway.pki.authority import Plan
from gateway.pki.certificates import Kind
from gateway.pki.errors import PkiError
from gateway.pki.issuing import Wanted
from gateway.pki.places import Places

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.pki.authority import Authority, Where

_CA_DAYS: Final = 3650


class First(NamedTuple):
    """What is wanted. `handed_out`: the user's files may have been carried away since."""

    directory: str
    user: str
    list_days: int
    handed_out: bool = False


def make(first: First, say: Callable[[str], object]) -> None:
    """Makes what is missing; each of it is told by a line. Raises PkiError."""
    places = Places(first.directory)
    if not os.path.lexists(places.authority):
        _begin(first, places, say)
        if not os.path.lexists(places.authority):
            return
    else:
        say(f"kept: the authority in {first.directory}")
    wanted = _server(), _client(first.user)
    lists = all(map(os.path.lexists, (places.ca, places.revocations)))
    if lists and all(_is_there(issuing.place(places, one)) for one in wanted):
        _say_kept(places, wanted, say)
        return
    with options.opened(first.directory, None) as authority:
        if lists:
            say(f"kept: {places.revocations}")
        else:
            authority.sign_list()
            say(f"made: {places.revocations}, the revocation list")
        for one in wanted:
            _make_one(authority, one, first, say)


def list_ends(directory: str) -> int | None:
    """When the revocation list that is there ends, in Unix seconds."""
    try:
        ends = x509.load_pem_x509_crl(files.read(Places(directory).revocations)).next_update_utc
    except (PkiError, ValueError):
        return None
    return None if ends is None else int(ends.timestamp())


def _begin(first: First, places: Places, say: Callable[[str], object]) -> None:
    """A new authority, unless there is one elsewhere and this is what it gave its gateway."""
    pair = _paths(issuing.place(places, _server()))
    needed = [places.ca, places.revocations, *pair]
    there = [path for path in needed if os.path.lexists(path)]
    if not there:
        called = naming.ca_name(f"runnerd CA of {socket.gethostname()}"[:64])
        plan = Plan(called, _CA_DAYS, first.list_days, None, options.group_id(None))
        authorities.create(places, plan, now=datetime.now(UTC))
        say(f"made: the authority {called!r} in {first.directory}")
    elif missing := [path for path in needed if path not in there]:
        raise PkiError(
            f"{', '.join(there)} came from an authority that is not in {first.directory}, and"
            f" {', '.join(missing)} has to come from there, too; or another --dir has room for an"
            " authority of its own"
        )
    else:
        say(f"kept: what another authority has made in {first.directory}; clients are its, too")


def _make_one(
    authority: Authority, wanted: Wanted, first: First, say: Callable[[str], object]
) -> None:
    where = issuing.place(authority.places, wanted)
    certificate, key = _paths(where)
    if _is_there(where):
        say(f"kept: {certificate}")
        return
    valid = [one for one in authority.index.by_name(wanted.name) if one.counts(authority.seconds)]
    if wanted.kind is Kind.CLIENT and first.handed_out and valid:
        say(f"kept: the certificate of {wanted.name}, serial {valid[-1].serial}, whose files are"
            " elsewhere")  # fmt: skip
        return
    for path in (certificate, key):
        if os.path.lexists(path):
            say(f"moved aside: {_moved_aside(path)}, half of a pair")
    issuing.issue(authority, wanted)
    say(f"made: {certificate}, {key}")


def _moved_aside(path: str) -> str:
    aside = f"{path}.old-{secrets.token_hex(2)}"
    try:
        os.rename(path, aside)
    except OSError as error:
        raise PkiError(f"cannot move {path} to {aside}: {error.strerror}") from None
    return aside


def _say_kept(places: Places, wanted: tuple[Wanted, ...], say: Callable[[str], object]) -> None:
    for path in (places.revocations, *(_paths(issuing.place(places, one))[0] for one in wanted)):
        say(f"kept: {path}")


def _server() -> Wanted:
    names = naming.server_names(None, *options.own_names())
    days = renewing.DAYS[Kind.SERVER]
    return Wanted(Kind.SERVER, names, naming.SERVER_NAME, days, gid=options.group_id(None))


def _client(user: str) -> Wanted:
    names = naming.client_names(user, (), None)
    return Wanted(Kind.CLIENT, names, naming.file_name(None, user), renewing.DAYS[Kind.CLIENT])


def _is_there(where: Where) -> bool:
    return all(map(os.path.lexists, _paths(where)))


def _paths(where: Where) -> tuple[str, str]:
    """Certificate and key."""
    return os.path.join(where.directory, f"{where.name}.crt"), handing_out.key_path(where)
