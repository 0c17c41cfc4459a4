"""A child that makes itself a job's tree, as the payload does, and tells what it sees there.

Only files: no cgroup, no daemon, no system call filter. The child has its own mount, PID, IPC
and network namespace, and with `userns` a user namespace.
"""

from __future__ import annotations

import json
import os
import signal
import traceback
from typing import TYPE_CHECKING, Any, NamedTuple

from isolation import privileges, syscalls
from isolation.files import mounts
from isolation.files.tree import Tree, Wanted
from isolation.syscalls import CloneFlags
from tests.kernel.isolation.tree.id_maps import BASE, NEWUSER, Maps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ALICE, BOB = 4001, 4002

DEFAULTS: dict[str, Any] = {
    "preset": None, "filesystem": "host", "root": None, "keep_changes": None, "readable": [],
    "writable": [], "binds": [], "tmpfs": [], "hide": [], "devices": [], "secrets": [],
}  # fmt: skip


class Failed(NamedTuple):
    """The error of a step of the set-up."""

    step: str
    errno: int
    path: str
    why: str


class Options(NamedTuple):
    """As whom, where, and with what else than the sandbox's fields."""

    uid: int = ALICE
    gid: int | None = None
    groups: tuple[int, ...] = ()
    cwd: str | os.PathLike[str] = "/"
    scratch_bytes: int | None = None
    files: Mapping[bytes, bytes] = {}
    own_network: bool = True
    maps: Maps | None = None
    before_open: Callable[[], None] | None = None


ORDINARY = Options()


def wanted(options: Options, **sandbox: Any) -> Wanted:
    return Wanted(
        sandbox=DEFAULTS | sandbox,
        uid=options.uid,
        gid=options.uid if options.gid is None else options.gid,
        groups=options.groups,
        cwd=os.fsencode(options.cwd),
        scratch_bytes=options.scratch_bytes,
        own_network=options.own_network,
        idmap_fd=None if options.maps is None else options.maps.idmap,
        files=options.files,
        ids=None if options.maps is None else (BASE, BASE),
    )


def see(look: Callable[[], Any], options: Options = ORDINARY, **sandbox: Any) -> Any:
    """What `look` answers when it runs as the job in its tree; JSON goes through a pipe.

    Nothing can be imported in it that is not there already. `Failed` when a step failed.
    """
    answer = _in_a_child(lambda tree: _look(tree, look, options), wanted(options, **sandbox))
    if "failed" in answer:
        return Failed(*answer["failed"])
    if "defect" in answer:
        raise AssertionError(answer["defect"])
    return answer["seen"]


def shell(script: str, options: Options = ORDINARY, **sandbox: Any) -> tuple[int, str]:
    """Exit status and output of a shell script in the tree; a failure of the set-up raises."""

    def look() -> tuple[int, str]:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.dup2(writer, 1)
            os.dup2(writer, 2)
            os.execv("/bin/sh", ["sh", "-c", script])  # noqa: S606 - the shell is meant
        os.close(writer)
        text = _read(reader)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text

    seen = see(look, options, **sandbox)
    assert not isinstance(seen, Failed), seen
    return seen[0], seen[1]


def _in_a_child(work: Callable[[Tree], Any], to_make: Wanted) -> Any:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _as_init(lambda: _answer(writer, work, to_make))
    os.close(writer)
    text = _read(reader)
    os.waitpid(pid, 0)
    assert text, "the child told nothing"
    return json.loads(text)


def _as_init(work: Callable[[], None]) -> None:
    """The child of this child is the first of a PID namespace, so /proc can be mounted."""
    signal.alarm(60)
    new = CloneFlags.NEWNS | CloneFlags.NEWPID | CloneFlags.NEWIPC | CloneFlags.NEWNET
    # In the host's cgroup namespace a mount of cgroup2 would change the host's options of it.
    syscalls.unshare(new | CloneFlags.NEWCGROUP)
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        work()
        os._exit(0)
    os.waitpid(pid, 0)
    os._exit(0)


def _answer(writer: int, work: Callable[[Tree], Any], to_make: Wanted) -> None:
    try:
        result = work(Tree(to_make))
    except BaseException:  # noqa: BLE001 - told to the test
        result = {"defect": traceback.format_exc()}
    with os.fdopen(writer, "w") as pipe:
        json.dump(result, pipe)


def _look(tree: Tree, look: Callable[[], Any], options: Options) -> dict[str, Any]:
    step = "private"
    try:
        mounts.make_private()
        step = "open"
        _open(tree, options)
        step = "build"
        tree.build()
        step = "drop"
        _drop(options)
        step = "enter"
        tree.enter()
    except OSError as error:
        path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
        return {"failed": [step, error.errno or 0, path, error.strerror or str(error)]}
    return {"seen": look()}


def _open(tree: Tree, options: Options) -> None:
    gid = options.uid if options.gid is None else options.gid
    if options.before_open is not None:
        options.before_open()
    syscalls.set_thread_file_identity(options.uid, gid, options.groups)
    tree.open()
    syscalls.set_thread_file_identity(0, 0, ())


def _drop(options: Options) -> None:
    os.umask(0o022)
    if options.maps is not None:
        syscalls.setns(options.maps.userns, NEWUSER)
    gid = options.uid if options.gid is None else options.gid
    privileges.drop_to(options.uid, gid, options.groups, in_userns=options.maps is not None)


def _read(reader: int) -> str:
    with os.fdopen(reader, "rb") as pipe:
        return pipe.read().decode("utf-8", "replace")
