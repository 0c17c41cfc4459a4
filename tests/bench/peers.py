"""The peers: who they are, how they come onto the machine, and how each is told to run a command.

Every one gets the same program, the namespaces of a job (PID, mount, network, IPC, UTS, cgroup;
no user namespace, as a job of root has none) and the machine's own tree as its root. Where that
cannot be, its `notes` say so. What cannot be made to work is left out with its reason.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.bench.kinds import Skipped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PACKAGES: Final[Mapping[str, str]] = {
    "bwrap": "bubblewrap",
    "crun": "crun",
    "runc": "runc",
    "podman": "podman",
    "firejail": "firejail",
    "systemd-nspawn": "systemd-container",
    "tsp": "task-spooler",
    "conmon": "conmon",
    "gcc": "gcc",
}
_APT_SECONDS: Final = 600
_TRY_SECONDS: Final = 20
ROOT: Final = "/run/bench/root"
_BUNDLES: Final = "/run/bench/bundles"
# What `spec` of crun and runc gives, without what asks for a terminal or for fewer rights than
# root's job has here: no seccomp, no capabilities dropped that a job keeps.
_OWN_NAMESPACES: Final = ("pid", "network", "ipc", "uts", "mount", "cgroup")


def missing(which: Mapping[str, str] = PACKAGES) -> list[str]:
    """Programs that are not there."""
    return [program for program in which if shutil.which(program) is None]


def install() -> list[Skipped]:
    """Get what is missing where apt works; what is missing then, and why."""
    lacking = missing()
    if not lacking:
        return []
    why = _apt([PACKAGES[program] for program in lacking])
    return [Skipped(program, why or "not in this system's packages") for program in missing()]


def _apt(packages: Sequence[str]) -> str:
    """Install packages one by one, so that one that is unknown costs only itself."""
    apt = shutil.which("apt-get")
    if apt is None:
        return "not installed, and there is no apt-get"
    if os.geteuid() != 0:
        return "not installed, and only root may"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    words = [apt, "install", "--yes", "--quiet", "--no-install-recommends"]
    why = ""
    for package in packages:
        try:
            done = subprocess.run(
                [*words, package], check=False, capture_output=True, text=True,
                env=environment, stdin=subprocess.DEVNULL, timeout=_APT_SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"apt-get took more than {_APT_SECONDS} s"
        if done.returncode != 0:
            why = f"apt-get cannot install it: {_last_line(done.stderr)}"
    return why


class Command(NamedTuple):
    """How a peer runs something: `words` and then the command; or from a bundle.

    `extra`: options of podman that this machine needs.
    """

    name: str
    words: tuple[str, ...]
    notes: str
    bundle: str | None = None
    extra: tuple[str, ...] = ()


class Peers:
    """Those that work on this machine; the others are in `skipped`."""

    def __init__(self, cgroup: str, disk: str, limits: Sequence[str] = ()) -> None:
        self._cgroup = cgroup
        self._disk = disk
        self._limits = tuple(limits)
        self.skipped: list[Skipped] = []
        self._commands: dict[str, Command] = {}

    def find(self, names: Sequence[str]) -> None:
        """Try each of them once; one that fails is left out."""
        for name in names:
            if name in self._commands or any(one.name == name for one in self.skipped):
                continue
            why = self._try(name)
            if why:
                self.skipped.append(Skipped(name, why))

    def _try(self, name: str) -> str:
        """Why it cannot be used; empty when it can, in the first way that works."""
        if shutil.which(name) is None:
            return f"{name} is not installed ({PACKAGES.get(name, 'no package')})"
        why = ""
        for command in self._make(name):
            why = self._probe(command)
            if not why:
                self._commands[name] = command
                break
        return why

    def _probe(self, command: Command) -> str:
        try:
            done = subprocess.run(
                self.line(command, ["/bin/true"], "probe"), check=False, capture_output=True,
                text=True, stdin=subprocess.DEVNULL, timeout=_TRY_SECONDS,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"does not run here: {error}"
        if done.returncode != 0:
            return f"does not run here: {_last_line(done.stderr) or done.returncode}"
        return ""

    def get(self, name: str) -> Command | None:
        """A peer that works."""
        return self._commands.get(name)

    def line(self, command: Command, argv: Sequence[str], unique: str) -> list[str]:
        """The whole command line; `unique` names what must have a name of its own."""
        if command.bundle is None:
            return [*command.words, *argv]
        bundle = f"{_BUNDLES}/{command.name}-{unique}"
        if not os.path.isdir(bundle):
            write_bundle(bundle, argv, f"{self._below()}/{command.name}-{unique}", self._limits)
        return [*command.words, "--bundle", bundle, f"{command.name}-{unique}"]

    def bundle(self, unique: str, argv: Sequence[str]) -> str:
        """A bundle for whoever starts the runtime itself."""
        path = f"{_BUNDLES}/{unique}"
        write_bundle(path, argv, f"{self._below()}/{unique}", self._limits)
        return path

    def _below(self) -> str:
        return self._cgroup.removeprefix("/sys/fs/cgroup")

    def _make(self, name: str) -> list[Command]:
        """The ways to run it, the one to be preferred first."""
        if name == "bwrap":
            return [Command(name, BWRAP, _BWRAP_NOTES + self._no_limits())]
        if name in {"crun", "runc"}:
            return [Command(name, (name, "run"), "", bundle=_BUNDLES)]
        if name == "podman":
            return self._make_podman()
        if name == "firejail":
            return [Command(name, FIREJAIL, _FIREJAIL + self._no_limits())]
        if name == "systemd-nspawn":
            return [Command(name, NSPAWN, _NSPAWN + self._no_limits())]
        return [Command(name, (name,), "")]

    def _make_podman(self) -> list[Command]:
        limits = PODMAN_LIMITS if self._limits else ()
        notes = _PODMAN + ("; no io limit" if self._limits else "")
        ways = (
            (limits, notes),
            (PODMAN_BARE, f"{notes}; --privileged, as it may not raise its limits on this machine"),
        )
        return [
            Command("podman", (*self.podman(), *self.podman_run(), *extra, "--rm",
                               "--rootfs", ROOT), text, extra=extra)
            for extra, text in ways
        ]  # fmt: skip

    def podman(self) -> tuple[str, ...]:
        """Podman with its storage and logs on the disk, and what is of a boot below /run."""
        return (
            "podman", "--root", f"{self._disk}/podman", "--runroot", "/run/bench/podman-run",
            "--network-config-dir", "/run/bench/cni", "--cgroup-manager", "cgroupfs",
            "--storage-driver", "vfs", "--events-backend", "file",
            "--tmpdir", "/run/bench/podman-tmp",
        )  # fmt: skip

    def podman_run(self) -> tuple[str, ...]:
        """`podman run` with the namespaces and the log that it has in every figure."""
        return (
            "run", "--network", "none", "--log-driver", "k8s-file", "--no-hosts",
            "--cgroup-parent", self._below(),
        )  # fmt: skip

    def _no_limits(self) -> str:
        return "; sets no limits" if self._limits else ""


BWRAP: Final = (
    "bwrap", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts",
    "--unshare-cgroup", "--bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp",
)  # fmt: skip
_BWRAP_NOTES: Final = "no cgroup, no log, no record; fewer mounts"
_PODMAN: Final = "log, record and a store, which it syncs too"


PODMAN_LIMITS: Final = ("--memory", str(256 << 20), "--cpus", "1", "--pids-limit", "64")
# It raises RLIMIT_NPROC, and RLIMIT_MEMLOCK for its device filter, which not every root may, and
# asks for a controller that is not everywhere. What it leaves out so makes it faster.
PODMAN_BARE: Final = (
    "--ulimit", "nofile=1024:4096", "--ulimit", "nproc=4096:4096", "--privileged",
    "--pids-limit", "-1",
)  # fmt: skip

FIREJAIL: Final = ("firejail", "--quiet", "--noprofile", "--net=none", "--ipc-namespace")
_FIREJAIL: Final = "no UTS and no cgroup namespace"
NSPAWN: Final = (
    "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network",
    "--as-pid2", "--resolv-conf=off", "--timezone=off", "--directory", ROOT,
)  # fmt: skip
_NSPAWN: Final = "no service manager on this machine: not registered"


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip()[:200] if lines else ""


def write_bundle(path: str, argv: Sequence[str], cgroup: str, limits: Sequence[str]) -> None:
    """An OCI bundle for one command. The runtime specification, config.md."""
    os.makedirs(path, exist_ok=True)
    Path(path, "config.json").write_text(json.dumps(bundle(argv, cgroup, limits)), encoding="utf-8")


def bundle(argv: Sequence[str], cgroup: str, limits: Sequence[str]) -> dict[str, object]:
    """Its config.json: the namespaces, mounts and masks of a job of root."""
    safe = ["nosuid", "noexec", "nodev"]
    return {
        "ociVersion": "1.0.0",
        "process": {
            "terminal": False, "user": {"uid": 0, "gid": 0}, "args": list(argv), "cwd": "/",
            "env": ["PATH=/usr/bin:/bin"], "noNewPrivileges": True,
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), _KEPT),
        },
        "root": {"path": ROOT, "readonly": False},
        "hostname": "bench",
        "mounts": [
            _mount("/proc", "proc", []),
            _mount("/dev", "tmpfs", ["nosuid", "mode=755", "size=65536k"]),
            _mount("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666"]),
            _mount("/dev/shm", "tmpfs", ["nosuid", "nodev", "mode=1777"]),
            _mount("/dev/mqueue", "mqueue", safe),
            _mount("/sys", "sysfs", [*safe, "ro"]),
            _mount("/sys/fs/cgroup", "cgroup", [*safe, "ro"]),
            _mount("/tmp", "tmpfs", ["nosuid", "nodev", "mode=1777"]),
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": [{"type": kind} for kind in _OWN_NAMESPACES],
            "resources": resources(limits),
            "maskedPaths": ["/proc/keys", "/proc/kcore", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"],
        },
    }  # fmt: skip


# Those that a job of root keeps.
_KEPT: Final = [
    f"CAP_{name}"
    for name in (
        "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
        "NET_BIND_SERVICE", "SYS_CHROOT", "AUDIT_WRITE", "SETFCAP",
    )
]  # fmt: skip


def _mount(path: str, kind: str, options: list[str]) -> dict[str, object]:
    return {"destination": path, "type": kind, "source": kind, "options": options}


def resources(limits: Sequence[str]) -> dict[str, object]:
    """`linux.resources` for limits as FILE=VALUE, those that the runtimes know for v2."""
    return {"unified": dict(limit.split("=", 1) for limit in limits)} if limits else {}
