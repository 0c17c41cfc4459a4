"""What a job of root keeps: the numbers are the kernel's, and the dangerous ones are not there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from isolation import privileges

HEADER = Path("/usr/include/linux/capability.h")
ROOT = Path(__file__).parents[3]

# Each of them leads out of a job or changes the host (capabilities(7)).
DANGEROUS = {
    "CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_SYS_PTRACE", "CAP_SYS_RAWIO", "CAP_SYS_BOOT",
    "CAP_SYS_TIME", "CAP_SYS_RESOURCE", "CAP_NET_ADMIN", "CAP_DAC_READ_SEARCH", "CAP_MKNOD",
    "CAP_BPF", "CAP_PERFMON", "CAP_SYSLOG", "CAP_MAC_ADMIN", "CAP_MAC_OVERRIDE", "CAP_SYS_NICE",
    "CAP_LINUX_IMMUTABLE", "CAP_AUDIT_CONTROL", "CAP_CHECKPOINT_RESTORE", "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND", "CAP_IPC_OWNER", "CAP_SYS_PACCT", "CAP_SYS_TTY_CONFIG",
}  # fmt: skip


def header_capabilities() -> dict[str, int]:
    if not HEADER.exists():
        pytest.skip(f"needs {HEADER} (Debian: linux-libc-dev)")
    text = HEADER.read_text()
    return {name: int(number) for name, number in re.findall(r"#define (CAP_\w+)\s+(\d+)", text)}


def test_the_numbers_are_those_of_the_kernels_header() -> None:
    known = header_capabilities()
    assert {name: known[name] for name in privileges.ROOT_CAPABILITIES} == (
        privileges.ROOT_CAPABILITIES
    )


def test_no_capability_that_leads_out_of_a_job_is_kept() -> None:
    assert not set(privileges.ROOT_CAPABILITIES) & DANGEROUS
    assert set(header_capabilities()) >= DANGEROUS


def test_every_number_stands_for_one_bit_of_the_set() -> None:
    numbers = sorted(privileges.ROOT_CAPABILITIES.values())
    assert len(set(numbers)) == len(numbers)
    assert [bit for bit in range(64) if privileges._ROOT_SET >> bit & 1] == numbers


STATUS = """
import os, sys
from isolation import privileges
def state():
    with open("/proc/self/status") as file:
        return dict(line.rstrip("\\n").split(":\\t", 1) for line in file if ":\\t" in line)
uid, gid, groups = int(sys.argv[1]), int(sys.argv[2]), [int(n) for n in sys.argv[3].split(",") if n]
privileges.drop_to(uid, gid, groups)
after = state()
names = "Uid Gid Groups CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs"
for name in names.split():
    print(name, " ".join(after[name].split()))
try:
    os.setresuid(0, 0, 0)
    print("regained")
except PermissionError:
    print("for good")
"""


def drop(uid: int, gid: int, groups: str) -> tuple[dict[str, str], str]:
    done = subprocess.run(
        [sys.executable, "-c", STATUS, str(uid), str(gid), groups],
        capture_output=True, check=True, cwd=ROOT, text=True, timeout=30,
    )  # fmt: skip
    *lines, last = done.stdout.splitlines()
    return dict(line.partition(" ")[::2] for line in lines), last


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: there is something to drop")


@needs_root
def test_an_ordinary_user_keeps_nothing_at_all_and_gets_it_back_never() -> None:
    after, last = drop(1000, 1001, "7,9")
    assert after == {
        "Uid": "1000 1000 1000 1000", "Gid": "1001 1001 1001 1001", "Groups": "7 9",
        "CapInh": "0" * 16, "CapPrm": "0" * 16, "CapEff": "0" * 16, "CapBnd": "0" * 16,
        "CapAmb": "0" * 16, "NoNewPrivs": "1",
    }  # fmt: skip
    assert last == "for good"


@needs_root
def test_root_keeps_no_more_than_the_list() -> None:
    after, _ = drop(0, 0, "")
    for name in ("CapPrm", "CapEff", "CapBnd"):
        assert int(after[name], 16) & ~privileges._ROOT_SET == 0
    assert (int(after["CapInh"], 16), int(after["CapAmb"], 16), after["NoNewPrivs"]) == (0, 0, "1")


@pytest.mark.skipif(os.geteuid() == 0, reason="needs somebody who is not root")
def test_without_privilege_dropping_to_another_fails_instead_of_doing_half_of_it() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        drop(os.geteuid() + 1, os.getegid(), "")
