"""What `runner-gateway init` leaves on the disk, so that a gateway can start.

For a user, a gateway that acts for that user alone, which needs nobody's permission. For root, one
for the machine, which runs as an account of its own and acts for those that runnerd's configuration
lets it act for. The certificates are `gateway.pki`'s.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import subprocess
from contextlib import suppress
from typing import Final, NamedTuple

ACCOUNT: Final = "runner-gateway"
AUDIT_DIRECTORY: Final = "/var/log/runner-gateway"
SOCKET_GROUP: Final = "runnerd"
_NOLOGIN: Final = "/usr/sbin/nologin"

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
    if os.path.lexists(os.path.join(directory, "config.toml")):
        raise SetUpError(f"{directory} has a config.toml already; remove it, or name another --dir")
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


def write(plan: Plan) -> list[str]:
    """Policy and configuration; their paths. Raises SetUpError: one is there already."""
    more = f'audit_log = "{AUDIT_DIRECTORY}/audit.log"\n' if plan.is_system else ""
    texts = {
        "policy.toml": _POLICY.format(user=plan.user),
        "config.toml": _CONFIG.format(more=more),
    }
    gid = pwd.getpwnam(ACCOUNT).pw_gid if plan.is_system else -1
    return [_write(os.path.join(plan.directory, name), text, gid) for name, text in texts.items()]


def _write(path: str, text: str, gid: int) -> str:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            if gid >= 0:
                os.fchown(fd, 0, gid)
            file.write(text)
    except FileExistsError:
        raise SetUpError(f"{path} is there already; remove it, or name another --dir") from None
    except OSError as error:
        raise SetUpError(f"cannot write {path}: {error.strerror}") from None
    return path


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
