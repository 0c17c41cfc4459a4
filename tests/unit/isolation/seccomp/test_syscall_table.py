"""Numbers of system calls: those of the kernel's headers, which differ by machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from isolation.seccomp import syscall_table
from isolation.seccomp.syscall_table import machine

X86_64_HEADERS = (
    Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    Path("/usr/include/asm/unistd_64.h"),
)
GENERIC_HEADER = Path("/usr/include/asm-generic/unistd.h")
# What the header has for other machines alone, or under several names.
NOT_OF_64_BITS = {"__NR_arch_specific_syscall", "__NR_syscalls", "__NR_sync_file_range2"}


def test_the_numbers_of_x86_64_are_those_of_the_kernels_header() -> None:
    header = next((path for path in X86_64_HEADERS if path.exists()), None)
    if header is None:
        pytest.skip(f"needs {X86_64_HEADERS[0]} (Debian: linux-libc-dev on x86_64)")
    defined = re.findall(r"#define __NR_(\w+) (\d+)", header.read_text())
    known = machine("x86_64").numbers
    assert {name: known.get(name) for name, _ in defined} == {
        name: int(number) for name, number in defined
    }


def test_the_numbers_of_aarch64_are_those_of_the_generic_header() -> None:
    if not GENERIC_HEADER.exists():
        pytest.skip(f"needs {GENERIC_HEADER} (Debian: linux-libc-dev)")
    defined = re.findall(r"#define (__NR\w*_\w+) (\d+)\n", GENERIC_HEADER.read_text())
    known = machine("aarch64").numbers
    for name, number in defined:
        plain = name.removeprefix("__NR3264_").removeprefix("__NR_")
        if name in NOT_OF_64_BITS or 403 <= int(number) < 424:
            continue
        plain = {"fadvise64_64": "fadvise64", "fstatat": "newfstatat"}.get(plain, plain)
        assert known[plain] == int(number), name


def test_no_two_calls_of_a_machine_share_a_number() -> None:
    for name in ("x86_64", "aarch64", "riscv64"):
        numbers = machine(name).numbers
        assert len(set(numbers.values())) == len(numbers)


def test_from_424_on_all_machines_agree() -> None:
    shared = [
        {name: number for name, number in machine(of).numbers.items() if number >= 424}
        for of in ("x86_64", "aarch64", "riscv64")
    ]
    assert shared[0] == shared[1] == shared[2]
    assert shared[0]["pidfd_send_signal"] == 424
    assert shared[0]["rseq_slice_yield"] == machine("x86_64").newest == 471


def test_some_numbers_that_everybody_knows() -> None:
    x86, arm = machine("x86_64").numbers, machine("aarch64").numbers
    assert (x86["read"], x86["execve"], x86["seccomp"], x86["rseq"]) == (0, 59, 317, 334)
    assert (arm["read"], arm["execve"], arm["seccomp"], arm["rseq"]) == (63, 221, 277, 293)
    assert "open" not in arm


def test_a_machine_that_is_not_known_is_named() -> None:
    with pytest.raises(LookupError, match="the system calls of vax are not known"):
        machine("vax")


def test_a_number_without_a_name_is_shown_as_it_is() -> None:
    assert syscall_table.name_of(165, "x86_64") == "mount"
    assert syscall_table.name_of(4000, "x86_64") == "4000"


def test_names_of_other_machines_are_known_as_such() -> None:
    assert {"umount", "socketcall", "clock_gettime64", "open", "riscv_hwprobe"} <= (
        syscall_table.all_names()
    )
    assert "mout" not in syscall_table.all_names()
