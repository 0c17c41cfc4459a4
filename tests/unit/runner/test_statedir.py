"""The state directory is root's alone, and two daemons never share one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runner import statedir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[3]
HOLD = "import sys; from runner import statedir; {}; print('held', flush=True); sys.stdin.read()"
LOCKS: list[Callable[[str], int]] = [statedir.lock_file, statedir.lock_directory]


@contextmanager
def another(code: str, *args: str, fds: tuple[int, ...] = ()) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that has run `code`, until its stdin is closed."""
    command = [sys.executable, "-c", HOLD.format(code), *args]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, pass_fds=fds, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.communicate()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_PATIENCE_SECONDS", "_LAUNCHER_SECONDS"):
        monkeypatch.setattr(statedir, name, 0.2)
    monkeypatch.setattr(statedir, "_LIVING_SECONDS", 0.2)


@pytest.fixture(params=LOCKS, ids=lambda lock: lock.__name__)
def lock(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Callable[[str], int], str]:
    take: Callable[[str], int] = request.param
    return take, str(tmp_path / "lock" if take is statedir.lock_file else tmp_path)


@pytest.mark.usefixtures("impatient")
def test_what_another_process_holds_is_refused_with_a_way_out(
    lock: tuple[Callable[[str], int], str],
) -> None:
    take, path = lock
    before = set(os.listdir("/proc/self/fd"))
    with (
        another(f"statedir.{take.__name__}(sys.argv[1])", path),
        pytest.raises(statedir.InUseError, match=r"held by another runnerd; stop it, or") as caught,
    ):
        take(path)
    assert path in str(caught.value)
    assert set(os.listdir("/proc/self/fd")) <= before


@pytest.mark.usefixtures("impatient")
def test_the_end_of_its_holder_frees_a_lock(lock: tuple[Callable[[str], int], str]) -> None:
    take, path = lock
    with another(f"statedir.{take.__name__}(sys.argv[1])", path) as process:
        process.kill()
        process.wait()
        os.close(take(path))


def test_a_holder_that_is_just_ending_is_waited_for(tmp_path: Path) -> None:
    """Longer than for one that lives: it has said that it lets go."""
    path = str(tmp_path / "lock")
    code = "fd = statedir.lock_file(sys.argv[1]); statedir.about_to_let_go(fd)"
    code += "; import threading; threading.Timer(0.6, __import__('os')._exit, (0,)).start()"
    with another(code, path):
        started = time.monotonic()
        os.close(statedir.lock_file(path))
        assert time.monotonic() - started < statedir._PATIENCE_SECONDS


def test_a_holder_that_lives_is_not_waited_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "lock")
    monkeypatch.setattr(statedir, "_LAUNCHER_SECONDS", 600.0)
    with another("statedir.lock_file(sys.argv[1])", path), pytest.raises(statedir.InUseError):
        statedir.lock_file(path)


def test_a_launcher_that_has_outlived_its_runnerd_is_waited_for(
    lock: tuple[Callable[[str], int], str],
) -> None:
    """It has the lock by inheritance, and what says that a runnerd lives is not inherited."""
    take, path = lock
    code = f"fd = statedir.{take.__name__}(sys.argv[1]); import os, time"
    code += "; heir = os.fork(); heir or (time.sleep(0.6), os._exit(0))"
    with another(code, path) as runnerd:
        runnerd.kill()
        runnerd.wait()
        started = time.monotonic()
        os.close(take(path))
        assert time.monotonic() - started < statedir._PATIENCE_SECONDS


@pytest.mark.usefixtures("impatient")
def test_an_inherited_copy_keeps_the_lock_after_its_maker_has_closed_it(
    lock: tuple[Callable[[str], int], str],
) -> None:
    """As the launcher does: while it lives, no other runnerd may begin."""
    take, path = lock
    fd = take(path)
    with another("pass", fds=(fd,)) as heir:
        os.close(fd)
        with pytest.raises(statedir.InUseError):
            take(path)
        heir.communicate()
        os.close(take(path))


def test_locks_are_not_inherited_by_accident(lock: tuple[Callable[[str], int], str]) -> None:
    take, path = lock
    fd = take(path)
    assert not os.get_inheritable(fd)
    with another("pass"):
        os.close(fd)
        os.close(take(path))


def test_a_lock_file_is_private(tmp_path: Path) -> None:
    os.close(statedir.lock_file(str(tmp_path / "lock")))
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the directory must be its")


@needs_root
def test_a_directory_that_is_missing_is_made_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "a" / "state"
    statedir.prepare(str(path))
    assert path.stat().st_mode & 0o777 == 0o700


@needs_root
def test_a_directory_that_is_open_to_others_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.mkdir()
    path.chmod(0o777)
    statedir.prepare(str(path))
    assert path.stat().st_mode & 0o777 == 0o700


def test_a_directory_of_somebody_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.mkdir()
    path.chmod(0o755)
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    with pytest.raises(PermissionError, match="must belong to root") as caught:
        statedir.prepare(str(path))
    assert caught.value.filename == str(path)
    assert path.stat().st_mode & 0o777 == 0o755


def test_what_is_no_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(OSError, match="state"):
        statedir.prepare(str(tmp_path / "state"))
