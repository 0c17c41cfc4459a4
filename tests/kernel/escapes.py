"""A program that runs inside a job and tries to get out. The standard library and nothing else.

Each attempt runs in a child of its own and either fails, with the errno that stopped it, or
gets through. Given the facts of the host as JSON in its first argument, it writes one JSON
map: attempt → "EPERM" (the name of an errno), "SIGSYS" (killed by it), or "ok: WHAT IT GOT".
What is expected, and which mechanism that shows, is for `test_escapes`.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import mmap
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

libc = ctypes.CDLL(None, use_errno=True)
ATTEMPT_SECONDS = 20

NEWNS, NEWUSER, NEWPID, NEWNET = 0x20000, 0x10000000, 0x20000000, 0x40000000
# Numbers of x86_64, which the lane runs on.
SYS = {
    "ptrace": 101, "personality": 135, "acct": 163, "swapon": 167, "reboot": 169, "iopl": 172,
    "init_module": 175, "keyctl": 250, "kexec_load": 246, "unshare": 272, "perf_event_open": 298,
    "open_by_handle_at": 304, "setns": 308, "finit_module": 313, "bpf": 321, "userfaultfd": 323,
    "io_uring_setup": 425, "open_tree": 428, "fsopen": 430, "clone3": 435, "mount_setattr": 442,
}  # fmt: skip

ATTEMPTS: dict[str, Callable[[dict[str, str]], str]] = {}


def attempt(function: Callable[[dict[str, str]], str]) -> Callable[[dict[str, str]], str]:
    ATTEMPTS[function.__name__] = function
    return function


def check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def call(name: str, *arguments: object) -> int:
    values = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return check(libc.syscall(ctypes.c_long(SYS[name]), *values))


# Other processes


@attempt
def see_host_processes(facts: dict[str, str]) -> str:
    seen = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    line = file.read()
            except OSError:
                continue
            if facts["token"].encode() in line and b"escapes-facts" not in line:
                seen.append(name)
    if seen:
        return f"the host's process is here as {seen}"
    raise OSError(errno.ESRCH, "not among them")


@attempt
def signal_a_host_process(facts: dict[str, str]) -> str:
    os.kill(int(facts["host_pid"]), 0)
    return "it is there"


@attempt
def open_a_host_process(facts: dict[str, str]) -> str:
    os.pidfd_open(int(facts["host_pid"]))
    return "a pidfd"


@attempt
def kill_the_monitor(_facts: dict[str, str]) -> str:
    os.kill(1, signal.SIGKILL)
    return "sent"


@attempt
def trace_the_monitor(_facts: dict[str, str]) -> str:
    call("ptrace", 16, 1, 0, 0)
    return "attached"


@attempt
def read_the_monitors_memory(_facts: dict[str, str]) -> str:
    with open("/proc/1/mem", "rb") as file:
        file.read(1)
    return "read"


@attempt
def read_the_monitors_environment(_facts: dict[str, str]) -> str:
    with open("/proc/1/environ", "rb") as file:
        return repr(file.read(100))


@attempt
def leave_by_proc_1_root(_facts: dict[str, str]) -> str:
    return str(os.listdir("/proc/1/root"))


@attempt
def leave_by_proc_1_cwd(_facts: dict[str, str]) -> str:
    return str(os.listdir("/proc/1/cwd"))


@attempt
def take_a_descriptor_of_the_monitor(_facts: dict[str, str]) -> str:
    return str(os.listdir("/proc/1/fd"))


@attempt
def keep_a_descriptor(_facts: dict[str, str]) -> str:
    kept = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            kept[name] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
    # This child's own pipe is not one of them: it is passed as an argument's number.
    others = {k: v for k, v in kept.items() if int(k) > 2 and int(k) != RESULT_FD}
    if others:
        return str(others)
    raise OSError(errno.EBADF, "none")


# Namespaces


@attempt
def join_the_hosts_mounts(_facts: dict[str, str]) -> str:
    call("setns", os.open("/proc/1/ns/mnt", os.O_RDONLY), NEWNS)
    return "joined"


@attempt
def join_the_hosts_network(_facts: dict[str, str]) -> str:
    call("setns", os.open("/proc/1/ns/net", os.O_RDONLY), NEWNET)
    return "joined"


@attempt
def make_a_user_namespace(_facts: dict[str, str]) -> str:
    call("unshare", NEWUSER)
    return "made"


@attempt
def make_a_user_namespace_by_clone3(_facts: dict[str, str]) -> str:
    args = struct.pack("11Q", NEWUSER, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, 0)
    if call("clone3", ctypes.c_char_p(args), len(args)) == 0:
        os._exit(0)
    return "made"


@attempt
def make_a_mount_namespace(_facts: dict[str, str]) -> str:
    call("unshare", NEWNS)
    return "made"


@attempt
def change_the_host_name(_facts: dict[str, str]) -> str:
    socket.sethostname("mine")
    return "changed"


@attempt
def change_the_root(_facts: dict[str, str]) -> str:
    os.chroot("/tmp")
    return "changed"


# Mounts


@attempt
def mount_something(_facts: dict[str, str]) -> str:
    check(libc.mount(b"tmpfs", b"/tmp", b"tmpfs", ctypes.c_ulong(0), None))
    return "mounted"


@attempt
def mount_by_the_new_calls(_facts: dict[str, str]) -> str:
    call("fsopen", ctypes.c_char_p(b"tmpfs"), 0)
    return "a context"


@attempt
def copy_a_mount(_facts: dict[str, str]) -> str:
    call("open_tree", -100, ctypes.c_char_p(b"/"), 1)
    return "a copy"


@attempt
def mount_the_v1_cgroups(_facts: dict[str, str]) -> str:
    check(libc.mount(b"x", b"/tmp", b"cgroup", ctypes.c_ulong(0), b"rdma"))
    return "mounted"


@attempt
def unmount_proc(_facts: dict[str, str]) -> str:
    check(libc.umount2(b"/proc", 2))
    return "unmounted"


@attempt
def unmount_tmp(_facts: dict[str, str]) -> str:
    check(libc.umount2(b"/tmp", 2))
    return "unmounted"


@attempt
def make_a_mount_writable(_facts: dict[str, str]) -> str:
    check(libc.mount(None, b"/sys", None, ctypes.c_ulong(32 | 4096), None))
    return "remounted"


# Files


@attempt
def read_anothers_file(facts: dict[str, str]) -> str:
    with open(facts["anothers_file"], "rb") as file:
        return repr(file.read())


@attempt
def write_to_the_system(_facts: dict[str, str]) -> str:
    with open("/etc/escaped", "w", encoding="ascii") as file:
        file.write("out")
    return "written"


@attempt
def write_to_anothers_home(facts: dict[str, str]) -> str:
    path = os.path.dirname(facts["anothers_file"])
    with open(f"{path}/escaped", "w", encoding="ascii") as file:
        file.write("out")
    return "written"


@attempt
def see_the_hosts_tmp(facts: dict[str, str]) -> str:
    with open(facts["tmp_file"], "rb") as file:
        return repr(file.read())


@attempt
def open_a_file_by_its_handle(_facts: dict[str, str]) -> str:
    handle = struct.pack("Ii8s", 8, 1, struct.pack("Q", 2))
    call("open_by_handle_at", os.open("/", os.O_RDONLY), ctypes.c_char_p(handle), 0)
    return "opened"


@attempt
def become_root_by_a_setuid_program(facts: dict[str, str]) -> str:
    done = subprocess.run(
        [facts["setuid_program"], "-u"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise OSError(errno.ENOEXEC, done.stderr)
    effective = int(done.stdout)
    if effective == os.getuid():
        raise OSError(errno.EPERM, "it ran as we are")
    return f"uid {effective}"


@attempt
def use_runnerds_socket(facts: dict[str, str]) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(facts["socket"])
        # Turned away before it could say anything: EPIPE.
        body = b"\x83\xa2id\x01\xa2op\xa5hello\xa4args\x81\xa8protocol\x01"
        client.sendall(struct.pack(">I", len(body)) + body)
        answer = client.recv(4096)
    if b"not-permitted" in answer or not answer:
        raise OSError(errno.EPERM, "turned away")
    return repr(answer)


# Devices


@attempt
def open_the_hosts_disk(facts: dict[str, str]) -> str:
    os.open(facts["disk"], os.O_RDONLY)
    return "opened"


@attempt
def make_a_device_node(_facts: dict[str, str]) -> str:
    os.mknod("/tmp/disk", 0o600 | 0o060000, os.makedev(98, 0))
    os.open("/tmp/disk", os.O_RDONLY)
    return "opened"


@attempt
def read_the_kernels_memory(_facts: dict[str, str]) -> str:
    os.open("/dev/mem", os.O_RDONLY)
    return "opened"


@attempt
def read_kcore(_facts: dict[str, str]) -> str:
    with open("/proc/kcore", "rb") as file:
        if not file.read(1):
            raise OSError(errno.ENODATA, "it is empty")
    return "read"


@attempt
def type_into_a_terminal(_facts: dict[str, str]) -> str:
    primary, secondary = os.openpty()
    try:
        fcntl.ioctl(secondary, termios.TIOCSTI, b"x")
    finally:
        os.close(primary)
    return "typed"


# The kernel


@attempt
def load_a_module(_facts: dict[str, str]) -> str:
    call("init_module", ctypes.c_char_p(b"x"), 1, ctypes.c_char_p(b""))
    return "loaded"


@attempt
def set_the_clock(_facts: dict[str, str]) -> str:
    time.clock_settime(time.CLOCK_REALTIME, time.time())
    return "set"


@attempt
def reboot(_facts: dict[str, str]) -> str:
    # Turns Ctrl-Alt-Del off, which does no harm where it works.
    call("reboot", 0xFEE1DEAD, 672274793, 0, 0)
    return "taken"


@attempt
def load_another_kernel(_facts: dict[str, str]) -> str:
    call("kexec_load", 0, 0, 0, 0)
    return "taken"


@attempt
def load_a_bpf_program(_facts: dict[str, str]) -> str:
    # BPF_MAP_CREATE of an array.
    call("bpf", 0, ctypes.c_char_p(struct.pack("4I", 2, 4, 4, 1) + bytes(104)), 120)
    return "a map"


@attempt
def watch_events_of_the_machine(_facts: dict[str, str]) -> str:
    call("perf_event_open", ctypes.c_char_p(struct.pack("II", 1, 120) + bytes(112)), -1, 0, -1, 0)
    return "watching"


@attempt
def use_an_io_ring(_facts: dict[str, str]) -> str:
    call("io_uring_setup", 4, ctypes.c_char_p(bytes(120)))
    return "made"


@attempt
def handle_page_faults(_facts: dict[str, str]) -> str:
    call("userfaultfd", 0)
    return "made"


@attempt
def read_the_hosts_keyring(_facts: dict[str, str]) -> str:
    # KEYCTL_GET_KEYRING_ID of the user's session keyring, made if need be.
    call("keyctl", 0, -5, 1)
    return "got it"


@attempt
def use_ports_of_the_machine(_facts: dict[str, str]) -> str:
    call("iopl", 3)
    return "raised"


@attempt
def swap_to_a_file(_facts: dict[str, str]) -> str:
    call("swapon", ctypes.c_char_p(b"/tmp/none"), 0)
    return "taken"


@attempt
def account_processes(_facts: dict[str, str]) -> str:
    call("acct", 0)
    return "taken"


@attempt
def write_a_kernel_setting(_facts: dict[str, str]) -> str:
    with open("/proc/sys/kernel/core_pattern", "w", encoding="ascii") as file:
        file.write("|/tmp/out")
    return "written"


@attempt
def press_sysrq(_facts: dict[str, str]) -> str:
    # Only asks for help.
    with open("/proc/sysrq-trigger", "w", encoding="ascii") as file:
        file.write("h")
    return "pressed"


@attempt
def write_to_sysfs(_facts: dict[str, str]) -> str:
    with open("/sys/kernel/uevent_helper", "w", encoding="ascii") as file:
        file.write("/tmp/out")
    return "written"


# Control groups


@attempt
def raise_its_memory_limit(_facts: dict[str, str]) -> str:
    with open("/sys/fs/cgroup/memory.max", "w", encoding="ascii") as file:
        file.write("max")
    return "raised"


@attempt
def leave_its_cgroup(_facts: dict[str, str]) -> str:
    with open("/sys/fs/cgroup/cgroup.procs", "w", encoding="ascii") as file:
        file.write("0")
    return "moved"


@attempt
def set_a_release_agent(_facts: dict[str, str]) -> str:
    with open("/sys/fs/cgroup/release_agent", "w", encoding="ascii") as file:
        file.write("/tmp/out")
    return "set"


# Privileges


@attempt
def become_root(_facts: dict[str, str]) -> str:
    if os.getuid() == 0:
        raise OSError(errno.EALREADY, "it is already")
    os.setresuid(0, 0, 0)
    return "root"


@attempt
def get_a_capability(_facts: dict[str, str]) -> str:
    header = struct.pack("Ii", 0x20080522, 0)
    # CAP_SYS_ADMIN.
    data = struct.pack("6I", 1 << 21, 1 << 21, 1 << 21, 0, 0, 0)
    check(libc.capset(ctypes.c_char_p(header), ctypes.c_char_p(data)))
    return "got it"


@attempt
def hide_from_the_oom_killer(_facts: dict[str, str]) -> str:
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("-1000")
    return "hidden"


@attempt
def raise_its_priority(_facts: dict[str, str]) -> str:
    os.setpriority(os.PRIO_PROCESS, 0, -10)
    return "raised"


# Network


@attempt
def reach_the_hosts_service(facts: dict[str, str]) -> str:
    with socket.create_connection(("127.0.0.1", int(facts["host_port"])), 3):
        return "connected"


@attempt
def reach_the_hosts_abstract_socket(facts: dict[str, str]) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + facts["token"])
    return "connected"


@attempt
def change_the_network(_facts: dict[str, str]) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        # SIOCSIFFLAGS: take lo down.
        fcntl.ioctl(control, 0x8914, struct.pack("16sh22s", b"lo", 0, b""))
    return "changed"


@attempt
def listen_to_packets(_facts: dict[str, str]) -> str:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0):
        return "listening"


# Exhaustion: the limit answers, and nobody else notices


@attempt
def exhaust_processes(_facts: dict[str, str]) -> str:
    children = []
    try:
        for _ in range(int(_facts["pids_max"]) + 5):
            pid = os.fork()
            if pid == 0:
                signal.pause()
            children.append(pid)
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return f"{len(children)} processes"


@attempt
def exhaust_descriptors(_facts: dict[str, str]) -> str:
    for _ in range(2_000_000):
        os.dup(0)
    return "two million"


@attempt
def exhaust_files(_facts: dict[str, str]) -> str:
    """As many empty files as fit in the job's memory: the kernel ends the job, or says no."""
    for number in range(5_000_000):
        os.close(os.open(f"/tmp/{number}", os.O_CREAT | os.O_WRONLY))
    return "five million"


@attempt
def exhaust_pipes(_facts: dict[str, str]) -> str:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for _ in range(1_000_000):
        _read, write = os.pipe()
        os.set_blocking(write, False)
        os.write(write, bytes(65536))
    return f"a million of them, {soft}"


@attempt
def exhaust_kernel_memory(_facts: dict[str, str]) -> str:
    """Page tables: one page touched in each 2 MiB of a large map."""
    no_reserve = 0x4000
    area = mmap.mmap(-1, 2**41, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | no_reserve)
    for offset in range(0, 2**41, 2**21):
        area[offset] = 1
    return "two TiB of tables"


EXHAUSTING = [name for name in ATTEMPTS if name.startswith("exhaust_")]
RESULT_FD = -1


def run(name: str, facts: dict[str, str]) -> str:
    """One attempt in a child; what it reports, or what ended it."""
    global RESULT_FD
    read_fd, RESULT_FD = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(ATTEMPT_SECONDS)
        os.close(read_fd)
        try:
            text = f"ok: {ATTEMPTS[name](facts)}"
        except OSError as error:
            text = errno.errorcode.get(error.errno or 0, f"{type(error).__name__}: {error}")
        except MemoryError:
            text = "ENOMEM"
        except BaseException as error:  # noqa: BLE001
            text = f"{type(error).__name__}: {error}"
        os.write(RESULT_FD, text.encode()[:1000])
        os._exit(0)
    os.close(RESULT_FD)
    with open(read_fd, "rb") as file:
        text = file.read().decode(errors="replace")
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status) and not text:
        return signal.Signals(os.WTERMSIG(status)).name
    return text


def main() -> None:
    facts = json.loads(sys.argv[1])
    names = facts.get("only") or [name for name in ATTEMPTS if name not in EXHAUSTING]
    sys.stdout.write(json.dumps({name: run(name, facts) for name in names}))


if __name__ == "__main__":
    main()
