"""The payload: from the monitor's fork to the exec of the command.

Theory of operation. The monitor forks; the child runs `execute` and never returns. Its
set-up is a list of named steps, run in order. A step that fails is reported through
`status_fd` as step, errno and text, and the child ends: nothing is executed with half a
set-up. Before the last step one byte, EXECUTING, is written, and the descriptor is
close-on-exec: so the byte and then end-of-file mean that the command runs; end-of-file
alone means that the child was killed during its set-up.

Privileged steps, each with its reason to be safe, run in namespaces of the job alone. What
a user named is opened with the user's own identity (`Tree.open`), and from then on known by
its descriptor. The command and its arguments are first looked at after the drop.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from isolation import landlock, privileges, rlimits, syscalls
from isolation.files import mounts
from isolation.files.tree import Tree, Wanted
from isolation.seccomp import filters as seccomp
from isolation.syscalls import CloneFlags

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Step = tuple[str, Callable[[], object]]

EXECUTING: Final = b"\x01"
EXEC_STEP: Final = "execute the command"
DEFAULT_PATH: Final = b"/usr/local/bin:/usr/bin:/bin"
_NO_INTERPRETER: Final = "the interpreter or loader that it names does not exist"
_NOT_IN_PRIVATE: Final = "no such file in the job, which has this directory to itself"
_PRIVATE: Final = tuple(os.fsencode(f"{place}/") for place in mounts.PRIVATE_DIRECTORIES)
_SEPARATOR: Final = b"\0"
# Bytes that are not UTF-8 become four characters each, and the whole must fit into a record.
MAX_REPORT_BYTES: Final = 512
# Of a path: the reason comes after it and must not be cut off.
_MAX_NAME_BYTES: Final = 200


class Command(NamedTuple):
    """What to execute and as whom. Bytes, because the kernel's text has no encoding."""

    argv: list[bytes]
    env: dict[bytes, bytes]
    cwd: bytes
    umask: int
    uid: int
    gid: int
    groups: Sequence[int]


class Streams(NamedTuple):
    """Descriptors that become 0, 1 and 2, the close-on-exec one for the report, and a socket.

    `denials` is where the listener of a reporting filter goes; None for a job without one.
    """

    stdin: int
    stdout: int
    stderr: int
    status: int
    denials: int | None = None


class Setup(NamedTuple):
    """What a job is set up with. Descriptors are None where it has none of the kind.

    `sandbox` is that of the job's spec (`runner.spec.sandbox`), `rlimits` maps names to
    (soft, hard) with None for unlimited, `files` paths of the job's tree to contents that
    are laid over what is there, `ids` the host's ids of the root of the job's user
    namespace. The descriptors are those of `runner.handles`.
    """

    network_fd: int | None
    userns_fd: int | None
    idmap_fd: int | None
    seccomp_fd: int | None
    sandbox: Mapping[str, Any]
    scratch_bytes: int | None
    rlimits: Mapping[str, Sequence[int | None]]
    files: Mapping[bytes, bytes]
    ids: Sequence[int] | None


class SetupFailure(NamedTuple):
    """Which step failed, and how. `errno` is 0 for a defect of ours."""

    step: str
    errno: int
    text: str


def execute(command: Command, streams: Streams, setup: Setup) -> NoReturn:
    """Run every step, then the command. Never returns, whatever happens."""
    run(lambda: _steps(command, streams, setup), command, streams)


def run(make_steps: Callable[[], list[Step]], command: Command, streams: Streams) -> NoReturn:
    """The same with any steps. The descriptors are arranged first; `streams` are above 2."""
    step = "arrange the descriptors"
    try:
        _forget_signals()
        _arrange_descriptors(streams)
        for step, action in make_steps():  # noqa: B007 - read by the handler
            action()
        step = EXEC_STEP
        _exec(command)
    # Everything: what is not caught here would end as a plain end-of-file, and that reads
    # as success; unwinding would run the monitor's own code a second time.
    except BaseException as error:  # noqa: BLE001
        _report(streams.status, step, error)
    finally:
        os._exit(125)


def _steps(command: Command, streams: Streams, setup: Setup) -> list[Step]:
    """The table of contents of a job's set-up."""
    tree = Tree(_wanted_tree(command, setup))
    return [
        ("close what is the monitor's", lambda: _close_others(streams, setup)),
        ("leave the session", os.setsid),
        ("allow the out-of-memory killer", privileges.become_killable),
        ("enter the network", lambda: _enter_network(setup.network_fd)),
        ("enter the namespaces", _enter_namespaces),
        ("detach the mounts", mounts.make_private),
        ("open what the job names", lambda: _as_user(command, tree.open)),
        ("build the file tree", tree.build),
        ("name the host", lambda: socket.sethostname(setup.sandbox["hostname"])),
        ("set the resource limits", lambda: rlimits.apply(setup.rlimits)),
        ("leave the keyring", privileges.leave_keyring),
        ("enter the user namespace", lambda: _enter_userns(setup.userns_fd)),
        ("drop privileges", lambda: _drop(command, setup)),
        ("enter the working directory", tree.enter),
        ("confine to paths", lambda: _confine(tree)),
        ("reset the signals", reset_signals),
        ("mark the descriptors", lambda: syscalls.close_on_exec_from(3)),
        # A filter of the user's own may refuse the write that says so.
        ("announce the command", lambda: os.write(streams.status, EXECUTING)),
        ("filter the system calls", lambda: _filter(streams, setup)),
    ]


def _wanted_tree(command: Command, setup: Setup) -> Wanted:
    return Wanted(
        sandbox=setup.sandbox,
        uid=command.uid,
        gid=command.gid,
        groups=command.groups,
        cwd=command.cwd,
        scratch_bytes=setup.scratch_bytes,
        own_network=setup.network_fd is not None,
        idmap_fd=setup.idmap_fd,
        files=setup.files,
        ids=setup.ids,
    )


def _as_user(command: Command, action: Callable[[], object]) -> None:
    """With the file permissions of the user: what is named is opened as the user alone may."""
    syscalls.set_thread_file_identity(command.uid, command.gid, command.groups)
    action()
    syscalls.set_thread_file_identity(0, 0, ())


def _forget_signals() -> None:
    """The monitor's SIGCHLD wakes a descriptor whose number is soon another's."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _arrange_descriptors(streams: Streams) -> None:
    """Each of `streams` is above 2: the monitor keeps 0 to 2 occupied."""
    for target, fd in enumerate(streams[:3]):
        os.dup2(fd, target, inheritable=True)


def _close_others(streams: Streams, setup: Setup) -> None:
    """Whoever came to look into this process as its user must find no way into the job's state."""
    entered = (setup.network_fd, setup.userns_fd, setup.idmap_fd, setup.seccomp_fd)
    kept = (0, 1, 2, streams.status, streams.denials, *entered)
    syscalls.close_all_except([fd for fd in kept if fd is not None])


def _enter_network(network_fd: int | None) -> None:
    if network_fd is not None:
        syscalls.setns(network_fd, CloneFlags.NEWNET)


def _enter_namespaces() -> None:
    # The cgroup namespace is rooted where its maker is: hence here and not in the clone,
    # whose cgroup namespace would be rooted at the monitor's cgroup.
    syscalls.unshare(
        CloneFlags.NEWNS | CloneFlags.NEWIPC | CloneFlags.NEWUTS | CloneFlags.NEWCGROUP
    )


def _enter_userns(userns_fd: int | None) -> None:
    if userns_fd is not None:
        syscalls.setns(userns_fd, CloneFlags.NEWUSER)


def _drop(command: Command, setup: Setup) -> None:
    os.umask(command.umask)
    privileges.drop_to(
        command.uid,
        command.gid,
        command.groups,
        setup.sandbox["capabilities"],
        in_userns=setup.userns_fd is not None,
    )


def _confine(tree: Tree) -> None:
    paths = tree.landlock_paths()
    if paths is not None:
        landlock.restrict(*paths)


def _filter(streams: Streams, setup: Setup) -> None:
    """Last of all: nothing that is needed for the set-up has to be allowed to the job."""
    if setup.seccomp_fd is None:
        return
    program = seccomp.read_program(setup.seccomp_fd)
    if streams.denials is None:
        seccomp.install(program)
    else:
        listener = seccomp.install_reporting(program)
        seccomp.send_listener(streams.denials, listener)


def reset_signals() -> None:
    """Every signal does what it does by default, and none is blocked."""
    # The interpreter ignores SIGPIPE and SIGXFSZ; ignored signals stay so over an exec.
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _exec(command: Command) -> None:
    """execvp(3) with the job's own PATH, without its fall-back to a shell."""
    name = command.argv[0]
    if b"/" in name:
        _exec_path(name, command)
    denied: OSError | None = None
    for directory in command.env.get(b"PATH", DEFAULT_PATH).split(b":"):
        try:
            _exec_path(os.path.join(directory or b".", name), command)
        except NotADirectoryError:
            continue
        except FileNotFoundError as error:
            # Found all the same: it is the interpreter of a script that is missing.
            if error.strerror == _NO_INTERPRETER:
                raise
        except PermissionError as error:
            denied = error
    raise denied or FileNotFoundError(errno.ENOENT, "not found in PATH", name)


def _exec_path(path: bytes, command: Command) -> None:
    try:
        os.execve(path, command.argv, command.env)  # noqa: S606 - no shell is the point
    except FileNotFoundError:
        if os.path.exists(path):
            raise FileNotFoundError(errno.ENOENT, _NO_INTERPRETER, path) from None
        if path.startswith(_PRIVATE):
            raise FileNotFoundError(errno.ENOENT, _NOT_IN_PRIVATE, path) from None
        raise


def _report(status_fd: int, step: str, error: BaseException) -> None:
    os.write(status_fd, report_of(step, error))


def report_of(step: str, error: BaseException) -> bytes:
    """A failed step, for `parse_report`."""
    number = (error.errno or 0) if isinstance(error, OSError) else 0
    text = _text_of(error).encode("utf-8", "surrogateescape")
    fields = (step.encode(), str(number).encode(), text)
    return _SEPARATOR.join(fields)[:MAX_REPORT_BYTES]


def _text_of(error: BaseException) -> str:
    if not isinstance(error, OSError) or not error.errno:
        return f"{type(error).__name__}: {error}"
    if not isinstance(error.filename, str | bytes):
        return str(error.strerror)
    name = os.fsencode(error.filename)
    shown = os.fsdecode(name[:_MAX_NAME_BYTES]) + ("..." if len(name) > _MAX_NAME_BYTES else "")
    return f"{shown}: {error.strerror}"


def parse_report(report: bytes) -> SetupFailure | None:
    """What the status descriptor gave until its end: None when the command runs."""
    if report == EXECUTING:
        return None
    report = report.removeprefix(EXECUTING)
    if not report:
        return SetupFailure("start", 0, "it was killed before it could start")
    step, _, rest = report.partition(_SEPARATOR)
    number, _, text = rest.partition(_SEPARATOR)
    # Readable rather than exact: it goes into a record, as text.
    words = [part.decode("utf-8", "backslashreplace") for part in (step, text)]
    return SetupFailure(words[0], int(number or b"0"), words[1])
