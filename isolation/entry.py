"""A further command in a job that runs: from a fork to the exec, inside the job's namespaces. Lean.

The way of `isolation.payload`, whose steps are used, into what that one made. The caller has
forked into the job's cgroup and process numbers already (`runner.entering`).

Safety argument: a job that is hostile by now made the tree and the processes that this meets
as root. So nothing is opened, read or imported there before the privileges are dropped; the
process is not dumpable until its exec, so nobody looks into it or takes its descriptors (its
interpreter's binary among them); and it holds nothing of the host but its three streams and
the pipe for the report by then. What is looked for afterwards, it looks for as the job.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from isolation import landlock, payload, privileges, rlimits, syscalls
from isolation.files import confinement
from isolation.seccomp import filters as seccomp
from isolation.syscalls import CloneFlags

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from isolation.payload import Command, Step, Streams

# All that a first process can have changed or entered, but its user namespace.
_NAMESPACES: Final = (
    CloneFlags.NEWNS
    | CloneFlags.NEWIPC
    | CloneFlags.NEWUTS
    | CloneFlags.NEWCGROUP
    | CloneFlags.NEWNET
)


class Entry(NamedTuple):
    """Where to enter, and what the job is confined by.

    `target` is a pidfd of the job's first process, `userns` the job's own user namespace;
    both are closed on the way. `sandbox` is that of the job's spec, `job_cwd` the directory
    that it was submitted with, `rlimits` as in `isolation.payload.Setup`, `program` its filter,
    one without a listener.
    """

    target: int
    userns: int | None
    sandbox: Mapping[str, Any]
    job_cwd: bytes
    rlimits: Mapping[str, Sequence[int | None]]
    program: bytes | None


def execute(command: Command, streams: Streams, entry: Entry) -> NoReturn:
    """Enter the job and run the command. Reports as `isolation.payload.execute`; never returns."""
    payload.run(lambda: _steps(command, streams, entry), command, streams)


def _steps(command: Command, streams: Streams, entry: Entry) -> list[Step]:
    """The table of contents; the order is the safety argument."""
    return [
        ("leave the session", os.setsid),
        ("let go of the host", lambda: _let_go(streams, entry)),
        ("enter the namespaces", lambda: _enter(entry)),
        ("set the resource limits", lambda: rlimits.apply(entry.rlimits)),
        ("leave the keyring", privileges.leave_keyring),
        ("enter the user namespace", lambda: _enter_userns(entry)),
        ("drop privileges", lambda: _drop(command, entry)),
        ("enter the working directory", lambda: _change_directory(command.cwd)),
        ("confine to paths", lambda: _confine(entry)),
        ("reset the signals", payload.reset_signals),
        ("mark the descriptors", lambda: syscalls.close_on_exec_from(3)),
        ("announce the command", lambda: os.write(streams.status, payload.EXECUTING)),
        ("filter the system calls", lambda: _filter(entry)),
    ]


def _let_go(streams: Streams, entry: Entry) -> None:
    """Keep nothing that a path or a descriptor of the job's could lead out by."""
    kept = (0, 1, 2, streams.status, entry.target, entry.userns)
    syscalls.close_all_except([fd for fd in kept if fd is not None])
    # The interpreter imports some codecs when they are first used. Not from the job's tree.
    sys.meta_path[:] = [_NoImports()]
    # Inherited from the launcher, and what all of this rests on.
    syscalls.set_dumpable(dumpable=False)


class _NoImports:
    """Finds no module, and lets nobody else look."""

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> None:
        raise ImportError(f"{name} is not imported from a job's tree")


def _enter(entry: Entry) -> None:
    """Root and working directory are those of the mount namespace then: setns(2)."""
    syscalls.setns(entry.target, _NAMESPACES)
    os.close(entry.target)


def _enter_userns(entry: Entry) -> None:
    if entry.userns is not None:
        # After the others: it has no rights over namespaces that were made outside of it.
        syscalls.setns(entry.userns, CloneFlags.NEWUSER)
        os.close(entry.userns)


def _drop(command: Command, entry: Entry) -> None:
    os.umask(command.umask)
    privileges.drop_to(
        command.uid,
        command.gid,
        command.groups,
        entry.sandbox["capabilities"],
        in_userns=entry.userns is not None,
        is_proven=True,
    )


def _change_directory(path: bytes) -> None:
    try:
        os.chdir(path)
    except FileNotFoundError:
        why = "no such directory in the job's own tree"
        raise FileNotFoundError(errno.ENOENT, why, path) from None


def _confine(entry: Entry) -> None:
    paths = confinement.paths(entry.sandbox, entry.job_cwd, is_new=False)
    if paths is not None:
        landlock.restrict(*paths)


def _filter(entry: Entry) -> None:
    if entry.program is not None:
        seccomp.install(entry.program)
