"""The small pure parts: what is read of the kernel and of frames, and the table itself."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.bench import floors
from tests.bench.command import cgroup_mount, parse
from tests.bench.figures_logs import Sights
from tests.bench.figures_scale import rollup_pss
from tests.bench.kinds import OURS
from tests.bench.peers import bundle, resources
from tests.bench.table import FIGURES
from tests.bench.wire import request, spans

if TYPE_CHECKING:
    from pathlib import Path


def test_frames_are_found_and_a_half_one_is_left() -> None:
    one, two = request(1, "list", {}), request(2, "status", {"job": "x"})
    frames, end = spans(bytearray(one + two + two[:5]))
    assert frames == [(4, len(one)), (len(one) + 4, len(one + two))]
    assert end == len(one + two)
    assert spans(bytearray(one[:3])) == ([], 0)


def test_lines_are_seen_when_they_are_whole_and_the_first_ones_may_have_waited() -> None:
    sights = Sights()
    sights.see(b"1000000\n", 5_000_000)
    sights.see(b"60000", 6_100_000)
    assert sights.milliseconds == []
    sights.see(b"00\n7000000\n", 8_000_000)
    assert sights.milliseconds == [2.0, 1.0]


def test_pss_is_read_of_the_rollup() -> None:
    assert rollup_pss("5 - [rollup]\nRss:  900 kB\nPss:   412 kB\nPss_Dirty: 3 kB\n") == 412
    with pytest.raises(ValueError, match="without Pss"):
        rollup_pss("Rss: 1 kB\n")


def test_the_mount_of_cgroup_v2_is_found_among_those_of_v1() -> None:
    mounts = "cgroup /c/cpu cgroup rw 0 0\ncgroup2 /c/unified cgroup2 rw 0 0\n"
    assert cgroup_mount(mounts) == "/c/unified"
    with pytest.raises(RuntimeError, match="not mounted"):
        cgroup_mount("proc /proc proc rw 0 0\n")


def test_a_bundle_has_the_six_namespaces_and_the_limits_of_everybody() -> None:
    one = bundle(["/bin/true"], "/x", ["memory.max=1", "cpu.max=1 2"])
    linux = one["linux"]
    assert isinstance(linux, dict)
    assert len(linux["namespaces"]) == 6
    assert linux["resources"] == {"unified": {"memory.max": "1", "cpu.max": "1 2"}}
    assert resources(()) == {}


def test_figures_have_names_of_their_own_and_targets_about_us() -> None:
    names = [figure.name for figure in FIGURES]
    assert len(set(names)) == len(names)
    for figure in FIGURES:
        assert figure.targets, figure.name
        assert figure.quick.rounds <= figure.full.rounds
        assert any(target.of == OURS for target in figure.targets), figure.name


@pytest.mark.parametrize("extra", [["--quick"], ["--only", "start"], ["--rounds", "1"]])
def test_a_part_of_a_run_is_never_kept(
    extra: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(["--record", *extra])
    assert "keeps whole runs" in capsys.readouterr().err


def test_a_floor_prints_nanoseconds_or_is_an_error() -> None:
    assert floors.milliseconds("1500000\n250000\n") == [1.5, 0.25]
    with pytest.raises(floors.FloorError):
        floors.milliseconds("start: /dev: no\n")


def test_without_a_compiler_a_floor_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(floors.FloorError, match="apt-get install gcc"):
        floors.Floors(str(tmp_path)).program("start")


@pytest.mark.parametrize("source", sorted(floors.SOURCES.glob("*.c")), ids=lambda path: path.stem)
def test_floors_are_clean_c(source: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    words = [compiler, "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", str(source)]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
