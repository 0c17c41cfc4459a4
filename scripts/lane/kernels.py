"""Which kernel a guest boots: found in the cache, unpacked from Debian, or built.

Each kernel has a directory of its own in the cache: `linux` is the program, `modules`
and `lib` are there when it needs them. A directory appears under its final name only
when it is complete, by one rename.
"""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from lane.console import LaneError, run, say, tail
from lane.debian import Suite, install, version_order

Kind = Literal["full", "packaged", "old"]
KINDS: tuple[Kind, ...] = get_args(Kind)

OPTIONS = Path(__file__).with_name("uml-kernel.config")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "runnerd-lane"

LACKS: dict[Kind, str] = {
    "full": "nothing that is known",
    "packaged": "pressure (PSI), cpuset, io.weight, io.latency, Landlock, nftables for IP, "
    "a second CPU",
    "old": "pressure (PSI), cpuset, io.weight, io.latency, Landlock, nftables for IP, a second "
    "CPU, time namespaces, resetting memory.peak; it is slow (ptrace)",
}

BUILD_TOOLS = {
    "bc": "bc",
    "bison": "bison",
    "flex": "flex",
    "gcc": "gcc",
    "libc6-dev": "/usr/include/stdio.h",
    "libelf-dev": "/usr/include/libelf.h",
    "libssl-dev": "/usr/include/openssl/ssl.h",
    "make": "make",
    "xz-utils": "xz",
}
BUILD_BYTES = 3 << 30
HEARTBEAT_SECONDS = 60.0

# The loader's path inside the packaged kernel is 27 bytes long, and a relative one is
# looked up from the directory in which the kernel is started. Running the kernel as an
# argument of ld.so instead panics it: it executes /proc/self/exe once more.
STOCK_LOADER = b"/lib64/ld-linux-x86-64.so.2"
OWN_LOADER = b"lib/ld-linux-x86-64.so.2"


@dataclass(frozen=True)
class Kernel:
    """A kernel in the cache, ready to start."""

    kind: Kind
    version: str
    home: Path

    @property
    def modules(self) -> Path | None:
        """Its module tree, when not everything is built in."""
        return next(self.home.glob("modules/*"), None)

    @property
    def libraries(self) -> Path | None:
        """Its own C library, when the machine's is too old for it."""
        libraries = self.home / "lib"
        return libraries if libraries.exists() else None

    def __str__(self) -> str:
        return f"{self.kind} kernel {self.version} (lacks: {LACKS[self.kind]})"


def cached(kind: Kind) -> Kernel | None:
    """The newest kernel of a kind that is in the cache and still wanted."""
    found = []
    for home in CACHE.glob(f"{kind}-*"):
        version = home.name.removeprefix(f"{kind}-")
        if kind == "full":
            version, _, key = version.rpartition("-")
            if key != _options_key(version):
                continue
        found.append(Kernel(kind, version, home))
    return max(found, key=lambda kernel: version_order(kernel.version), default=None)


def at_hand() -> Kernel | None:
    """The kernel that is used when nobody asks for a kind, if it is in the cache.

    The old one does not count: a machine without a network gets it, the next time too.
    """
    return cached("full") or cached("packaged")


def choose(kind: Kind | None = None) -> Kernel:
    """The kernel to boot: the kind asked for, else the best that can be had quickly."""
    if kind:
        return cached(kind) or (build() if kind == "full" else fetch(kind))
    if kernel := at_hand():
        return kernel
    try:
        return fetch("packaged")
    except LaneError as error:
        say(str(error))
        say("the packaged kernel of Debian testing can't be had, taking Debian 12's")
        return choose("old")


def fetch(kind: Kind) -> Kernel:
    """A kernel as Debian packages it."""
    with workspace() as work:
        if kernel := cached(kind):
            return kernel
        suite = Suite("testing" if kind == "packaged" else "bookworm", work / "apt")
        version = suite.version("user-mode-linux")
        stage = work / "kernel"
        suite.unpack("user-mode-linux", work / "files")
        stage.mkdir()
        (work / "files/usr/bin/linux.uml").rename(stage / "linux")
        (work / "files/usr/lib/uml/modules").rename(stage / "modules")
        if kind == "packaged":
            suite.unpack("libc6", work / "libc")
            _give_own_library(stage, work / "libc")
        return _keep(stage, Kernel(kind, version, CACHE / f"{kind}-{version}"))


def build() -> Kernel:
    """A kernel of our own options, from the newest source that Debian testing has."""
    install(BUILD_TOOLS)
    with workspace() as work:
        if shutil.disk_usage(work).free < BUILD_BYTES:
            raise LaneError(f"a build needs {BUILD_BYTES >> 30} GiB free below {CACHE}")
        suite = Suite("testing", work / "apt")
        package = suite.newest("linux-source-")
        version = suite.version(package)
        home = CACHE / f"full-{version}-{_options_key(version)}"
        kernel = Kernel("full", version, home)
        if home.exists():
            return kernel
        suite.unpack(package, work / "files")
        say("unpacking the source")
        source = work / package
        run(["tar", "-xJf", work / f"files/usr/src/{package}.tar.xz", "-C", work])
        _configure(source)
        _compile(source)
        stage = work / "kernel"
        stage.mkdir()
        (source / "linux").rename(stage / "linux")
        (source / ".config").rename(stage / "config")
        return _keep(stage, kernel)


def _configure(source: Path) -> None:
    run(["make", "ARCH=um", "allnoconfig"], cwd=source, env={"KCONFIG_ALLCONFIG": str(OPTIONS)})
    taken = set((source / ".config").read_text().splitlines())
    for option in _options():
        name, _, value = option.partition("=")
        absent = value == "n" and not any(line.startswith(f"{name}=") for line in taken)
        if option not in taken and not absent:
            say(f"warning: this source did not take {option}")


def _compile(source: Path) -> None:
    jobs = len(os.sched_getaffinity(0))
    log = CACHE / "build.log"
    say(f"building on {jobs} CPUs, some 14 CPU minutes; log in {log}")
    started = time.monotonic()
    command = ["make", "ARCH=um", f"-j{jobs}", "linux"]
    with log.open("wb") as output:
        make = subprocess.Popen(
            command,
            cwd=source,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            while not _ended(make):
                minutes = (time.monotonic() - started) / 60
                compiled = log.read_text(errors="replace").count("  CC ")
                say(f"{minutes:.0f} min, {compiled} files compiled")
        finally:
            if make.poll() is None:
                os.killpg(make.pid, 15)
                make.wait()
    if make.returncode != 0:
        raise LaneError(f"the kernel did not compile:\n{tail(log.read_text(errors='replace'))}")
    say(f"built in {time.monotonic() - started:.0f} s")


def _ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(timeout=HEARTBEAT_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True


def _give_own_library(stage: Path, libc: Path) -> None:
    """Make the packaged kernel run on its own C library, from wherever it lies."""
    program = (stage / "linux").read_bytes()
    if program.count(STOCK_LOADER + b"\0") != 1:
        raise LaneError("the packaged kernel names its loader in another way than it used to")
    padded = OWN_LOADER.ljust(len(STOCK_LOADER), b"\0")
    (stage / "linux").write_bytes(program.replace(STOCK_LOADER, padded))
    (stage / "lib").mkdir()
    for name in ("ld-linux-x86-64.so.2", "libc.so.6"):
        (libc / "usr/lib/x86_64-linux-gnu" / name).rename(stage / "lib" / name)


def _keep(stage: Path, kernel: Kernel) -> Kernel:
    stage.rename(kernel.home)
    say(f"ready: {kernel}")
    return kernel


@contextmanager
def workspace() -> Iterator[Path]:
    """A directory beside the kernels to work in, for one builder at a time."""
    if platform.machine() != "x86_64":
        raise LaneError("a kernel as a process exists for x86_64 machines only")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another process is getting a kernel, waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        # Left by one that was killed.
        for stale in CACHE.glob("work-*"):
            run(["rm", "-r", "--", stale])
        with tempfile.TemporaryDirectory(prefix="work-", dir=CACHE) as work:
            yield Path(work)


def _options() -> list[str]:
    return [line for line in OPTIONS.read_text().splitlines() if line.startswith("CONFIG_")]


def _options_key(version: str) -> str:
    text = "\n".join([version, *sorted(_options())])
    return hashlib.sha256(text.encode()).hexdigest()[:12]
