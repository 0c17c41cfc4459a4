"""One guest: a kernel process that runs one command on the machine's own files.

Theory of operation. The wrapper fills a control directory, starts the kernel in a
process group of its own, and copies the command's output as the guest writes it there,
until the guest has written a status, the kernel has ended, the time is up or a signal
came. Then the guest is given a moment to power off, or killed, and the directory is
removed: when the wrapper leaves, nothing of the guest is left.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from lane.console import LaneError, say, tail, tool_path
from lane.control import Order, fill, parse_size, read_status
from lane.debian import install
from lane.kernels import CACHE, Kernel

TIME_LIMIT_REACHED = 124
NEVER_REPORTED = 125

# Where the kernel keeps the guest's memory, as a sparse file without a name.
MEMORY_DIRECTORY = "/dev/shm"  # noqa: S108

POLL_SECONDS = 0.01
POWER_OFF_SECONDS = 2.0
COPY_BYTES = 1 << 20


class TimeLimitReached(Exception):  # noqa: N818 - an outcome, not an error
    """The command took longer than it may."""


def run_guest(kernel: Kernel, order: Order) -> int:
    """Boot, run the command, and return its exit status."""
    _install_tools(kernel)
    with tempfile.TemporaryDirectory(prefix="runnerd-vm-") as name:
        control = Path(name)
        fill(control, kernel, order)
        with _terminal_kept(wanted=order.tty), _kernel_process(control, kernel, order) as process:
            try:
                status = _follow(control, process, order.time_limit)
            except TimeLimitReached:
                say(f"time limit of {order.time_limit:g} s reached, guest ended")
                return TIME_LIMIT_REACHED
            if status is None:
                _explain(control, process)
                return NEVER_REPORTED
            _await_power_off(process)
            return status


def _follow(
    control: Path, process: subprocess.Popen[bytes], time_limit: float | None
) -> int | None:
    """Copy the command's output until it has ended, and return its status."""
    deadline = time.monotonic() + time_limit if time_limit else None
    with (control / "stdout").open("rb", 0) as out, (control / "stderr").open("rb", 0) as err:
        while True:
            # Asked before the status is read: one that is there when it ends gets read.
            ended = process.poll() is not None
            status = read_status(control)
            _copy(out, sys.stdout.fileno())
            _copy(err, sys.stderr.fileno())
            if status is not None or ended:
                return status
            if deadline is not None and time.monotonic() > deadline:
                raise TimeLimitReached
            time.sleep(POLL_SECONDS)


def _copy(source: IO[bytes], target: int) -> None:
    while chunk := source.read(COPY_BYTES):
        view = memoryview(chunk)
        while view:
            view = view[os.write(target, view) :]


def _explain(control: Path, process: subprocess.Popen[bytes]) -> None:
    console = tail((control / "console").read_text(errors="replace"), 40)
    say(
        f"the kernel ended with {process.returncode} before the guest reported a status; "
        f"its console:\n{console or '    (empty)'}"
    )


def _await_power_off(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(POWER_OFF_SECONDS)
    except subprocess.TimeoutExpired:
        say(f"the guest did not power off within {POWER_OFF_SECONDS:g} s, ended")


# --- the kernel process -------------------------------------------------------------


@contextmanager
def _kernel_process(
    control: Path, kernel: Kernel, order: Order
) -> Iterator[subprocess.Popen[bytes]]:
    with _claimed_cpu(order.cpus) as cpu:
        with (control / "console").open("wb") as console:
            process = _start(control, kernel, order, cpu, console)
        try:
            yield process
        finally:
            _end(process)


def _start(
    control: Path, kernel: Kernel, order: Order, cpu: int | None, console: IO[bytes]
) -> subprocess.Popen[bytes]:
    # A killed wrapper takes the kernel along; the signal survives exec.
    words = ["setpriv", "--pdeathsig", "KILL"]
    if cpu is not None:
        words += ["taskset", "--cpu-list", str(cpu)]
    if kernel.libraries:
        # For the kernel alone: the machine's own programs break with a newer libc.
        words += ["env", f"LD_LIBRARY_PATH={kernel.libraries}"]
    words += ["./linux", *_boot_parameters(control, kernel, order)]
    return subprocess.Popen(
        words,
        cwd=kernel.home,
        env=_kernel_environment(control, order),
        stdin=None if order.tty else subprocess.DEVNULL,
        stdout=None if order.tty else console,
        stderr=console,
        start_new_session=True,
    )


def _boot_parameters(control: Path, kernel: Kernel, order: Order) -> list[str]:
    parameters = [
        f"mem={order.memory}",
        "rootfstype=hostfs",
        "rootflags=/",
        "ro",
        f"init={control}/init",
        f"vm_control={control}",
        f"ubd0={control}/disk",
        f"umid={control.name}",
        f"uml_dir={control}/",
        "con=null",
        "con0=fd:0,fd:1" if order.tty else "con0=null,fd:1",
        "con1=null",
        "quiet",
        "loglevel=1",
    ]
    if kernel.kind != "old":
        # System calls are caught by a filter in the process instead of by ptrace.
        parameters.append("seccomp=on")
    if kernel.kind == "full" and order.cpus > 1:
        parameters.append(f"ncpus={order.cpus}")
    return parameters


def _kernel_environment(control: Path, order: Order) -> dict[str, str]:
    environment = {"PATH": tool_path(), "HOME": str(control)}
    # Running out of room there would be a SIGBUS in the middle of the run.
    if shutil.disk_usage(MEMORY_DIRECTORY).free < parse_size(order.memory):
        say(f"{MEMORY_DIRECTORY} has no room for {order.memory}, taking {control.parent}: slower")
        environment["TMPDIR"] = str(control)
    return environment


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the kernel and the processes that hold its programs' memory.

    With seccomp they die with it; those of the old kernel, stopped under ptrace, stay in
    its process group.
    """
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


# --- the machine --------------------------------------------------------------------


def _install_tools(kernel: Kernel) -> None:
    """The programs that the guest needs, which are the machine's own."""
    packages = {"e2fsprogs": "mkfs.ext4", "iproute2": "ip", "util-linux": "pivot_root"}
    if kernel.modules:
        packages["kmod"] = "insmod"
    install(packages)


@contextmanager
def _terminal_kept(*, wanted: bool) -> Iterator[None]:
    """The kernel puts the terminal that it is given into raw mode."""
    if not wanted:
        yield
        return
    if not os.isatty(0):
        raise LaneError("--tty: standard input is not a terminal")
    before = termios.tcgetattr(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


@contextmanager
def _claimed_cpu(cpus: int) -> Iterator[int | None]:
    """A CPU that no other guest is pinned to, when there is one.

    A kernel of one CPU and its programs take turns and never run at once: pinned to one
    of the machine's they are several times faster than moved about.
    """
    if cpus > 1:
        yield None
        return
    allowed = sorted(os.sched_getaffinity(0))
    for cpu in allowed:
        with (CACHE / f"cpu-{cpu}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield cpu
            return
    yield allowed[os.getpid() % len(allowed)]
