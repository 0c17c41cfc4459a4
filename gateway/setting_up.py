"""What `runner-gateway init` leaves on the disk, so that a gateway can start.

What is there is kept, so it may be run again. For a user, a gateway that acts for that user alone,
which needs nobody's permission. For root, one for the machine, which runs as an account of its own
and acts for those that runnerd's configuration lets it act for. The certificates are `pki.first`'s.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.pki import files, first, naming, telling
from gateway.pki.errors import PkiError

if TYPE_CHECKING:
    from collections.abc import Callable

ACCOUNT: Final = "runner-gateway"
AUDIT_DIRECTORY: Final = "/var/log/runner-gateway"
SOCKET_GROUP: Final = "runnerd"
_NOLOGIN: Final = "/usr/sbin/nologin"

# Whoever revokes signs the next list at once; this only bounds how old one may be.
_LIST_DAYS: Final = 90

_POLICY: Final = """\
# Who may do what through the gateway. The first binding that fits a certificate counts;
# whoever fits none is refused. See docs/GATEWAY-POLICY.md.

[[binding]]
match = "runnerd:user:{user}"   # the certificate's URI
user = "{user}"                 # whom its jobs run as
roles = ["submitter"]           # viewer, operator, submitter, admin
"""
_CONFIG: Final = """\
# See docs/GATEWAY.md. Paths start from this directory; what is not here has its default.

# listen = "0.0.0.0:7443"        # REST and runctl, for other machines too
# grpc_listen = "0.0.0.0:7444"   # gRPC; "off" for none
{more}"""


class SetUpError(Exception):
    """It cannot be set up. A sentence: what, on what, why, what to do."""


class Plan(NamedTuple):
    """Where, for whom, and whether it is the machine's."""

    directory: str
    user: str
    is_system: bool


def planned(directory: str, user: str | None) -> Plan:
    """What is to be done for `user`, by default whoever runs this. Raises SetUpError."""
    is_system = os.geteuid() == 0
    name = user or (os.environ.get("SUDO_USER") if is_system else _own_name())
    if name is None or name == "root":
        raise SetUpError("--user: whose certificate is to be made first? root acts through none")
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise SetUpError(f"--user: there is no user {name!r} on this host") from None
    if not is_system and entry.pw_uid != os.geteuid():
        raise SetUpError(
            f"--user: a gateway of your own acts for you alone, not for {name}; one for the "
            "machine is set up by root"
        )
    return Plan(directory, name, is_system)


def make_account() -> bool:
    """The account of the machine's gateway, in the group of runnerd's socket; False: it was there.

    Raises SetUpError.
    """
    with suppress(KeyError):
        pwd.getpwnam(ACCOUNT)
        return False
    program = shutil.which("useradd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise SetUpError(f"there is no useradd here; make a system account {ACCOUNT}, then again")
    groups = ["--groups", SOCKET_GROUP] if _has_group(SOCKET_GROUP) else []
    words = ["--system", "--user-group", "--no-create-home", "--shell", _NOLOGIN, *groups, ACCOUNT]
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SetUpError(f"useradd made no account {ACCOUNT}: {done.stderr.strip()}")
    return True


def _outside_group() -> str | None:
    """What to do where the account could not open runnerd's socket; None: it can."""
    account = pwd.getpwnam(ACCOUNT)
    if not _has_group(SOCKET_GROUP):
        return (
            f"there is no group {SOCKET_GROUP} yet: once runnerd has it, usermod -aG"
            f" {SOCKET_GROUP} {ACCOUNT}"
        )
    if grp.getgrnam(SOCKET_GROUP).gr_gid in os.getgrouplist(ACCOUNT, account.pw_gid):
        return None
    return f"{ACCOUNT} cannot open runnerd's socket: usermod -aG {SOCKET_GROUP} {ACCOUNT}"


def prepare(plan: Plan) -> None:
    """The directories. Raises SetUpError."""
    try:
        os.makedirs(plan.directory, mode=0o700, exist_ok=True)
        if plan.is_system:
            account = pwd.getpwnam(ACCOUNT)
            os.chown(plan.directory, 0, account.pw_gid)
            os.chmod(plan.directory, 0o750)  # noqa: S103  its own group
            os.makedirs(AUDIT_DIRECTORY, mode=0o750, exist_ok=True)
            os.chown(AUDIT_DIRECTORY, account.pw_uid, account.pw_gid)
    except OSError as error:
        raise SetUpError(f"cannot make {error.filename}: {error.strerror}") from None


def make(plan: Plan, say: Callable[[str], object]) -> None:
    """Certificates, policy and configuration, as far as they are missing: each told by a line.

    The configuration is the last: where it is, all was there once. Raises SetUpError.
    """
    pki, config = (os.path.join(plan.directory, name) for name in ("pki", "config.toml"))
    done = os.path.lexists(config)
    more = f'audit_log = "{AUDIT_DIRECTORY}/audit.log"\n' if plan.is_system else ""
    gid = pwd.getpwnam(ACCOUNT).pw_gid if plan.is_system else None
    try:
        first.make(first.First(pki, plan.user, _LIST_DAYS, handed_out=done), say)
        _write(
            os.path.join(plan.directory, "policy.toml"), _POLICY.format(user=plan.user), gid, say
        )
        _write(config, _CONFIG.format(more=more), gid, say)
    except PkiError as error:
        raise SetUpError(str(error)) from None


def still_to_do(plan: Plan) -> list[str]:
    """What a gateway that was set up needs besides being started: sentences."""
    found = [_ends(plan), _unbound(plan), _outside_group() if plan.is_system else None]
    return [text for text in found if text is not None]


def _ends(plan: Plan) -> str | None:
    """What has to be done before the revocation list ends, in a sentence."""
    pki = os.path.join(plan.directory, "pki")
    if (at := first.list_ends(pki)) is None:
        return None
    return (
        f"The revocation list ends at {telling.day(at)}, and nobody is let in then; to be run"
        f" before, best by a timer (docs/PKI.md): {telling.command(pki, 'crl')}"
    )


def _unbound(plan: Plan) -> str | None:
    """A policy that was kept may not know the user: what to add."""
    path = os.path.join(plan.directory, "policy.toml")
    subject = f"{naming.USER_PREFIX}{plan.user}"
    with suppress(OSError, UnicodeDecodeError), open(path, encoding="utf-8") as file:
        if f'"{subject}"' not in file.read():
            return f'{path} was kept, and has no binding with match = "{subject}"'
    return None


def _write(path: str, text: str, gid: int | None, say: Callable[[str], object]) -> None:
    if os.path.lexists(path):
        say(f"kept: {path}")
        return
    files.write(path, text.encode(), 0o640, gid=gid)
    say(f"made: {path}")


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise SetUpError(f"your number {os.geteuid()} has no name on this host") from None


def _has_group(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True
