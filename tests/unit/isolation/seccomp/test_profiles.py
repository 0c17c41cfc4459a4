"""The profiles that come with runnerd: what they let through, what not, and real programs."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from typing import TYPE_CHECKING

import pytest

from isolation.capabilities import CAPABILITIES, ROOT_CAPABILITIES
from isolation.errors import LimitUnavailable
from isolation.seccomp import (
    bpf_machine,
    syscall_table,
)
from isolation.seccomp import (
    profiles as seccomp_profiles,
)
from isolation.seccomp import (
    rules as seccomp_rules,
)
from isolation.seccomp.compiler import ALLOW, USER_NOTIF, compile_profile, refuse
from isolation.seccomp.syscall_table import machine
from tests.unit.isolation import filtered

if TYPE_CHECKING:
    from pathlib import Path

EPERM, ENOSYS, EAFNOSUPPORT = (
    refuse(number) for number in (errno.EPERM, errno.ENOSYS, errno.EAFNOSUPPORT)
)
MACHINE = machine()
MACHINES = ["x86_64", "aarch64", "riscv64"]

# The ways out of a job, or into the kernel, that the issue and manual pages name.
ALWAYS_REFUSED = """
    _sysctl add_key afs_syscall create_module get_kernel_syms io_uring_enter io_uring_register
    io_uring_setup kexec_file_load kexec_load keyctl modify_ldt nfsservctl query_module
    request_key swapoff swapon sysfs uselib userfaultfd ustat
""".split()  # noqa: SIM905  a list of words
WITH_ADMIN = """
    bpf fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount
    open_tree perf_event_open pivot_root quotactl quotactl_fd setdomainname sethostname setns
    syslog umount2
""".split()  # noqa: SIM905
WITH_OTHERS = {
    "acct": "SYS_PACCT", "adjtimex": "SYS_TIME", "chroot": "SYS_CHROOT",
    "clock_adjtime": "SYS_TIME", "clock_settime": "SYS_TIME", "delete_module": "SYS_MODULE",
    "finit_module": "SYS_MODULE", "init_module": "SYS_MODULE", "ioperm": "SYS_RAWIO",
    "iopl": "SYS_RAWIO", "kcmp": "SYS_PTRACE", "open_by_handle_at": "DAC_READ_SEARCH",
    "pidfd_getfd": "SYS_PTRACE", "reboot": "SYS_BOOT", "settimeofday": "SYS_TIME",
    "vhangup": "SYS_TTY_CONFIG",
}  # fmt: skip
NOT_IN_STRICT = """
    capset mount name_to_handle_at process_vm_readv process_vm_writev ptrace setfsgid setfsuid
    setgid setgroups setregid setresgid setresuid setreuid setuid
""".split()  # noqa: SIM905
NAMESPACES = {
    "NEWNS": 0x20000, "NEWCGROUP": 0x02000000, "NEWUTS": 0x04000000, "NEWIPC": 0x08000000,
    "NEWUSER": 0x10000000, "NEWPID": 0x20000000, "NEWNET": 0x40000000,
}  # fmt: skip


def says(program: bytes, name: str, *arguments: int) -> int:
    data = bpf_machine.pack_data(MACHINE.numbers[name], MACHINE.audit_arch, *arguments)
    return bpf_machine.run(program, data)


def default(*capabilities: str) -> bytes:
    return seccomp_profiles.program("default", capabilities=capabilities)


STRICT = seccomp_profiles.program("strict")


def here(names: list[str]) -> list[str]:
    return [name for name in names if name in MACHINE.numbers]


@pytest.mark.parametrize("name", here(ALWAYS_REFUSED))
def test_refused_whatever_the_capabilities(name: str) -> None:
    for program in (default(), default(*CAPABILITIES), STRICT):
        assert says(program, name) == EPERM


@pytest.mark.parametrize("name", here(WITH_ADMIN))
def test_refused_but_for_sys_admin(name: str) -> None:
    assert says(default(*ROOT_CAPABILITIES), name) == EPERM
    assert says(default("SYS_ADMIN"), name) == ALLOW
    assert says(STRICT, name) == EPERM


@pytest.mark.parametrize("name", here(list(WITH_OTHERS)))
def test_refused_but_for_the_capability_that_it_takes(name: str) -> None:
    others = set(CAPABILITIES) - {WITH_OTHERS[name]}
    assert says(default(*others), name) == EPERM
    assert says(default(WITH_OTHERS[name]), name) == ALLOW
    assert says(STRICT, name) == EPERM


@pytest.mark.parametrize("name", NOT_IN_STRICT)
def test_strict_refuses_more_than_default(name: str) -> None:
    assert says(STRICT, name) == EPERM


@pytest.mark.parametrize("flag", sorted(NAMESPACES))
def test_new_namespaces_are_refused_and_processes_and_threads_are_not(flag: str) -> None:
    sigchld, threads = 17, 0x3D0F00
    for program in (default(), default(*ROOT_CAPABILITIES), STRICT):
        for name in ("clone", "unshare"):
            assert says(program, name, NAMESPACES[flag]) == EPERM
            assert says(program, name, NAMESPACES[flag] | 0x200) == EPERM
        assert says(program, "clone", sigchld) == says(program, "clone", threads) == ALLOW
        assert says(program, "unshare", 0x200) == ALLOW
        assert says(program, "unshare", 0x80) == EPERM
        assert says(program, "clone3") == ENOSYS


def test_sys_admin_may_make_namespaces() -> None:
    program = default("SYS_ADMIN")
    for name in ("clone", "unshare"):
        assert says(program, name, NAMESPACES["NEWNS"]) == ALLOW
    assert says(program, "clone3") == ALLOW


def test_nothing_can_be_typed_into_a_terminal_whatever_the_upper_bits() -> None:
    for program in (default(*CAPABILITIES), STRICT):
        for request in (0x5412, 0x541C, 0x5412 | 1 << 32, 0x541C | 0xFFFFFFFF << 32):
            assert says(program, "ioctl", 0, request) == EPERM
        assert says(program, "ioctl", 0, 0x5401) == says(program, "ioctl", 0x5412, 0) == ALLOW


def test_sockets_by_family() -> None:
    unix, inet, inet6, netlink, packet, alg, vsock = 1, 2, 10, 16, 17, 38, 40
    for family in (unix, inet, inet6, netlink, packet):
        assert says(default(), "socket", family) == ALLOW
    for family in (alg, vsock, 0, 3, 29, 30, 44, 2**32 - 1):
        assert says(default(*CAPABILITIES), "socket", family) == EAFNOSUPPORT
    for family in (unix, inet, inet6):
        assert says(STRICT, "socket", family) == ALLOW
    for family in (netlink, packet, alg, vsock):
        assert says(STRICT, "socket", family) == EAFNOSUPPORT
    assert says(STRICT, "socketpair", unix) == ALLOW
    assert says(STRICT, "socketpair", 30) == EPERM


def test_personality_can_be_asked_and_only_harmless_ones_taken() -> None:
    no_randomisation = 0x0040000
    assert says(default(), "personality", 0x20008) == ALLOW
    for program in (default(*CAPABILITIES), STRICT):
        assert says(program, "personality", no_randomisation) == EPERM
        assert says(program, "personality", 0xFFFFFFFF) == ALLOW
        assert says(program, "personality", 0) == ALLOW
    assert says(STRICT, "personality", 8) == EPERM


@pytest.mark.parametrize("name", here(["mknod", "mknodat"]))
def test_strict_makes_no_device_nodes(name: str) -> None:
    at = () if name == "mknod" else (0,)
    for kind in (0, stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK):
        assert says(STRICT, name, *at, 0, kind | 0o644) == ALLOW
    for kind in (stat.S_IFCHR, stat.S_IFBLK):
        assert says(STRICT, name, *at, 0, kind | 0o644) == EPERM


def test_tracing_ones_own_processes_is_fine_under_default() -> None:
    for name in ("ptrace", "process_vm_readv", "process_vm_writev"):
        assert says(default(), name) == ALLOW


def test_strict_allows_nothing_that_default_refuses() -> None:
    for name in MACHINE.numbers:
        assert says(STRICT, name) != ALLOW or says(default(), name) == ALLOW, name


def test_in_a_report_refusals_are_told_with_their_errno() -> None:
    told = seccomp_profiles.program("default", report=True)
    assert says(told, "mount") == USER_NOTIF | errno.EPERM
    assert says(told, "socket", 40) == USER_NOTIF | errno.EAFNOSUPPORT
    assert says(told, "clone3") == ENOSYS
    assert says(told, "read") == ALLOW


@pytest.mark.parametrize("of", MACHINES)
def test_programs_are_small_on_every_machine(of: str) -> None:
    for profile in (seccomp_rules.default(()), seccomp_rules.strict()):
        assert len(compile_profile(profile, machine(of), report=False)) // 8 < 500


def test_every_name_of_the_lists_is_a_call_of_some_machine() -> None:
    """A misspelt one would be refused to everybody."""
    known = {name for of in MACHINES for name in machine(of).numbers}
    for profile in (seccomp_rules.default(CAPABILITIES), seccomp_rules.strict()):
        assert {name for rule in profile.rules for name in rule.names} <= known


def test_a_program_is_made_once() -> None:
    first = seccomp_profiles.program("default", capabilities=["KILL", "CHOWN"])
    assert seccomp_profiles.program("default", capabilities={"CHOWN", "KILL"}) is first


def test_other_names_of_profiles_are_refused() -> None:
    with pytest.raises(ValueError, match="'none' is not a profile; there are default, strict"):
        seccomp_profiles.program("none")


def test_on_a_machine_whose_calls_are_not_known_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(syscall_table, "machine", lambda: machine("vax"))
    with pytest.raises(LimitUnavailable, match="the system calls of vax are not known"):
        seccomp_profiles.program("strict", capabilities=["CHOWN"])


# Real programs, on this machine's kernel

EVERYDAY = """
import asyncio, multiprocessing, os, socket, sqlite3, subprocess, tempfile, threading
thread = threading.Thread(target=print, args=("thread",)); thread.start(); thread.join()
print(subprocess.run(["echo", "child"], capture_output=True, text=True, check=True).stdout.strip())
with multiprocessing.Pool(2) as pool: print(pool.map(abs, [-1, -2]))
server = socket.create_server(("127.0.0.1", 0)); socket.create_connection(server.getsockname())
a, b = socket.socketpair(); a.send(b"x"); b.recv(1)
asyncio.run(asyncio.sleep(0))
with tempfile.TemporaryDirectory() as place:
    os.mkfifo(place + "/fifo"); os.symlink("fifo", place + "/l")
    os.rename(place + "/l", place + "/m")
    sqlite3.connect(place + "/db").execute("create table t (x)")
print(os.cpu_count() > 0, len(os.sched_getaffinity(0)) > 0)
"""


@pytest.mark.parametrize("profile", seccomp_profiles.PROFILES)
def test_python_with_threads_processes_sockets_and_files_runs(profile: str) -> None:
    program = seccomp_profiles.program(profile)
    done = filtered.execute(program, sys.executable, "-c", EVERYDAY)
    assert done.stdout.split() == ["thread", "child", "[1,", "2]", "True", "True"], done.stderr


@pytest.mark.parametrize("profile", seccomp_profiles.PROFILES)
def test_shell_pipelines_run(profile: str) -> None:
    pipeline = "printf 'b\\na\\n' | sort | tr a-z A-Z | head -1; (exit 3); echo $?; ls -d /"
    done = filtered.execute(seccomp_profiles.program(profile), "sh", "-c", pipeline)
    assert done.stdout.split() == ["A", "3", "/"], done.stderr


COMPILED = """
#include <pthread.h>
#include <stdio.h>
static void *run(void *x) { return x; }
int main(void) {
    pthread_t thread;
    pthread_create(&thread, 0, run, 0);
    pthread_join(thread, 0);
    return puts("compiled") < 0;
}
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
@pytest.mark.parametrize("profile", seccomp_profiles.PROFILES)
def test_a_compiler_and_its_output_run(profile: str, tmp_path: Path) -> None:
    source, output = tmp_path / "a.c", tmp_path / "a"
    source.write_text(COMPILED)
    program = seccomp_profiles.program(profile)
    done = filtered.execute(program, "gcc", "-pthread", "-o", str(output), str(source))
    assert done.returncode == 0, done.stderr
    assert filtered.execute(program, str(output)).stdout == "compiled\n"


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@pytest.mark.parametrize("profile", seccomp_profiles.PROFILES)
def test_node_runs(profile: str) -> None:
    code = (
        "require('fs').promises.readFile('/etc/passwd').then(x => console.log(x.length > 0));"
        "console.log(require('child_process').execSync('echo child').toString().trim());"
    )
    done = filtered.execute(seccomp_profiles.program(profile), "node", "-e", code)
    assert done.stdout.split() == ["child", "true"], done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: others are refused by the kernel anyway")
def test_what_root_could_do_is_refused_by_the_filter() -> None:
    code = f"""
print(call({MACHINE.numbers["unshare"]}, {NAMESPACES["NEWNS"]}))
print(call({MACHINE.numbers["mount"]}, 0, 0, 0, 0, 0))
print(call({MACHINE.numbers["clone3"]}, 0, 0))
try:
    socket.socket(40, socket.SOCK_STREAM)
except OSError as error:
    print(errno.errorcode[error.errno])
"""
    done = filtered.run(default(*ROOT_CAPABILITIES), code)
    assert done.stdout.split() == ["EPERM", "EPERM", "ENOSYS", "EAFNOSUPPORT"], done.stderr


def test_for_whom_nobody_listens_a_program_refuses_by_itself_with_the_same_errno() -> None:
    text = (
        b'{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], '
        b'"action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}'
    )
    plain = seccomp_profiles.compile_file(text)
    reporting = seccomp_profiles.compile_file(text, report=True)
    assert reporting != plain
    assert seccomp_profiles.without_listener(reporting) == plain
    assert seccomp_profiles.without_listener(plain) == plain
