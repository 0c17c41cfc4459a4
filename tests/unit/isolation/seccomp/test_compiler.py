"""Programs decide as their rules do: compared, call by call, with the rules read plainly."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from isolation.seccomp import bpf_machine
from isolation.seccomp.compiler import (
    ALLOW,
    ERRNO,
    KILL_PROCESS,
    KILL_THREAD,
    LOG,
    MAX_INSTRUCTIONS,
    TRAP,
    USER_NOTIF,
    Condition,
    Profile,
    Rule,
    compile_profile,
    refuse,
)
from isolation.seccomp.syscall_table import machine

if TYPE_CHECKING:
    from collections.abc import Sequence

X86_64 = machine("x86_64")
NAMES = ["read", "open", "mount", "clone", "uprobe", "clone3", "rseq_slice_yield"]
ORDER = [KILL_PROCESS, KILL_THREAD, TRAP, ERRNO, LOG, ALLOW]
ENOSYS = refuse(errno.ENOSYS)
EDGES = [0, 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**63, 2**64 - 1]

values = st.one_of(st.sampled_from(EDGES), st.integers(0, 2**64 - 1), st.integers(0, 3))
conditions = st.builds(
    Condition,
    st.integers(0, 5),
    st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
    values,
).flatmap(
    lambda made: st.builds(made._replace, mask=values) if made.op in {"==", "!="} else st.just(made)
)
actions = st.sampled_from([ALLOW, LOG, TRAP, KILL_THREAD, KILL_PROCESS, refuse(1), refuse(13)])
rules = st.builds(
    Rule,
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(tuple),
    actions,
    st.lists(conditions, max_size=3).map(tuple),
)
profiles = st.builds(Profile, actions, st.lists(rules, max_size=8).map(tuple))


def verdict(program: bytes, number: int, *arguments: int, arch: int = X86_64.audit_arch) -> int:
    signed = number - 2**32 if number >= 2**31 else number
    return bpf_machine.run(program, bpf_machine.pack_data(signed, arch, *arguments))


def holds(condition: Condition, arguments: Sequence[int]) -> bool:
    given = arguments[condition.argument]
    return {
        "==": given & condition.mask == condition.value,
        "!=": given & condition.mask != condition.value,
        "<": given < condition.value,
        "<=": given <= condition.value,
        ">": given > condition.value,
        ">=": given >= condition.value,
    }[condition.op]


def expected(profile: Profile, number: int, arguments: Sequence[int]) -> int:
    """The rules as their documentation says, without a thought for programs."""
    named = [X86_64.numbers[name] for rule in profile.rules for name in rule.names]
    if number >= 0x40000000:
        return ENOSYS
    fitting = [
        rule
        for rule in profile.rules
        if number in {X86_64.numbers[name] for name in rule.names}
        and all(holds(condition, arguments) for condition in rule.conditions)
    ]
    if fitting:
        order = [(ORDER.index(r.action & 0xFFFF0000), not r.conditions) for r in fitting]
        return fitting[order.index(min(order))].action
    is_old = number in X86_64.numbers.values() and number <= max(named, default=-1)
    return profile.default if is_old or profile.default & 0xFFFF0000 != ERRNO else ENOSYS


numbers = st.one_of(
    st.sampled_from([X86_64.numbers[name] for name in NAMES]),
    st.integers(0, 500),
    st.sampled_from([2**30, 2**30 + 1, 2**31 - 1, 2**31, 2**32 - 1, 335, 337, 423, 472]),
)


@given(profiles, numbers, st.lists(values, min_size=6, max_size=6))
@example(Profile(refuse(1), ()), 0, [0] * 6)
def test_the_program_says_what_the_rules_say(
    profile: Profile, number: int, arguments: list[int]
) -> None:
    program = compile_profile(profile, X86_64, report=False)
    assert verdict(program, number, *arguments) == expected(profile, number, arguments)


@given(profiles, numbers, st.lists(values, min_size=6, max_size=6))
def test_a_reporting_program_differs_only_in_who_answers(
    profile: Profile, number: int, arguments: list[int]
) -> None:
    plain = expected(profile, number, arguments)
    told = verdict(compile_profile(profile, X86_64, report=True), number, *arguments)
    if plain & 0xFFFF0000 == ERRNO and plain != ENOSYS:
        assert told == USER_NOTIF | plain & 0xFFFF
    else:
        assert told == plain


@given(profiles, st.sampled_from([0x40000003, 0xC00000B7, 0]), numbers)
def test_calls_of_another_architecture_kill(profile: Profile, arch: int, number: int) -> None:
    """i386 has other numbers for the same calls: nothing that was decided here would hold."""
    program = compile_profile(profile, X86_64, report=False)
    assert verdict(program, number, arch=arch) == KILL_PROCESS


@given(profiles)
def test_every_jump_lands_inside(profile: Profile) -> None:
    program = compile_profile(profile, X86_64, report=False)
    length = len(program) // 8
    for place in range(length):
        code, if_true, if_false, k = bpf_machine.INSTRUCTION.unpack_from(program, place * 8)
        if code == bpf_machine.JUMP:
            assert place + 1 + k < length
        elif code not in {bpf_machine.RETURN, bpf_machine.LOAD, bpf_machine.AND}:
            assert place + 1 + max(if_true, if_false) < length


def test_jumps_of_more_than_255_instructions_lead_where_they_should() -> None:
    """A long chain in the lower half of the search puts the upper half out of reach."""
    chain = [
        Rule(("read",), refuse(number), (Condition(0, "==", number),)) for number in range(1, 120)
    ]
    profile = Profile(refuse(1), (*chain, Rule(("write", "rseq_slice_yield"), ALLOW)))
    program = compile_profile(profile, X86_64, report=False)
    assert verdict(program, 0, 119) == refuse(119)
    assert verdict(program, 0, 200) == refuse(1)
    assert verdict(program, 1) == verdict(program, 471) == ALLOW
    assert verdict(program, 470) == refuse(1)


def test_a_program_that_the_kernel_would_not_take_is_refused_with_its_size() -> None:
    chain = [Rule(("read",), ALLOW, (Condition(0, "==", n),)) for n in range(MAX_INSTRUCTIONS)]
    with pytest.raises(ValueError, match="instructions, the kernel takes 4096"):
        compile_profile(Profile(refuse(1), tuple(chain)), X86_64, report=False)


def test_names_that_a_machine_has_not_are_skipped() -> None:
    profile = Profile(refuse(1), (Rule(("open", "openat", "no_such_call"), ALLOW),))
    arm = machine("aarch64")
    program = compile_profile(profile, arm, report=False)
    assert verdict(program, arm.numbers["openat"], arch=arm.audit_arch) == ALLOW
    assert verdict(program, arm.numbers["close"], arch=arm.audit_arch) == ENOSYS
    assert verdict(program, arm.numbers["chdir"], arch=arm.audit_arch) == refuse(1)
