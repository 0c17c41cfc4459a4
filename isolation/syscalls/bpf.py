"""bpf(2), for the device filters of cgroups. Not lean: the daemon alone imports it.

One function an operation. The kernel takes a union whose members start at 0; it wants all
bytes beyond what an operation knows to be zero, and takes a shorter one.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from enum import IntFlag
from typing import Any, Final

from isolation.syscalls.common import by_machine, check, failed, libc, long

_SYS_BPF: Final = by_machine(x86_64=321, aarch64=280, riscv64=280)
_INSTRUCTION_BYTES: Final = 8
_LOG_BYTES: Final = 4096

PROG_TYPE_CGROUP_DEVICE: Final = 15
ATTACH_CGROUP_DEVICE: Final = 6


class AttachFlags(IntFlag):
    """BPF_F_*, linux/bpf.h. ALLOW_MULTI: beside the programs of others, which all must agree."""

    ALLOW_MULTI = 1 << 1


class _Load(ctypes.Structure):
    """The part of union bpf_attr for BPF_PROG_LOAD, linux/bpf.h."""

    _fields_ = (
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_uint64),
        ("kern_version", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
        ("prog_name", ctypes.c_char * 16),
        ("prog_ifindex", ctypes.c_uint32),
        ("expected_attach_type", ctypes.c_uint32),
    )


# The part of union bpf_attr for BPF_PROG_ATTACH: target_fd, attach_bpf_fd, attach_type,
# attach_flags.
_ATTACH: Final = struct.Struct("=IIII")


def prog_load(program: bytes, prog_type: int, name: str) -> int:
    """A close-on-exec descriptor of the program, checked by the kernel. BPF_PROG_LOAD.

    `program` is an array of struct bpf_insn, `name` what bpftool shows, at most 15 bytes.

    Raises OSError: EPERM without CAP_BPF and CAP_NET_ADMIN, EINVAL for a kind that this
    kernel lacks, EACCES for a program that it does not take; the verifier's words are a note.
    """
    license_, log = b"Apache-2.0", ctypes.create_string_buffer(_LOG_BYTES)
    attributes = _Load(
        prog_type=prog_type,
        insn_cnt=len(program) // _INSTRUCTION_BYTES,
        insns=_address(program),
        license=_address(license_),
        prog_name=name.encode()[:15],
    )
    call = f"bpf(BPF_PROG_LOAD, {prog_type}, {len(program)} bytes)"
    try:
        return _bpf(5, attributes, call)
    except OSError as refused:
        # Asked for only now: the kernel refuses a good program whose log does not fit.
        attributes.log_level, attributes.log_size = 1, _LOG_BYTES
        attributes.log_buf = ctypes.addressof(log)
        try:
            return _bpf(5, attributes, call)
        except OSError:
            refused.add_note(log.value.decode("ascii", "replace").strip())
            raise refused from None


def prog_attach(cgroup_fd: int, prog_fd: int, attach_type: int, flags: AttachFlags) -> None:
    """Let a program decide for a cgroup and all below it, until its end. BPF_PROG_ATTACH.

    Raises OSError: EPERM where a program further up was attached to be the only one.
    """
    # Once a job: structures, the names of flags and texts that nobody reads are dear.
    attributes = _ATTACH.pack(cgroup_fd, prog_fd, attach_type, flags)
    number = -1 if _SYS_BPF is None else _SYS_BPF
    if libc.syscall(long(number), long(8), attributes, ctypes.c_uint(_ATTACH.size)) < 0:
        call = f"bpf(BPF_PROG_ATTACH, {cgroup_fd}, {prog_fd}, {attach_type}, {int(flags):#x})"
        raise failed(ctypes.get_errno(), call)


def _bpf(command: int, attributes: Any, call: str) -> int:  # noqa: ANN401  a structure of any kind
    if _SYS_BPF is None:
        raise failed(errno.ENOSYS, call)
    size = ctypes.c_uint(ctypes.sizeof(attributes))
    result = libc.syscall(long(_SYS_BPF), long(command), ctypes.byref(attributes), size)
    return check(result, call)


def _address(data: bytes) -> int:
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0
