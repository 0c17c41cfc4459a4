"""Filters on the guest's kernel: what they refuse to root, and what a report tells of it."""

from __future__ import annotations

import errno

import pytest

from isolation.capabilities import CAPABILITIES, ROOT_CAPABILITIES
from isolation.seccomp import profiles as seccomp_profiles
from isolation.seccomp.syscall_table import machine
from tests.unit.isolation import filtered

NUMBERS = machine().numbers
# Harmless arguments: what gets through fails with another errno, or does nothing.
CALLS = [
    "mount", "umount2", "pivot_root", "setns", "fsopen", "open_tree", "move_mount", "mount_setattr",
    "bpf", "perf_event_open", "keyctl", "add_key", "request_key", "userfaultfd", "io_uring_setup",
    "open_by_handle_at", "swapon", "swapoff", "reboot", "acct", "settimeofday", "clock_settime",
    "adjtimex", "init_module", "finit_module", "delete_module", "kexec_load", "quotactl", "syslog",
    "vhangup", "sethostname", "setdomainname", "kcmp", "pidfd_getfd", "fanotify_init",
]  # fmt: skip


def test_root_with_its_usual_capabilities_is_refused_each_of_them() -> None:
    program = seccomp_profiles.program("default", capabilities=ROOT_CAPABILITIES)
    numbers = [NUMBERS[name] for name in CALLS]
    code = f"print(*[call(number, *[2**64 - 1] * 6) for number in {numbers}])"
    done = filtered.run(program, code)
    assert dict(zip(CALLS, done.stdout.split(), strict=True)) == dict.fromkeys(CALLS, "EPERM")


def test_the_same_calls_reach_the_kernel_for_a_job_with_every_capability() -> None:
    """So that it is the filter, and not the arguments, that refused."""
    program = seccomp_profiles.program("default", capabilities=CAPABILITIES)
    reached = ["mount", "setns", "bpf", "init_module", "settimeofday", "fsopen", "quotactl"]
    numbers = [NUMBERS[name] for name in reached]
    code = f"print(*[call(number, *[2**64 - 1] * 6) for number in {numbers}])"
    answers = filtered.run(program, code).stdout.split()
    assert len(answers) == len(reached)
    assert "EPERM" not in answers
    assert set(answers) <= set(errno.errorcode.values())


@pytest.mark.parametrize("profile", seccomp_profiles.PROFILES)
def test_everyday_programs_run(profile: str) -> None:
    script = "seq 9 | sort -r | head -1; ls -d /; tar cf - /etc/passwd 2>&1 | wc -c"
    done = filtered.execute(seccomp_profiles.program(profile), "sh", "-c", script)
    assert done.stdout.split()[:2] == ["9", "/"], done.stderr
    assert int(done.stdout.split()[2]) > 512


def test_namespaces_are_refused_by_every_way_to_make_them() -> None:
    program = seccomp_profiles.program("default", capabilities=ROOT_CAPABILITIES)
    for option in ("--user", "--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup", "--time"):
        done = filtered.execute(program, "unshare", option, "true")
        assert done.returncode != 0, option
        assert "Operation not permitted" in done.stderr
    assert filtered.execute(program, "chroot", "/", "true").returncode == 0
    without = seccomp_profiles.program("default")
    assert filtered.execute(without, "chroot", "/", "true").returncode != 0
