"""Capabilities: the numbers are the kernel's, and root's list holds no way out of a job."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from isolation import capabilities
from isolation.capabilities import CAPABILITIES, ROOT_CAPABILITIES

HEADER = Path("/usr/include/linux/capability.h")

# Each of them leads out of a job or changes the host (capabilities(7)).
DANGEROUS = {
    "SYS_ADMIN", "SYS_MODULE", "SYS_PTRACE", "SYS_RAWIO", "SYS_BOOT", "SYS_TIME", "SYS_RESOURCE",
    "NET_ADMIN", "DAC_READ_SEARCH", "MKNOD", "BPF", "PERFMON", "SYSLOG", "MAC_ADMIN",
    "MAC_OVERRIDE", "SYS_NICE", "LINUX_IMMUTABLE", "AUDIT_CONTROL", "CHECKPOINT_RESTORE",
    "WAKE_ALARM", "BLOCK_SUSPEND", "IPC_OWNER", "SYS_PACCT", "SYS_TTY_CONFIG",
}  # fmt: skip


def test_names_and_numbers_are_those_of_the_kernels_header() -> None:
    if not HEADER.exists():
        pytest.skip(f"needs {HEADER} (Debian: linux-libc-dev)")
    defined = re.findall(r"#define CAP_(\w+)\s+(\d+)\n", HEADER.read_text())
    for name, number in defined:
        assert capabilities.number(name) == int(number)
    assert len(CAPABILITIES) >= len(defined)


def test_no_capability_that_leads_out_of_a_job_is_in_roots_list() -> None:
    assert not set(ROOT_CAPABILITIES) & DANGEROUS
    assert set(CAPABILITIES) > DANGEROUS | set(ROOT_CAPABILITIES)


def test_both_spellings_are_understood_and_no_other() -> None:
    assert capabilities.number("NET_RAW") == capabilities.number("CAP_NET_RAW") == 13
    for wrong in ("net_raw", "CAP_CAP_NET_RAW", "", "EVERYTHING", "CAP_"):
        with pytest.raises(ValueError, match="is not a capability"):
            capabilities.number(wrong)


def test_a_set_has_one_bit_for_each_name_however_often_it_is_named() -> None:
    assert capabilities.bits(["CHOWN", "CAP_CHOWN", "KILL"]) == 0b100001
    assert capabilities.bits(CAPABILITIES) == 2**41 - 1
    assert capabilities.bits([]) == 0


def test_an_ordinary_users_job_has_only_what_was_added() -> None:
    assert capabilities.of_job(1000, [], in_userns=False) == frozenset()
    assert capabilities.of_job(1000, ["CAP_NET_RAW"], in_userns=False) == {"NET_RAW"}


def test_root_and_the_root_of_a_user_namespace_have_roots_list() -> None:
    assert capabilities.of_job(0, [], in_userns=False) == set(ROOT_CAPABILITIES)
    assert capabilities.of_job(1000, ["MKNOD"], in_userns=True) == {*ROOT_CAPABILITIES, "MKNOD"}
