"""What certificates may be called: users, file names, hosts, addresses, URIs. Pure checks.

A user `alice` is the URI `runnerd:user:alice` in a certificate; policies know clients by it.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from gateway.pki.certificates import Names
from gateway.pki.errors import PkiError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Address, IPv6Address

USER_PREFIX: Final = "runnerd:user:"
SERVER_NAME: Final = "server"
MAX_COMMON_NAME: Final = 64  # ub-common-name of RFC 5280

_USER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}")
_FILE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}")
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]{1,200}")
_LABEL: Final = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DNS: Final = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*")
_MAX_DNS: Final = 253


def client_names(user: str | None, uris: Sequence[str], common_name: str | None) -> Names:
    """A client's. Raises PkiError: nobody is named, or not as one can be."""
    for uri in uris:
        if not _URI.fullmatch(uri):
            raise PkiError(f"{uri!r} is no URI: it has to be `scheme:…` in visible ASCII")
    if user is not None:
        if user == "root":
            raise PkiError(
                "nobody acts for root through a gateway; --user names whose jobs they will be, and"
                " the role `admin` of the policy lets somebody act on all of them"
            )
        if not _USER.fullmatch(user):
            raise PkiError(f"{user!r} cannot be a user: letters, digits and _ . - up to 32")
        uris = (f"{USER_PREFIX}{user}", *uris)
    if not uris and common_name is None:
        raise PkiError("a client's certificate has to name somebody: --user, --uri or --cn")
    return Names(_common(common_name or user or uris[0]), uris=tuple(uris))


def server_names(common_name: str | None, dns: Sequence[str], addresses: Sequence[str]) -> Names:
    """A server's. Raises PkiError."""
    for name in dns:
        if len(name) > _MAX_DNS or not _DNS.fullmatch(name):
            raise PkiError(f"{name!r} is no host name; an IDN is written as xn--…")
    if not dns and not addresses:
        raise PkiError("a server's certificate has to name a host: --dns or --ip")
    parsed = tuple(_address(text) for text in addresses)
    return Names(_common(common_name or (*dns, *addresses)[0]), dns=tuple(dns), addresses=parsed)


def file_name(given: str | None, fallback: str) -> str:
    """What the files of a certificate are called. Raises PkiError."""
    name = given if given is not None else fallback
    if not _FILE.fullmatch(name) or name == "ca":
        raise PkiError(f"{name!r} cannot be a file's name here; --name gives another")
    return name


def serial(text: str) -> str | None:
    """A serial as people copy it (`3F:A0:…`, with zeros before it) in its one form; else None."""
    digits = text.replace(":", "").lower().removeprefix("0x")
    if not re.fullmatch(r"[0-9a-f]{1,40}", digits):
        return None
    return digits.lstrip("0") or "0"


def ca_name(given: str) -> str:
    """What the authority is called. Raises PkiError."""
    if not given.isprintable() or not given.strip() or len(given) > MAX_COMMON_NAME:
        raise PkiError(f"{given!r} cannot be an authority's name: 1 to 64 printable characters")
    return given


def _common(name: str) -> str:
    """Shortened where it came from a longer name, which stands in full beside it."""
    short = name[:MAX_COMMON_NAME].strip()
    if not short or not short.isprintable():
        raise PkiError(f"{name!r} cannot be a common name: it is empty or not printable")
    return short


def _address(text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text)
    except ValueError:
        raise PkiError(f"{text!r} is no IP address; a host name is given with --dns") from None
