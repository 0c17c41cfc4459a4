"""What the verbs of `runner-gateway pki` say on standard output, and which command comes next."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from gateway.pki import naming
from gateway.pki.certificates import Kind
from gateway.pki.options import default_directory

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.pki.index import Entry, Index
    from gateway.pki.issuing import Issued
    from gateway.pki.renewing import Renewed

_ROW = "{:<34}{:<8}{:<20}{:<18}{}"


def day(seconds: float) -> str:
    """2026-11-23 10:00 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%MZ")


def command(directory: str, *words: str) -> str:
    """A verb of `pki` as it has to be typed for that directory."""
    where = () if directory == default_directory() else ("--dir", directory)
    return shlex.join(("runner-gateway", "pki", words[0], *where, *words[1:]))


def then(*commands: str) -> None:
    """What to do next."""
    for text in commands:
        click.echo(f"  next: {text}")


def authority(called: str, directory: str, aside: str | None) -> None:
    """One that is new, and where the one before is."""
    click.echo(f"Authority {called!r} in {directory}.")
    if aside is not None:
        click.echo(f"  The one before is in {aside}; what it signed does not count any more.")


def issued(directory: str, result: Issued) -> None:
    """A certificate that is new."""
    entry = result.made.entry
    _certificate(entry, shortened=result.made.shortened, written=result.files)
    for other in result.others:
        click.echo(f"  The earlier one, serial {other.serial}, counts until {day(other.ends)};"
                   f" to end it: {command(directory, 'revoke', other.serial)}")  # fmt: skip
    if entry.kind is Kind.CLIENT:
        click.echo(f"  {entry.name} needs these files, over a channel that nobody else reads.")
        binding(entry.subject)
        then(f"runctl context add NAME HOST --bundle {entry.directory}")


def binding(subject: str) -> None:
    """A certificate alone may do nothing."""
    is_user = subject.startswith(naming.USER_PREFIX)
    user = subject.removeprefix(naming.USER_PREFIX) if is_user else "USER"
    about = "" if is_user else "   # whom its jobs run as"
    click.echo("  What it may do, the gateway's policy.toml has to say (docs/GATEWAY-POLICY.md):")
    click.echo(f'    [[binding]]\n    match = "{subject}"\n    user = "{user}"{about}\n'
               '    roles = ["submitter"]')  # fmt: skip


def renewed(result: Renewed) -> None:
    """A certificate in the place of another."""
    _certificate(result.made.entry, shortened=result.made.shortened, written=result.files)
    before = result.before
    if before.revoked is not None:
        click.echo(f"  The earlier one, serial {before.serial}, is revoked.")
    else:
        click.echo(f"  The earlier one, serial {before.serial}, counts until {day(before.ends)}.")


def revoked(entries: Iterable[Entry], already: Sequence[Entry]) -> None:
    """What does not count any more."""
    for entry in entries:
        again = ", as it was before" if entry in already else ""
        click.echo(f"Revoked{again}: {entry.subject}, serial {entry.serial} ({entry.name}).")


def still_counting(directory: str, others: Sequence[Entry]) -> None:
    """Whoever is locked out may have another certificate of the same subject."""
    if not others:
        return
    serials = ", ".join(f"{one.serial} ({one.name})" for one in others)
    click.echo(f"  Others of the same subject still count: {serials};"
               f" to end all: {command(directory, 'revoke', others[0].subject)}")  # fmt: skip


def signed_list(path: str, ends: datetime) -> None:
    """The list that is in force now."""
    click.echo(f"Revocation list: {path}, until {day(ends.timestamp())}.")
    click.echo("  A gateway beside it has read it in a second; others need a copy.")


def table(index: Index, now: float) -> None:
    """All certificates, oldest first."""
    click.echo(_ROW.format("SERIAL", "KIND", "NAME", "ENDS", "STATE").rstrip())
    for one in index.certificates:
        state = one.state(now) if one.revoked is None else f"revoked {day(one.revoked)}"
        why = f", {one.reason}" if one.reason else ""
        click.echo(_ROW.format(one.serial, one.kind, one.name, day(one.ends), f"{state}{why}"))


def _certificate(entry: Entry, *, shortened: bool, written: Sequence[str]) -> None:
    click.echo(f"Certificate of {entry.subject} ({entry.kind}), serial {entry.serial}, until"
               f" {day(entry.ends)}.")  # fmt: skip
    if shortened:
        click.echo("  It ends with the authority, which is earlier than asked.")
    for path in written:
        click.echo(f"  {path}")
