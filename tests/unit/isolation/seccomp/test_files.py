"""Profiles of users: the format of container engines, closed, bounded, with places in errors."""

from __future__ import annotations

import errno
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation.seccomp import bpf_machine
from isolation.seccomp import files as seccomp_files
from isolation.seccomp import profiles as seccomp_profiles
from isolation.seccomp.compiler import (
    ALLOW,
    KILL_PROCESS,
    KILL_THREAD,
    LOG,
    TRAP,
    USER_NOTIF,
    refuse,
)
from isolation.seccomp.syscall_table import machine

MACHINE = machine()
EPERM = refuse(errno.EPERM)
# What a command needs to be started at all, and what a report needs.
NEEDED = ["execve", "sendmsg", "brk", "mmap", "munmap", "futex"]


def document(*rules: dict[str, Any], **fields: Any) -> bytes:
    whole = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": NEEDED, "action": "SCMP_ACT_ALLOW"}, *rules],
        **fields,
    }
    return json.dumps(whole).encode()


def says(text: bytes, name: str, *arguments: int, **options: Any) -> int:
    program = seccomp_profiles.compile_file(text, **options)
    data = bpf_machine.pack_data(MACHINE.numbers[name], MACHINE.audit_arch, *arguments)
    return bpf_machine.run(program, data)


def allow(*names: str, **fields: Any) -> dict[str, Any]:
    return {"names": list(names), "action": "SCMP_ACT_ALLOW", **fields}


def refused(text: bytes) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  its text is looked at
        seccomp_profiles.compile_file(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("SCMP_ACT_ALLOW", ALLOW), ("SCMP_ACT_LOG", LOG), ("SCMP_ACT_ERRNO", EPERM),
        ("SCMP_ACT_TRAP", TRAP), ("SCMP_ACT_KILL", KILL_THREAD),
        ("SCMP_ACT_KILL_THREAD", KILL_THREAD), ("SCMP_ACT_KILL_PROCESS", KILL_PROCESS),
    ],
)  # fmt: skip
def test_each_action(action: str, expected: int) -> None:
    assert says(document({"names": ["mount"], "action": action}), "mount") == expected


def test_the_errno_is_1_unless_given_as_number_or_name() -> None:
    rule = {"names": ["mount"], "action": "SCMP_ACT_ERRNO"}
    assert says(document(rule), "mount") == EPERM
    assert says(document({**rule, "errnoRet": 38}), "mount") == refuse(38)
    assert says(document({**rule, "errno": "ENOSYS"}), "mount") == refuse(38)
    assert says(document({**rule, "errno": "ENOSYS", "errnoRet": 38}), "mount") == refuse(38)
    assert says(document(allow("write"), defaultErrnoRet=13), "read") == refuse(13)
    assert says(document(allow("write"), defaultErrno="EACCES"), "read") == refuse(13)


@pytest.mark.parametrize(
    ("op", "fits", "does_not"),
    [
        ("NE", [4, 6], [5]), ("LT", [4], [5, 6]), ("LE", [4, 5], [6]), ("EQ", [5], [4, 2**32 + 5]),
        ("GE", [5, 2**40], [4]), ("GT", [6, 2**32], [5]),
    ],
)  # fmt: skip
def test_each_comparison(op: str, fits: list[int], does_not: list[int]) -> None:
    text = document(allow("dup", args=[{"index": 0, "value": 5, "op": f"SCMP_CMP_{op}"}]))
    assert {says(text, "dup", given) for given in fits} == {ALLOW}
    assert {says(text, "dup", given) for given in does_not} == {EPERM}


def test_a_mask_comes_first_and_the_value_second() -> None:
    args = [{"index": 1, "value": 0xF0, "valueTwo": 0x20, "op": "SCMP_CMP_MASKED_EQ"}]
    text = document(allow("dup", args=args))
    assert says(text, "dup", 0, 0x120) == says(text, "dup", 0, 0x2F) == ALLOW
    assert says(text, "dup", 0, 0x30) == EPERM


def test_conditions_on_different_arguments_all_count_on_the_same_one_any() -> None:
    def args(*pairs: tuple[int, int]) -> list[dict[str, Any]]:
        return [{"index": i, "value": v, "op": "SCMP_CMP_EQ"} for i, v in pairs]

    both = document(allow("dup", args=args((0, 1), (1, 2))))
    assert (says(both, "dup", 1, 2), says(both, "dup", 1, 3)) == (ALLOW, EPERM)
    either = document(allow("dup", args=args((0, 1), (0, 2))))
    assert says(either, "dup", 1) == says(either, "dup", 2) == ALLOW
    assert says(either, "dup", 3) == EPERM


def test_rules_for_other_capabilities_machines_and_kernels_do_not_count() -> None:
    admin = {"caps": ["CAP_SYS_ADMIN"]}
    text = document(
        allow("mount", includes=admin), allow("setns", excludes=admin), allow("openat2")
    )
    assert (says(text, "mount"), says(text, "setns")) == (EPERM, ALLOW)
    given = {"capabilities": ["SYS_ADMIN"]}
    assert (says(text, "mount", **given), says(text, "setns", **given)) == (ALLOW, EPERM)
    elsewhere = document(allow("dup", includes={"arches": ["s390x"]}))
    assert says(elsewhere, "dup") == EPERM
    here = document(allow("dup", includes={"arches": ["s390x", MACHINE.engine_name]}))
    assert says(here, "dup") == ALLOW
    assert says(document(allow("dup", includes={"minKernel": "4.8"})), "dup") == ALLOW
    assert says(document(allow("dup", includes={"minKernel": "99.0"})), "dup") == EPERM
    assert says(document(allow("dup", excludes={"minKernel": "4.8"})), "dup") == EPERM


def test_what_engines_write_besides_is_taken() -> None:
    text = document(
        {"name": "dup", "action": "SCMP_ACT_ALLOW", "args": None, "comment": "old", "includes": {},
         "excludes": None},
        architectures=["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        archMap=[{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X32"]}],
    )  # fmt: skip
    assert says(text, "dup") == ALLOW


def test_calls_newer_than_the_profile_are_not_there() -> None:
    """With EPERM for those, C libraries that try the new call would not fall back."""
    text = document(allow("openat2"))
    assert says(text, "faccessat2") == says(text, "fchmodat2") == refuse(errno.ENOSYS)
    assert says(text, "clone3") == EPERM


def test_a_report_tells_refusals_with_their_errno_and_leaves_kills_alone() -> None:
    text = document(
        {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13},
        {"names": ["setns"], "action": "SCMP_ACT_KILL_PROCESS"},
    )
    assert says(text, "mount", report=True) == USER_NOTIF | 13
    assert says(text, "setns", report=True) == KILL_PROCESS


def test_names_of_other_machines_and_unknown_ones_are_skipped_where_that_is_safe() -> None:
    assert says(document(allow("dup", "umount", "from_the_future")), "dup") == ALLOW
    deny = {"names": ["mount", "umount"], "action": "SCMP_ACT_ERRNO"}
    assert says(document(deny, defaultAction="SCMP_ACT_ALLOW"), "mount") == EPERM


def test_a_misspelt_name_is_refused_where_it_would_leave_a_call_allowed() -> None:
    deny = {"names": ["setns", "mout"], "action": "SCMP_ACT_ERRNO"}
    assert refused(document(deny, defaultAction="SCMP_ACT_ALLOW")) == (
        'syscalls[1].names[1]: expected a system call that is known here, got "mout"'
    )


RULE = {"names": ["dup"], "action": "SCMP_ACT_ALLOW"}
ARG = {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}


@pytest.mark.parametrize(
    ("rule", "place"),
    [
        ({**RULE, "surprise": 1}, "syscalls[1]: unknown field 'surprise'"),
        ({**RULE, "action": "SCMP_ACT_NOTIFY"}, "syscalls[1].action: expected one of"),
        ({**RULE, "action": "SCMP_ACT_TRACE"}, "syscalls[1].action: expected one of"),
        ({**RULE, "action": ["SCMP_ACT_ALLOW"]}, "syscalls[1].action: expected one of"),
        ({"names": ["dup"]}, "syscalls[1].action: expected one of"),
        ({**RULE, "names": []}, "syscalls[1].names: expected the names"),
        ({**RULE, "names": "dup"}, "syscalls[1].names: expected an array"),
        ({**RULE, "names": [5]}, "syscalls[1].names[0]: expected the name of a system call, got 5"),
        ({**RULE, "names": ["../x"]}, "syscalls[1].names[0]: expected the name"),
        ({**RULE, "errnoRet": 1}, "syscalls[1].errnoRet: expected nothing"),
        ({"names": ["dup"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5000}, "from 0 to 4095"),
        ({"names": ["dup"], "action": "SCMP_ACT_ERRNO", "errnoRet": True}, "got true"),
        ({"names": ["dup"], "action": "SCMP_ACT_ERRNO", "errno": "EWHAT"}, "syscalls[1].errno: "),
        ({"names": ["dup"], "action": "SCMP_ACT_ERRNO", "errno": "errorcode"}, "[1].errno: "),
        ({"names": ["dup"], "action": "SCMP_ACT_ERRNO", "errno": "EIO", "errnoRet": 1}, "].errno"),
        ({**RULE, "args": {}}, "syscalls[1].args: expected an array"),
        ({**RULE, "args": [3]}, "syscalls[1].args[0]: expected an object, got 3"),
        ({**RULE, "args": [{**ARG, "index": 6}]}, "syscalls[1].args[0].index: expected a whole"),
        ({**RULE, "args": [{**ARG, "value": -1}]}, "syscalls[1].args[0].value: "),
        ({**RULE, "args": [{**ARG, "value": 2**64}]}, "syscalls[1].args[0].value: "),
        ({**RULE, "args": [{**ARG, "value": 1.0}]}, "syscalls[1].args[0].value: "),
        ({**RULE, "args": [{**ARG, "op": "=="}]}, "syscalls[1].args[0].op: expected one of"),
        ({**RULE, "args": [ARG] * 7}, "syscalls[1].args: expected at most 6"),
        ({**RULE, "includes": {"caps": ["CAP_X"]}}, "syscalls[1].includes.caps[0]: expected a cap"),
        ({**RULE, "includes": {"caps": [1]}}, "syscalls[1].includes.caps[0]: expected a cap"),
        ({**RULE, "excludes": {"minKernel": "x"}}, "syscalls[1].excludes.minKernel: expected a v"),
        ({**RULE, "excludes": {"uid": 1}}, "syscalls[1].excludes: unknown field 'uid'"),
        ({**RULE, "includes": {"arches": [None]}}, "syscalls[1].includes.arches[0]: "),
        (5, "syscalls[1]: expected an object, got 5"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused_with_its_place(rule: Any, place: str) -> None:
    assert place in refused(document(rule))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "not JSON"), (b"[]", "the profile: expected an object, got []"),
        (b"{", "line 1, column 2"), (b"\xff{}", "not UTF-8"), (b"[" * 100_000, "nested too deeply"),
        (b"{}" + b" " * 262_144, "at most 262144 are read"),
        (b'{"defaultAction": "SCMP_ACT_ALLOW", "defaultAction": "SCMP_ACT_KILL"}', "a field twice"),
        (b'{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x"}', "unknown field 'listener"),
        (b'{"defaultAction": "SCMP_ACT_ALLOW", "flags": []}', "unknown field 'flags'"),
        (b'{"syscalls": []}', "defaultAction: expected one of"),
        (b'{"defaultAction": "SCMP_ACT_KILL", "defaultErrnoRet": 1}', "defaultErrnoRet: "),
        (b'{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["x86"]}', "architectures[0]: "),
        (b'{"defaultAction": "SCMP_ACT_ALLOW", "archMap": [{}]}', "archMap[0].architecture: "),
        (b'{"defaultAction": ' + b"9" * 5000 + b"}", ""),
    ],
)  # fmt: skip
def test_what_is_no_profile_is_refused(text: bytes, why: str) -> None:
    assert why in refused(text)


def test_a_profile_under_which_no_command_could_start_is_refused() -> None:
    nothing = b'{"defaultAction": "SCMP_ACT_ERRNO"}'
    assert refused(nothing) == ("the profile refuses execve: no command could be started under it")


def test_a_profile_that_could_not_hand_over_its_report_is_refused_only_with_a_report() -> None:
    rules = [{"names": ["execve"], "action": "SCMP_ACT_ALLOW"}]
    text = json.dumps({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules}).encode()
    assert says(text, "execve") == ALLOW
    with pytest.raises(ValueError, match="refuses sendmsg: without it nothing can be reported"):
        seccomp_profiles.compile_file(text, report=True)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(st.sampled_from(["names", "action", "args", "index", "caps"]), st.text()),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=20,
)


@given(json_values)
def test_any_json_is_a_profile_or_a_value_error(value: object) -> None:
    for text in (
        json.dumps(value),
        json.dumps({"defaultAction": "SCMP_ACT_LOG", "syscalls": value}),
    ):
        try:
            seccomp_files.parse(text.encode())
        except ValueError:
            continue


@given(st.binary(max_size=200))
def test_any_bytes_are_a_profile_or_a_value_error(text: bytes) -> None:
    try:
        seccomp_files.parse(text)
    except ValueError:
        return
