"""The control directory: what a guest is told, and where it answers.

The wrapper fills it on the machine; the guest's process 1 (the file `init` beside this
one) reads it and mounts it by hostfs. A write to hostfs has reached the machine's file
when it returns, so the command's output appears here as it is written, and survives a
guest that panics.

    init      process 1 of the guest          stdout, stderr   the command's output
    settings  shell variables for it          status           its exit status, by rename
    command   shell script: the command       console          the kernel's messages
    disk      image of /var/lib/runnerd       (umid)/          the kernel's own sockets
"""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lane import systemd
from lane.console import LaneError, run
from lane.kernels import Kernel

PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Order:
    """What to run, on what machine."""

    command: Sequence[str]
    environment: Mapping[str, str]
    memory: str
    cpus: int
    disk: str
    disk_image: Path | None
    out: Path | None
    time_limit: float | None
    tty: bool
    systemd: str | None


def fill(control: Path, kernel: Kernel, order: Order) -> None:
    """Write everything that the guest needs to know."""
    if control.is_relative_to("/dev") or len(str(control).split()) > 1:
        # The kernel mounts a /dev of its own, and splits its parameters at spaces.
        raise LaneError(f"the guest can't use {control.parent}: set TMPDIR to another directory")
    shutil.copy(Path(__file__).with_name("init"), control)
    (control / "settings").write_bytes(os.fsencode(_settings(control, kernel, order)))
    (control / "command").write_bytes(os.fsencode(_command(kernel, order)))
    (control / "stdout").touch()
    (control / "stderr").touch()
    if order.out:
        order.out.mkdir(parents=True, exist_ok=True)
    if order.disk_image:
        # Under a name of ours: the kernel's parameter takes no space and no comma.
        (control / "disk").symlink_to(order.disk_image)
    if not (control / "disk").exists():
        _make_disk(control / "disk", parse_size(order.disk))


def _make_disk(disk: Path, size: int) -> None:
    with disk.open("wb") as image:
        image.truncate(size)
    run(["mkfs.ext4", "-q", "-F", "-E", "nodiscard", disk])


def read_status(control: Path) -> int | None:
    """The command's exit status, once the guest reported it."""
    try:
        return int((control / "status").read_text())
    except FileNotFoundError:
        return None


def parse_size(text: str) -> int:
    """A size as the kernel writes it: 512M, 2G."""
    match = re.fullmatch(r"(\d+)([KMG])", text)
    if match is None:
        raise LaneError(f"{text!r} is not a size: write 512M or 2G")
    return int(match[1]) << {"K": 10, "M": 20, "G": 30}[match[2]]


def _settings(control: Path, kernel: Kernel, order: Order) -> str:
    layer = systemd.layer(order.systemd) if order.systemd else None
    terminal = shutil.get_terminal_size()
    values = {
        "vm_control": control,
        "vm_modules": kernel.modules or "",
        "vm_layer": layer or "",
        "vm_systemd": "yes" if order.systemd else "",
        "vm_keep_disk": "yes" if order.disk_image else "",
        "vm_out": order.out or "",
        "vm_tty": "yes" if order.tty else "",
        "vm_rows": terminal.lines,
        "vm_columns": terminal.columns,
    }
    lines = [f"{name}={shlex.quote(str(value))}" for name, value in values.items()]
    directories = shlex.join(map(str, _passed_directories()))
    lines.append(f"open_directories() {{ chmod -f a+rx -- {directories} || :; }}")
    return "\n".join(lines) + "\n"


def _passed_directories() -> list[Path]:
    """The directories that lead to the project, the interpreter and the caller's place.

    A test that drops its privileges must be able to pass them, and a project below /root
    is closed to everybody else on the machine itself.
    """
    pythons: list[str | Path | None] = [
        sys.executable,
        PROJECT / ".venv/bin/python",
        shutil.which("python3"),
    ]
    homes = [Path(python).resolve().parent for python in pythons if python]
    ends = [PROJECT, Path.cwd(), Path.home(), *homes]
    return sorted({way for end in ends for way in (end, *end.parents) if way.is_dir()})


def _command(kernel: Kernel, order: Order) -> str:
    environment = {
        **os.environ,
        "RUNNERD_LANE": "uml",
        "RUNNERD_LANE_KERNEL": kernel.kind,
        "PYTHONDONTWRITEBYTECODE": "1",
        **({"VM_OUT": str(order.out)} if order.out else {}),
        **order.environment,
    }
    pairs = [f"{name}={value}" for name, value in environment.items()]
    here = shlex.quote(str(Path.cwd()))
    return f"cd {here} || exit 126\nexec {shlex.join(['env', '-i', *pairs, *order.command])}\n"
