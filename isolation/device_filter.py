"""Which device nodes a job may open or make: a small program that the kernel asks, per cgroup.

It holds whatever the nodes' owners and modes are, wherever a node comes from (a bind, a file
system of a stranger's). Which devices somebody may ask for is not decided here, nor what is
in the job's /dev (`isolation.files.tree`). For the daemon. See bpf(2) and the kernel's
Documentation/admin-guide/cgroup-v2.rst, "Device controller".
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

from isolation.syscalls import bpf
from isolation.syscalls.bpf import ATTACH_CGROUP_DEVICE, PROG_TYPE_CGROUP_DEVICE, AttachFlags

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


class Device(NamedTuple):
    """A device number that may be used. `kind` is "c" or "b"; `minor` None stands for all.

    `access` is letters out of "rwm": read, write, make the node with mknod(2).
    """

    kind: str
    major: int
    minor: int | None
    access: str = "rw"


def device_of(node: os.stat_result, access: str = "rw") -> Device:
    """The device behind a node. Raises ValueError for what is none."""
    kinds = {stat.S_IFCHR: "c", stat.S_IFBLK: "b"}
    kind = kinds.get(stat.S_IFMT(node.st_mode))
    if kind is None:
        raise ValueError("not a device node")
    return Device(kind, os.major(node.st_rdev), os.minor(node.st_rdev), access)


# Documentation/admin-guide/devices.txt: null, zero, full, random, urandom, tty, ptmx, and the
# pseudo-terminals. Nodes of the harmless ones may be made: the payload, which is held already,
# makes the job's own /dev of them.
DEFAULT_DEVICES: Final = (
    *(Device("c", 1, minor, "rwm") for minor in (3, 5, 7, 8, 9)),
    *(Device("c", 5, minor, "rwm") for minor in (0, 2)),
    *(Device("c", major, None) for major in range(136, 144)),
)

_NAME: Final = "runnerd_devices"
# BPF_DEVCG_*, linux/bpf.h.
_ACCESS: Final = {"m": 1, "r": 2, "w": 4}
_EVERY_ACCESS: Final = 7
_KIND: Final = {"b": 1, "c": 2}

# Codes of struct bpf_insn, and the registers that the program uses. bpf(2), "eBPF program".
_INSTRUCTION: Final = struct.Struct("=BBhi")
_LOAD_WORD: Final = 0x61
_MOVE: Final = 0xBF
_SET: Final = 0xB7
_AND: Final = 0x57
_SHIFT_RIGHT: Final = 0x77
_JUMP_UNLESS_EQUAL: Final = 0x55
_EXIT: Final = 0x95
_RESULT, _CONTEXT, _TYPE, _WANTED, _MAJOR, _MINOR, _EXCESS = 0, 1, 2, 3, 4, 5, 6

_kept: Final[list[int]] = []
_lock: Final = threading.Lock()


def attach(cgroup_fd: int, devices: Sequence[Device] = ()) -> None:
    """From here on the processes of this cgroup may use DEFAULT_DEVICES and these, no others.

    Filters that are there, of systemd or a container engine, go on beside it: a device has
    to pass them all. It goes with the cgroup. Once for each cgroup.

    Raises OSError with the reason in words.
    """
    if not devices:
        # One that is kept stays until the daemon's end: no lock for a look at it.
        _attach(cgroup_fd, _kept[0] if _kept else _usual())
        return
    program_fd = _load(assemble((*DEFAULT_DEVICES, *devices)))
    try:
        _attach(cgroup_fd, program_fd)
    finally:
        os.close(program_fd)


def _attach(cgroup_fd: int, program_fd: int) -> None:
    try:
        bpf.prog_attach(cgroup_fd, program_fd, ATTACH_CGROUP_DEVICE, AttachFlags.ALLOW_MULTI)
    except PermissionError as error:
        why = "a filter further up the cgroup tree does not let others beside it"
        raise PermissionError(error.errno, f"attach the device filter: {why}") from error


def available() -> str | None:
    """Why device filters cannot be made here; None when they can."""
    if _kept:
        return None
    try:
        _usual()
    except OSError as error:
        return str(error.strerror)
    return None


def assemble(devices: Iterable[Device]) -> bytes:
    """The program: 1 when a device of the list fits, else 0. Raises ValueError."""
    lines = [
        # struct bpf_cgroup_dev_ctx: access << 16 | type, major, minor.
        _line(_LOAD_WORD, _TYPE, _CONTEXT, offset=0),
        _line(_MOVE, _WANTED, _TYPE),
        _line(_AND, _TYPE, value=0xFFFF),
        _line(_SHIFT_RIGHT, _WANTED, value=16),
        _line(_LOAD_WORD, _MAJOR, _CONTEXT, offset=4),
        _line(_LOAD_WORD, _MINOR, _CONTEXT, offset=8),
    ]
    for device in devices:
        lines += _test(device)
    lines += [_line(_SET, _RESULT, value=0), _line(_EXIT)]
    return b"".join(lines)


def _test(device: Device) -> Iterator[bytes]:
    """Leaves with 1 if the device fits, goes on behind itself if not."""
    try:
        access = sum(_ACCESS[letter] for letter in set(device.access))
        kind = _KIND[device.kind]
    except KeyError as error:
        raise ValueError(f"{device}: {error} is no kind and no access of a device") from None
    compared = [(_TYPE, kind), (_EXCESS, 0), (_MAJOR, device.major)]
    if device.minor is not None:
        compared.append((_MINOR, device.minor))
    yield _line(_MOVE, _EXCESS, _WANTED)
    yield _line(_AND, _EXCESS, value=_EVERY_ACCESS & ~access)
    for place, (register, value) in enumerate(compared):
        # Over the other comparisons and the two lines of the answer.
        behind = len(compared) - place + 1
        yield _line(_JUMP_UNLESS_EQUAL, register, offset=behind, value=value)
    yield _line(_SET, _RESULT, value=1)
    yield _line(_EXIT)


def _line(code: int, target: int = 0, source: int = 0, *, offset: int = 0, value: int = 0) -> bytes:
    return _INSTRUCTION.pack(code, source << 4 | target, offset, value)


def _usual() -> int:
    """A descriptor of the program that most jobs have: loaded once, and kept."""
    with _lock:
        if not _kept:
            _kept.append(_load(assemble(DEFAULT_DEVICES)))
        return _kept[0]


def _load(program: bytes) -> int:
    try:
        return bpf.prog_load(program, PROG_TYPE_CGROUP_DEVICE, _NAME)
    except OSError as error:
        reasons = {
            errno.EPERM: "runnerd lacks CAP_BPF and CAP_NET_ADMIN, or a container's seccomp"
            " profile refuses bpf(2)",
            errno.EINVAL: "this kernel has no filters of devices (CONFIG_CGROUP_BPF)",
            errno.ENOSYS: "this kernel has no bpf(2) (CONFIG_BPF_SYSCALL)",
        }
        why = reasons.get(error.errno or 0, os.strerror(error.errno or 0))
        raise OSError(error.errno, f"load a device filter: {why}") from error
