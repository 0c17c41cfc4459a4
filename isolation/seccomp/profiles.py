"""Filter programs for jobs: by the name of a profile, or from a file. Made once, then kept.

For the daemon. Installing a program is `isolation.seccomp.filters`'s; who may use which profile is
policy and not decided here.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from isolation.errors import LimitUnavailable
from isolation.seccomp import bpf_machine, syscall_table
from isolation.seccomp import files as seccomp_files
from isolation.seccomp import rules as seccomp_rules
from isolation.seccomp.compiler import (
    ACTION,
    ALLOW,
    ERRNO,
    LOG,
    USER_NOTIF,
    Profile,
    compile_profile,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from isolation.seccomp.syscall_table import Machine

PROFILES: Final = ("default", "strict")

# What the payload itself still calls under the filter: it executes the command, and hands
# the listener of a reporting filter over, for which the interpreter may want memory.
_TO_START: Final = ("execve",)
_TO_REPORT: Final = ("sendmsg", "brk", "mmap", "munmap", "futex")


def program(profile: str, *, capabilities: Collection[str] = (), report: bool = False) -> bytes:
    """The program of a profile that comes with runnerd: an array of struct sock_filter.

    `capabilities` are all that the job has (`isolation.capabilities.of_job`). With `report`
    it is one for a listener (`isolation.seccomp.denials`).

    Raises ValueError for another name, LimitUnavailable on a machine whose calls are not
    known.
    """
    if profile not in PROFILES:
        raise ValueError(f"{profile!r} is not a profile; there are {', '.join(PROFILES)}")
    return _program(profile, frozenset(capabilities), report)


def compile_file(text: bytes, *, capabilities: Collection[str] = (), report: bool = False) -> bytes:
    """The program of a profile in the JSON format of container engines.

    Raises ValueError that names the place and what is wrong there; LimitUnavailable.
    """
    machine = _machine()
    profile = seccomp_files.parse(text, capabilities=frozenset(capabilities))
    compiled = compile_profile(profile, machine, report=report)
    _require(compiled, machine, _TO_START, "no command could be started under it")
    if report:
        _require(compiled, machine, _TO_REPORT, "without it nothing can be reported")
    return compiled


def without_listener(program: bytes) -> bytes:
    """The same for a process that nobody listens to: it refuses by itself, with the same errnos."""
    return b"".join(
        bpf_machine.INSTRUCTION.pack(code, if_true, if_false, _by_itself(code, value))
        for code, if_true, if_false, value in bpf_machine.INSTRUCTION.iter_unpack(program)
    )


def _by_itself(code: int, value: int) -> int:
    is_asked = code == bpf_machine.RETURN and value & ACTION == USER_NOTIF
    return ERRNO | value & ~ACTION if is_asked else value


def syscall_name(number: int) -> str:
    """The name of a system call of this machine, or its number as text."""
    return syscall_table.name_of(number)


@lru_cache(maxsize=64)
def _program(profile: str, capabilities: frozenset[str], report: bool) -> bytes:  # noqa: FBT001
    return compile_profile(_built_in(profile, capabilities), _machine(), report=report)


def _built_in(profile: str, capabilities: frozenset[str]) -> Profile:
    return seccomp_rules.strict() if profile == "strict" else seccomp_rules.default(capabilities)


def _machine() -> Machine:
    try:
        return syscall_table.machine()
    except LookupError as error:
        remedy = "submit with --seccomp none, if runnerd's configuration allows it"
        raise LimitUnavailable("seccomp", why=str(error.args[0]), remedy=remedy) from None


def _require(compiled: bytes, machine: Machine, names: tuple[str, ...], otherwise: str) -> None:
    for name in names:
        data = bpf_machine.pack_data(machine.numbers[name], machine.audit_arch)
        if bpf_machine.run(compiled, data) & ACTION not in {ALLOW, LOG}:
            raise ValueError(f"the profile refuses {name}: {otherwise}")
