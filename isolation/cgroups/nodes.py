"""cgroup v2 in cgroupspy's terms: its Node, and its Controller with the v2 files.

cgroupspy's own controllers are for v1. Here each v2 controller is a class whose attributes
are files; reading one reads the kernel, assigning writes it with one write(2) a value.
The formats are `isolation.cgroups.kinds`'; what a job's cgroups look like and what is written
into them: `isolation.cgroups.tree`.
Source: Documentation/admin-guide/cgroup-v2.rst of the kernel.
"""

from __future__ import annotations

import errno
import os
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from cgroupspy.controllers import Controller as _Controller
from cgroupspy.interfaces import BaseFileInterface, CommaDashSetFile, FlagFile, IntegerFile
from cgroupspy.nodes import Node as _Node

from isolation.cgroups.kinds import (
    CountersFile,
    CpuMaxFile,
    DefaultWeightFile,
    MaxFile,
    NestedFile,
    PidsFile,
    TextFile,
    WordSetFile,
)
from isolation.errors import CgroupError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_CHUNK = 65536
# A dot is refused because "memory.max" as a child's name would collide with a file's.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


def _raw_attribute(cls: type, name: str) -> object:
    """The attribute as the class holds it: a descriptor itself, not what it would read."""
    return next((vars(klass)[name] for klass in cls.__mro__ if name in vars(klass)), None)


class Controller(_Controller):  # type: ignore[misc]
    """Reads and writes the files of one cgroup. Every failure is a CgroupError.

    A name that is no declared file cannot be assigned: a misspelt limit must not vanish
    in an ordinary attribute.
    """

    # Files of v1 that cgroupspy declares for every controller.
    tasks = None
    notify_on_release = None
    clone_children = None
    procs = PidsFile("cgroup.procs")

    FILES: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        names = (name for klass in cls.__mro__ for name in vars(klass))
        kinds = ((name, _raw_attribute(cls, name)) for name in names)
        cls.FILES = frozenset(n for n, kind in kinds if isinstance(kind, BaseFileInterface))

    def __setattr__(self, name: str, value: object) -> None:
        if name != "node" and name not in self.FILES:
            raise AttributeError(f"{type(self).__name__} has no file {name!r}")
        super().__setattr__(name, value)

    def path(self, filename: bytes | str) -> str:
        """The full path of a file of this cgroup."""
        name = filename if isinstance(filename, str) else filename.decode("ascii")
        return f"{self.node.directory}/{name}"

    def has(self, filename: str) -> bool:
        """Whether this kernel has that file here."""
        return os.path.exists(self.path(filename))

    def get_property(self, filename: bytes) -> str:
        """The file's text without the final newline. Raises CgroupError."""
        path = self.path(filename)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return _read_all(fd).decode("ascii").strip()
            finally:
                os.close(fd)
        except OSError as error:
            raise CgroupError(error.errno or 0, "read", path) from None

    def set_property(self, filename: bytes, value: object) -> None:
        """Write the value with one write(2). Raises CgroupError with path, value and errno."""
        write_text(self.path(filename), str(value))


def write_text(path: str, text: str) -> None:
    """One write(2) of all of `text`, which the kernel carries out as a whole or not at all.

    Raises CgroupError with path, text and errno.
    """
    try:
        # Without O_CREAT and O_TRUNC: a missing file is a missing feature.
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode("ascii"))
        finally:
            os.close(fd)
    except OSError as error:
        raise CgroupError(error.errno or 0, "write", path, text) from None


def _read_all(fd: int) -> bytes:
    parts = []
    while part := os.read(fd, _CHUNK):
        parts.append(part)
    return b"".join(parts)


class CoreController(Controller):
    """The files that every cgroup has."""

    controllers = WordSetFile("cgroup.controllers", readonly=True)
    subtree_control = WordSetFile("cgroup.subtree_control")
    type = TextFile("cgroup.type")
    events = CountersFile("cgroup.events", readonly=True)
    freeze = FlagFile("cgroup.freeze")
    kill = FlagFile("cgroup.kill", writeonly=True)


class MemoryController(Controller):
    """memory.*: bytes."""

    max = MaxFile("memory.max")
    high = MaxFile("memory.high")
    current = MaxFile("memory.current", readonly=True)
    peak = MaxFile("memory.peak", readonly=True)
    swap_max = MaxFile("memory.swap.max")
    swap_current = MaxFile("memory.swap.current", readonly=True)
    oom_group = FlagFile("memory.oom.group")
    events = CountersFile("memory.events", readonly=True)
    stat = CountersFile("memory.stat", readonly=True)


class CpuController(Controller):
    """cpu.*: microseconds. cpu.stat is there without the controller too."""

    max = CpuMaxFile("cpu.max")
    weight = IntegerFile("cpu.weight")
    idle = FlagFile("cpu.idle")
    stat = CountersFile("cpu.stat", readonly=True)


class IoController(Controller):
    """io.*: by device "MAJ:MIN"; bytes and operations a second."""

    max = NestedFile("io.max")
    weight = DefaultWeightFile("io.weight")
    bfq_weight = DefaultWeightFile("io.bfq.weight")


class PidsController(Controller):
    """pids.*: processes and threads."""

    max = MaxFile("pids.max")
    current = MaxFile("pids.current", readonly=True)
    peak = MaxFile("pids.peak", readonly=True)
    events = CountersFile("pids.events", readonly=True)


class CpusetController(Controller):
    """cpuset.*: sets of CPU and memory node numbers."""

    cpus = CommaDashSetFile("cpuset.cpus")
    effective = TextFile("cpuset.cpus.effective", readonly=True)
    mems = CommaDashSetFile("cpuset.mems")


class Cgroup(_Node):  # type: ignore[misc]
    """One cgroup v2 directory. The first one of a tree is named by its absolute path.

    Children are not remembered, because the kernel knows them: `child_names` asks it.
    """

    CONTROLLERS: ClassVar[dict[bytes, Any]] = {b"cgroup2": CoreController}

    def _get_node_type(self) -> bytes:
        kind: bytes = self.NODE_ROOT if self.parent is None else self.NODE_CGROUP
        return kind

    def _get_controller_type(self) -> bytes:
        return b"cgroup2"

    @cached_property
    def directory(self) -> str:
        """The absolute path. Neither a node's name nor its place ever changes."""
        return os.fsdecode(self.full_path)

    @property
    def core(self) -> CoreController:
        """The cgroup.* files."""
        controller: CoreController = self.controller
        return controller

    @cached_property
    def memory(self) -> MemoryController:
        """The memory.* files."""
        return MemoryController(self)

    @cached_property
    def cpu(self) -> CpuController:
        """The cpu.* files."""
        return CpuController(self)

    @cached_property
    def io(self) -> IoController:
        """The io.* files."""
        return IoController(self)

    @cached_property
    def pids(self) -> PidsController:
        """The pids.* files."""
        return PidsController(self)

    @cached_property
    def cpuset(self) -> CpusetController:
        """The cpuset.* files."""
        return CpusetController(self)

    def child(self, name: str) -> Cgroup:
        """The node of a child, whether it exists or not. ValueError when it is no name for one."""
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"not a name for a cgroup: {name!r}")
        return Cgroup(name, parent=self)

    def child_names(self) -> list[str]:
        """Names of the cgroups directly below. Raises CgroupError."""
        try:
            with os.scandir(self.directory) as entries:
                return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError as error:
            raise CgroupError(error.errno or 0, "list", self.directory) from None

    def exists(self) -> bool:
        """Whether the directory is there."""
        return os.path.isdir(self.directory)

    def create_cgroup(self, name: str) -> Cgroup:
        """Make a child. ValueError for a bad name, CgroupError else, EEXIST included."""
        node = self.child(name)
        try:
            os.mkdir(node.directory, 0o755)
        except OSError as error:
            raise CgroupError(error.errno or 0, "mkdir", node.directory) from None
        return node


def optional(read: Callable[[], T]) -> T | None:
    """What `read` gives, or None when this kernel or this cgroup has no such file.

    ENOENT: no file; ENODEV: the cgroup is being removed; EOPNOTSUPP: PSI is switched off.
    """
    try:
        return read()
    except CgroupError as error:
        if error.errno in {errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP}:
            return None
        raise
