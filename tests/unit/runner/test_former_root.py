"""Where jobs run is where the next runnerd looks for them, however that one is started."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from isolation.cgroups.root import CgroupRoot
from runner import former_root

if TYPE_CHECKING:
    from pathlib import Path

JOB = "0b7f5cf2-95f8-4a51-a9f0-8f3d0d5f6b1e"


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    """This host offers /now; a root that is named is taken."""

    def find_root(configured: str | None, *, needs_limits: bool) -> CgroupRoot:
        assert needs_limits
        return CgroupRoot(configured or "/now", "configured" if configured else "own", "/")

    monkeypatch.setattr(former_root, "find_root", find_root)


def choose(state: Path, configured: str | None = None) -> tuple[str, str]:
    return former_root.choose(str(state), configured, needs_limits=True)


@pytest.mark.usefixtures("found")
def test_without_a_former_root_it_is_the_one_that_is_found(tmp_path: Path) -> None:
    assert choose(tmp_path) == ("/now", "own")
    assert choose(tmp_path, "/mine") == ("/mine", "configured")


@pytest.mark.usefixtures("found")
@pytest.mark.parametrize("configured", [None, "/mine"])
def test_where_jobs_are_the_root_stays(tmp_path: Path, configured: str | None) -> None:
    former = tmp_path / "former"
    (former / f"job-{JOB}").mkdir(parents=True)
    (tmp_path / "jobs" / JOB).mkdir(parents=True)
    former_root.keep(str(tmp_path), str(former))
    assert choose(tmp_path, configured) == (str(former), "jobs are there")


@pytest.mark.usefixtures("found")
def test_a_former_root_without_jobs_is_left(tmp_path: Path) -> None:
    former = tmp_path / "former"
    (former / "daemon").mkdir(parents=True)
    (tmp_path / "jobs" / JOB).mkdir(parents=True)
    former_root.keep(str(tmp_path), str(former))
    assert choose(tmp_path) == ("/now", "own")


@pytest.mark.usefixtures("found")
def test_jobs_of_another_state_directory_keep_nobody(tmp_path: Path) -> None:
    former = tmp_path / "former"
    (former / f"job-{JOB}").mkdir(parents=True)
    former_root.keep(str(tmp_path), str(former))
    assert choose(tmp_path) == ("/now", "own")


@pytest.mark.usefixtures("found")
@pytest.mark.parametrize("text", [b"", b"relative", b"/gone", b"/a\0b", b"\xff" * 9000])
def test_a_former_root_that_is_garbled_or_gone_counts_for_nothing(
    tmp_path: Path, text: bytes
) -> None:
    (tmp_path / former_root.NAME).write_bytes(text)
    assert choose(tmp_path) == ("/now", "own")


def test_the_root_in_use_is_written_down_once(tmp_path: Path) -> None:
    former_root.keep(str(tmp_path), "/one")
    written = (tmp_path / former_root.NAME).stat().st_ino
    former_root.keep(str(tmp_path), "/one")
    assert (tmp_path / former_root.NAME).stat().st_ino == written
    former_root.keep(str(tmp_path), "/two")
    assert (tmp_path / former_root.NAME).read_bytes() == b"/two"
    assert [path.name for path in tmp_path.iterdir()] == [former_root.NAME]


def test_a_full_disk_is_no_reason_not_to_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    former_root.keep(str(tmp_path / "not-there"), "/one")
    assert "cannot be written" in caplog.text
