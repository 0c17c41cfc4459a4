"""Unpacking a tar archive that a stranger made, in a child that can do nothing else.

Theory of operation. The payload forks; the child loads what it needs, makes the target its
root directory, closes every other descriptor, becomes the job's user without a capability,
and unpacks. Links, "..", absolute names lead nowhere but into the target, device nodes are
left out, set-id bits are taken off, and the target's size bounds a bomb. A failure comes
back through a pipe. Lean until a job has an archive: tarfile is imported in the child alone.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final, NoReturn

from isolation.files.user_paths import refusal
from isolation.syscalls import close_all_except, set_capabilities, set_dumpable, set_no_new_privs

if TYPE_CHECKING:
    import tarfile
    from collections.abc import Iterator

# Of a job of root, whose archive may hold other owners: CHOWN, DAC_OVERRIDE, FOWNER, FSETID.
_ROOT_KEEPS: Final = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4
_PERMISSIONS: Final = 0o1777
_MAX_REPORT_BYTES: Final = 400
_SEPARATOR: Final = b"\0"


def unpack(archive: int, path: bytes, target: str, uid: int, gid: int) -> None:
    """Unpack the open archive into the directory `target` as this user.

    `path` is what the user called it. Raises OSError: EINVAL for what is no archive, ENOSPC
    when it does not fit, ECHILD when the child was killed (by the memory limit, most likely).
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _run(archive, target, (uid, gid), writer)
    os.close(writer)
    report = _read_all(reader)
    _, status = os.waitpid(child, 0)
    if status != 0 or report:
        number, _, text = report.partition(_SEPARATOR)
        why = text.decode("utf-8", "backslashreplace") or "unpacking it was killed; its memory?"
        raise refusal(int(number or errno.ECHILD), path, why)


def _read_all(reader: int) -> bytes:
    chunks = []
    while chunk := os.read(reader, 4096):
        chunks.append(chunk)
    os.close(reader)
    return b"".join(chunks)


def _run(archive: int, target: str, ids: tuple[int, int], writer: int) -> NoReturn:
    """The child. It never returns into the payload's own code."""
    try:
        _confine_and_unpack(archive, target, ids, writer)
        os._exit(0)
    except BaseException as error:  # noqa: BLE001 - everything is to be reported
        os.write(writer, _report_of(error))
    finally:
        os._exit(1)


def _confine_and_unpack(archive: int, target: str, ids: tuple[int, int], writer: int) -> None:
    # Everything that is imported on demand, too: afterwards there is no library to find.
    import bz2  # noqa: F401
    import encodings.idna  # noqa: F401
    import gzip  # noqa: F401
    import lzma  # noqa: F401
    import tarfile
    import zlib  # noqa: F401

    os.chroot(target)
    os.chdir("/")
    close_all_except((archive, writer))
    _become(*ids)
    with (
        os.fdopen(archive, "rb") as file,
        tarfile.open(fileobj=file, mode="r:*", errors="surrogateescape") as tar,
    ):
        tar.extraction_filter = _as_it_is
        # By number: names would be looked up in the archive's own /etc/passwd.
        tar.extractall("/", members=_harmless(tar), numeric_owner=True)  # noqa: S202 - see above


def _become(uid: int, gid: int) -> None:
    set_no_new_privs()
    os.umask(0)
    os.setgroups(())
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    set_capabilities(_ROOT_KEEPS if uid == 0 else 0)
    # Our memory is still a copy of the monitor's.
    set_dumpable(dumpable=False)


def _as_it_is(member: tarfile.TarInfo, _path: str) -> tarfile.TarInfo:
    """No filter of tarfile's: they refuse links that are fine inside of a root of its own."""
    return member


def _harmless(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for member in tar:
        if member.ischr() or member.isblk():
            continue
        member.mode &= _PERMISSIONS
        yield member


def _report_of(error: BaseException) -> bytes:
    number = error.errno if isinstance(error, OSError) and error.errno else errno.EINVAL
    if isinstance(error, OSError):
        name = os.fsencode(error.filename) if isinstance(error.filename, str | bytes) else b""
        text = b"unpacking " + name + b": " + (error.strerror or "").encode()
    else:
        # tarfile goes on with a line for each compression that it tried.
        why = str(error).partition(":\n")[0]
        text = f"it is no tar archive that can be read: {why}".encode("utf-8", "replace")
    return b"%d" % number + _SEPARATOR + text[:_MAX_REPORT_BYTES]
