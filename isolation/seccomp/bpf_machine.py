"""Classic BPF over a system call's data, as the kernel runs it for seccomp. Pure. Lean.

The monitor learns from it which errno a reporting filter meant; the compiler, whether a
program lets a job start. Only what `isolation.seccomp.compiler` emits is understood: loads
of words, comparisons with constants, a mask, jumps, returns. See seccomp(2).
"""

from __future__ import annotations

import struct
from typing import Final

# BPF_* of linux/bpf_common.h and linux/filter.h, put together: code of one instruction.
LOAD: Final = 0x20  # LD | W | ABS: the word at offset k
AND: Final = 0x54  # ALU | AND | K
JUMP: Final = 0x05  # JMP | JA
IF_EQUAL: Final = 0x15
IF_GREATER: Final = 0x25
IF_GREATER_OR_EQUAL: Final = 0x35
RETURN: Final = 0x06  # RET | K

# struct sock_filter: code, jump if true, jump if false, k.
INSTRUCTION: Final = struct.Struct("=HBBI")
# struct seccomp_data: number, architecture, instruction pointer, six arguments.
_DATA: Final = struct.Struct("=iIQ6Q")


def pack_data(number: int, architecture: int, *arguments: int) -> bytes:
    """A call as a program sees it; arguments that are not given are 0."""
    return _DATA.pack(number, architecture, 0, *arguments, *(0,) * (6 - len(arguments)))


def run(program: bytes, data: bytes) -> int:
    """What the program returns: an action of seccomp(2) with its data in the low 16 bits.

    Raises ValueError for an instruction that is not known here, struct.error for a jump or
    a load beyond the end. It always ends: jumps lead forward.
    """
    place = accumulator = 0
    while True:
        code, if_true, if_false, k = INSTRUCTION.unpack_from(program, place * INSTRUCTION.size)
        place += 1
        if code == RETURN:
            return int(k)
        if code == LOAD:
            (accumulator,) = struct.unpack_from("=I", data, k)
        elif code == AND:
            accumulator &= k
        elif code == JUMP:
            place += k
        else:
            place += if_true if _holds(code, accumulator, k) else if_false


def _holds(code: int, accumulator: int, k: int) -> bool:
    if code == IF_EQUAL:
        return accumulator == k
    if code == IF_GREATER:
        return accumulator > k
    if code == IF_GREATER_OR_EQUAL:
        return accumulator >= k
    raise ValueError(f"{code:#x} is not an instruction that is known here")
