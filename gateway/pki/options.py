"""What several verbs of `runner-gateway pki` take: the directory, passphrases, names, groups."""

from __future__ import annotations

import contextlib
import functools
import grp
import os
import socket
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

import click

from gateway import config
from gateway.pki import authority as authorities
from gateway.pki import files
from gateway.pki.errors import PkiError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VARIABLE: Final = "RUNNER_GATEWAY_PKI"
GATEWAY_GROUP: Final = "runner-gateway"
MAX_DAYS: Final = 36_500
MAX_LIST_DAYS: Final = 366

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


def default_directory() -> str:
    """Beside the gateway's configuration."""
    return os.environ.get(VARIABLE) or os.path.join(config.default_directory(), "pki")


def directory_option(command: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """`--dir`."""
    return click.option(
        "--dir", "directory", metavar="DIR", default=default_directory, show_default=False,
        callback=lambda _ctx, _param, path: os.path.abspath(path),
        help=f"Where the authority is (or ${VARIABLE}; else `pki` beside the gateway's"
        " configuration, /etc/runner-gateway/pki for root).",
    )(command)  # fmt: skip


def passphrase_option(command: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """`--passphrase-file`."""
    return click.option(
        "--passphrase-file", metavar="FILE",
        help="Its first line is the passphrase of the authority's key; else it is asked for.",
    )(command)  # fmt: skip


def days_option(what: str) -> Callable[[Callable[_Given, _Result]], Callable[_Given, _Result]]:
    """`--days`."""
    return click.option(
        "--days",
        type=click.IntRange(1, MAX_DAYS),
        metavar="N",
        help=f"How long it counts ({what}).",
    )


def list_days_option(command: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """`--crl-days`."""
    return click.option(
        "--crl-days", type=click.IntRange(1, MAX_LIST_DAYS), metavar="N",
        help="For how long a revocation list counts (default 7, or what was said last).",
    )(command)  # fmt: skip


def group_option(command: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """`--group`."""
    return click.option(
        "--group", metavar="GROUP", help="Whose members may read the server's key (default, for"
        f" root: {GATEWAY_GROUP}, if there is such a group).",
    )(command)  # fmt: skip


def extras_options(command: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """`--bundle`, `--pkcs12`."""
    bundle = click.option("--bundle", is_flag=True, help="Also NAME.pem: key, certificate and"
                          " authority in one file, for `runctl context add`.")  # fmt: skip
    pkcs12 = click.option("--pkcs12", is_flag=True, help="Also NAME.p12, for browsers; asks for a"
                          " passphrase.")  # fmt: skip
    file = click.option("--pkcs12-passphrase-file", metavar="FILE", help="Its first line is that"
                        " passphrase.")  # fmt: skip
    return bundle(pkcs12(file(command)))


def speaks(command: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """A verb whose PkiError is a line `runner-gateway: …` and exit status 1."""

    @functools.wraps(command)
    def run(*args: _Given.args, **given: _Given.kwargs) -> _Result:
        try:
            return command(*args, **given)
        except PkiError as error:
            click.echo(f"runner-gateway: {error}", err=True)
            sys.exit(1)

    return run


@contextlib.contextmanager
def opened(directory: str, passphrase_file: str | None) -> Iterator[authorities.Authority]:
    """The authority, for a verb. Raises PkiError."""

    def ask() -> bytes:
        return passphrase(passphrase_file, f"the key of the authority in {directory}")

    with authorities.opened(directory, ask, datetime.now(UTC)) as authority:
        yield authority


def passphrase(file: str | None, what: str, *, new: bool = False) -> bytes:
    """From the first line of a file, or from who sits at the terminal. Raises PkiError."""
    if file is not None:
        text = files.read(file).split(b"\n", 1)[0].removesuffix(b"\r")
    elif sys.stdin.isatty():
        text = click.prompt(
            f"Passphrase of {what}", hide_input=True, confirmation_prompt=new, err=True
        ).encode()
    else:
        raise PkiError(f"a passphrase is needed for {what}; a passphrase file gives it")
    if not text:
        raise PkiError(f"the passphrase of {what} is empty")
    return text


def group_id(name: str | None) -> int | None:
    """The gateway's group, where there is one to give files to. Raises PkiError."""
    if name is None and os.geteuid() != 0:
        return None
    try:
        return grp.getgrnam(name or GATEWAY_GROUP).gr_gid
    except KeyError:
        if name is None:
            return None
        raise PkiError(f"there is no group {name}; groupadd --system {name} makes it") from None


def own_names() -> tuple[list[str], list[str]]:
    """What a server that names nothing is called: this host, and the ways to it from itself."""
    host = socket.gethostname().rstrip(".")
    names = list(dict.fromkeys([host, "localhost"])) if host else ["localhost"]
    return names, ["127.0.0.1", "::1"]
