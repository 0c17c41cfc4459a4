"""From rules about system calls to a program of the kernel: classic BPF for seccomp(2). Pure.

Knows numbers, not reasons: which calls a job may make is said in `isolation.seccomp.rules`
or in a file (`isolation.seccomp.files`). A program first looks at the architecture and at
the number alone, by binary search; so the kernel can tell in advance which numbers are
always allowed, and runs no program for those (Linux 5.11).
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, NamedTuple

from isolation.seccomp import bpf_machine as bpf
from isolation.seccomp.syscall_table import X32_BIT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from isolation.seccomp.syscall_table import Machine

# SECCOMP_RET_* of linux/seccomp.h. The data of an action are its low 16 bits.
KILL_PROCESS: Final = 0x80000000
KILL_THREAD: Final = 0x00000000
TRAP: Final = 0x00030000
ERRNO: Final = 0x00050000
USER_NOTIF: Final = 0x7FC00000
LOG: Final = 0x7FFC0000
ALLOW: Final = 0x7FFF0000
ACTION: Final = 0xFFFF0000

MAX_INSTRUCTIONS: Final = 4096  # BPF_MAXINSNS, linux/bpf_common.h
ALL_BITS: Final = 2**64 - 1

_LOW: Final = 0xFFFFFFFF
# struct seccomp_data; all machines that are known here are little-endian.
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_FARTHEST: Final = 255
_NO_CALL: Final = ERRNO | errno.ENOSYS

# Code, jump if true, jump if false, k. A jump is a count of instructions, or a place.
_Instruction = tuple[int, int, int, int]
_Leaf = tuple[_Instruction, ...]
_OK: Final = -1  # the condition holds
_FAIL: Final = -2  # it does not, and so the rule does not fit


def refuse(number: int) -> int:
    """The action that answers a call with an errno."""
    return ERRNO | number


class Condition(NamedTuple):
    """On one of six 64-bit arguments. `op` is ==, !=, <, <=, > or >=; only the first two mask."""

    argument: int
    op: str
    value: int
    mask: int = ALL_BITS


class Rule(NamedTuple):
    """What happens to calls of these names of which all conditions hold.

    Of several rules that fit a call the strictest counts, in the kernel's order of actions;
    of those with an errno one with conditions, then the first.
    """

    names: tuple[str, ...]
    action: int
    conditions: tuple[Condition, ...] = ()


class Profile(NamedTuple):
    """Rules, and what happens to the other calls.

    Calls newer than the newest that a rule names get ENOSYS where the default is an errno:
    their callers know what to do without, which they don't after EPERM.
    """

    default: int
    rules: tuple[Rule, ...]


def compile_profile(profile: Profile, machine: Machine, *, report: bool) -> bytes:
    """The program, an array of struct sock_filter.

    Calls of another architecture (i386) kill the process, those of x32 get ENOSYS. Names
    that this machine has not are skipped. With `report` a refusal by errno is told to a
    listener, with that errno in the low bits; ENOSYS is not: it says "not here".

    Raises ValueError for a program that is too long for the kernel.
    """
    tree = _tree(list(_ranges(profile, machine, report=report)))
    program = [
        (bpf.LOAD, 0, 0, _ARCHITECTURE),
        (bpf.IF_EQUAL, 1, 0, machine.audit_arch),
        (bpf.RETURN, 0, 0, KILL_PROCESS),
        (bpf.LOAD, 0, 0, _NUMBER),
        *tree,
    ]
    if len(program) > MAX_INSTRUCTIONS:
        size = f"{len(program)} instructions"
        raise ValueError(f"the program has {size}, the kernel takes {MAX_INSTRUCTIONS}")
    return b"".join(bpf.INSTRUCTION.pack(*instruction) for instruction in program)


def _strictness(action: int) -> int:
    """The kernel's order: lower is stricter. KILL_PROCESS counts as a negative number."""
    kind = action & ACTION
    return kind - 2**32 if kind & 0x80000000 else kind


def _ranges(profile: Profile, machine: Machine, *, report: bool) -> Iterable[tuple[int, _Leaf]]:
    """Numbers from which on a leaf counts, in order, up to all of 32 bits."""
    rules = _rules_by_number(profile, machine)
    is_errno = profile.default & ACTION == ERRNO
    newest_named = max(rules, default=-1)
    known = set(machine.numbers.values())
    default = _answer(profile.default, report=report)
    unknown = _answer(_NO_CALL if is_errno else profile.default, report=report)
    previous: _Leaf | None = None
    made: tuple[list[Rule], _Leaf] = ([], default)
    length = 0
    for number in range(machine.newest + 2):
        leaf = default if number in known and number <= newest_named else unknown
        if number in rules:
            # Calls side by side are mostly treated alike.
            if rules[number] != made[0]:
                made = (rules[number], _leaf(rules[number], profile.default, report=report))
            leaf = made[1]
        if leaf != previous:
            yield number, leaf
            length = _bounded(length + len(leaf))
        previous = leaf
    yield X32_BIT, _answer(_NO_CALL, report=report)


def _bounded(length: int) -> int:
    """Before a stranger's profile takes a second and all the memory that there is."""
    if length > MAX_INSTRUCTIONS:
        size = f"at least {length} instructions"
        raise ValueError(f"the program has {size}, the kernel takes {MAX_INSTRUCTIONS}")
    return length


def _rules_by_number(profile: Profile, machine: Machine) -> dict[int, list[Rule]]:
    """The rules about each number that one names."""
    rules: dict[int, list[Rule]] = {}
    for rule in profile.rules:
        for name in dict.fromkeys(rule.names):
            if name in machine.numbers:
                rules.setdefault(machine.numbers[name], []).append(rule)
    return rules


def _leaf(rules: list[Rule], default: int, *, report: bool) -> _Leaf:
    """Those with conditions in the order of their strictness, then the strictest without."""
    ordered = sorted(rules, key=lambda rule: (_strictness(rule.action), not rule.conditions))
    code: list[_Instruction] = []
    for rule in ordered:
        if not rule.conditions:
            default = rule.action
            break
        code += _rule(rule, report=report)
        _bounded(len(code))
    code += _answer(default, report=report)
    return tuple(code)


def _answer(action: int, *, report: bool) -> _Leaf:
    if report and action & ACTION == ERRNO and action != _NO_CALL:
        action = USER_NOTIF | action & ~ACTION
    return ((bpf.RETURN, 0, 0, action),)


def _rule(rule: Rule, *, report: bool) -> list[_Instruction]:
    """Falls through to its answer, jumps behind it when a condition does not hold."""
    code: list[_Instruction] = []
    for condition in rule.conditions:
        tests = _condition(condition)
        code += [_placed(test, place, len(tests), _OK) for place, test in enumerate(tests)]
    end = len(code) + 1
    placed = [_placed(instruction, place, end, _FAIL) for place, instruction in enumerate(code)]
    return [*placed, *_answer(rule.action, report=report)]


def _placed(instruction: _Instruction, place: int, target: int, mark: int) -> _Instruction:
    """Jumps to `mark` become jumps to `target`."""
    code, if_true, if_false, k = instruction
    distance = target - place - 1
    jumps = [distance if jump == mark else jump for jump in (if_true, if_false)]
    return code, jumps[0], jumps[1], k


def _condition(condition: Condition) -> list[_Instruction]:
    """The kernel compares words of 32 bits: first the upper half, then the lower one."""
    argument, op, value, mask = condition
    low = _ARGUMENTS + 8 * argument
    upper, lower = value >> 32, value & _LOW
    if op in {"==", "!="}:
        same, other = (_OK, _FAIL) if op == "==" else (_FAIL, _OK)
        return [
            *_load(low + 4, mask >> 32),
            (bpf.IF_EQUAL, 0, other, upper),
            *_load(low, mask & _LOW),
            (bpf.IF_EQUAL, same, other, lower),
        ]
    larger, smaller = (_OK, _FAIL) if op in {">", ">="} else (_FAIL, _OK)
    last = bpf.IF_GREATER_OR_EQUAL if op in {">=", "<"} else bpf.IF_GREATER
    return [
        *_load(low + 4, _LOW),
        (bpf.IF_GREATER, larger, 0, upper),
        (bpf.IF_EQUAL, 0, smaller, upper),
        *_load(low, _LOW),
        (last, larger, smaller, lower),
    ]


def _load(offset: int, mask: int) -> list[_Instruction]:
    load = (bpf.LOAD, 0, 0, offset)
    return [load] if mask == _LOW else [load, (bpf.AND, 0, 0, mask)]


def _tree(ranges: list[tuple[int, _Leaf]]) -> _Leaf:
    """A binary search for the range that the number is in."""
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    left, right = _tree(ranges[:middle]), _tree(ranges[middle:])
    start = ranges[middle][0]
    if len(left) <= _FARTHEST:
        return ((bpf.IF_GREATER_OR_EQUAL, len(left), 0, start), *left, *right)
    # A conditional jump reaches 255 instructions, an unconditional one all of them.
    far = ((bpf.IF_GREATER_OR_EQUAL, 0, 1, start), (bpf.JUMP, 0, 0, len(left)))
    return (*far, *left, *right)
