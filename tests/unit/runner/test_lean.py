"""The lean set: what the launcher imports, and so every fork of it pays for, stays small."""

from __future__ import annotations

import subprocess
import sys

import pytest

from runner import launcher_client

# ARCHITECTURE.md, "Layers"; and what else is large and has crept into such a process before.
HEAVY = {
    "asyncio", "logging", "dataclasses", "msgspec", "click", "pyroute2", "cgroupspy",
    "inotify_simple", "concurrent", "subprocess", "threading", "inspect", "ast", "json", "pathlib",
    "tempfile", "shutil", "random", "sqlite3", "ssl", "tomllib", "traceback", "unittest", "uuid",
    "importlib.metadata", "multiprocessing", "argparse", "hashlib", "urllib", "site",
}  # fmt: skip
OURS = {
    "isolation", "isolation.capabilities", "isolation.cgroups", "isolation.cgroups.files",
    "isolation.entry", "isolation.files", "isolation.files.clones",
    "isolation.files.confinement", "isolation.files.covers", "isolation.files.dev_nodes",
    "isolation.files.host_mounts", "isolation.files.idmaps", "isolation.files.mounts",
    "isolation.files.overlays", "isolation.files.own_roots", "isolation.files.places",
    "isolation.files.root_images", "isolation.files.tree", "isolation.files.unpack",
    "isolation.files.user_paths", "isolation.landlock", "isolation.payload",
    "isolation.privileges", "isolation.rlimits", "isolation.seccomp",
    "isolation.seccomp.bpf_machine", "isolation.seccomp.denials", "isolation.seccomp.filters",
    "isolation.syscalls", "isolation.syscalls.common", "isolation.syscalls.credentials",
    "isolation.syscalls.effective", "isolation.syscalls.mounts", "isolation.syscalls.process",
    "isolation.syscalls.security", "runner", "runner.daemon_watch", "runner.denied",
    "runner.entering",
    "runner.handles", "runner.launcher", "runner.logs", "runner.logs.format",
    "runner.logs.sealing", "runner.logs.segment_files", "runner.logs.writer", "runner.monitor",
    "runner.outcome",
    "runner.pump", "runner.records", "runner.run_loop", "runner.usage", "runner.watchdog",
}  # fmt: skip


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """The modules of an interpreter that was started as the launcher is."""
    program = (
        "import sys; sys.path[:0] = sys.argv[1:]; import runner.launcher; "
        "print('\\n'.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", program, *launcher_client._PATHS],
        capture_output=True, check=True, text=True, timeout=30, cwd="/", env={},
    )  # fmt: skip
    return set(done.stdout.split())


@pytest.mark.parametrize("module", sorted(HEAVY))
def test_the_launcher_does_not_import(loaded: set[str], module: str) -> None:
    assert module not in loaded


def test_of_our_own_modules_it_imports_the_lean_set_and_no_other(loaded: set[str]) -> None:
    ours = {name for name in loaded if name.partition(".")[0] in {"runner", "isolation", "client"}}
    assert ours == OURS


def test_of_others_it_imports_msgpack_alone(loaded: set[str]) -> None:
    others = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names
    compiled = {name for name in others if name.startswith(("_cython", "cython_runtime"))}
    assert others - compiled - {"__main__"} == {"runner", "isolation", "msgpack"}


def test_msgpack_is_the_compiled_one(loaded: set[str]) -> None:
    """The fall-back in Python would be slower by two orders of magnitude."""
    assert "msgpack._cmsgpack" in loaded
