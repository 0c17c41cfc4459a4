"""The command: what it says when it cannot start, and that it then ends with 1."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# Imported while its files can be read, then somebody who is not root.
PROGRAM = """
import os, sys
from runner.main import main
if os.geteuid() == 0 and sys.argv.pop(1) == "drop":
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
sys.argv[0] = "runnerd"
main()
"""


def runnerd(*arguments: str, as_who: str = "drop") -> tuple[int, str, str]:
    first = [as_who] if os.geteuid() == 0 else []
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *first, *arguments],
        capture_output=True, check=False, cwd=ROOT, text=True, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def config(tmp_path: Path) -> Path:
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    return tmp_path / "config.toml"


def test_without_root_it_says_that_it_needs_it_and_why(config: Path) -> None:
    config.write_text("")
    status, out, err = runnerd("--config", str(config))
    assert (status, out) == (1, "")
    assert err.startswith("runnerd: cannot start: it must be started as root")
    assert "sudo" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[jobs]\nmax_runing = 3\n", "config.toml:2: jobs.max_runing: unknown key"),
        ("[jobs]\nmax_running = 0\n", "config.toml:2: jobs.max_running: "),
        ("socket = \n", "config.toml:1: not TOML"),
    ],
)
def test_a_wrong_configuration_is_refused_by_file_line_and_key(
    config: Path, text: str, message: str
) -> None:
    config.write_text(text)
    status, _, err = runnerd("--config", str(config))
    assert status == 1
    assert err.startswith("runnerd: cannot start: ")
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_configuration_that_is_not_there_is_refused(tmp_path: Path) -> None:
    status, _, err = runnerd("--config", str(tmp_path / "absent.toml"))
    assert status == 1
    assert "absent.toml: cannot be read: " in err


@pytest.mark.parametrize(
    ("option", "value"), [("--socket", "/" + "x" * 200), ("--state-dir", ""), ("--cgroup-root", "")]
)
def test_a_wrong_option_is_refused_by_its_name(config: Path, option: str, value: str) -> None:
    config.write_text("")
    status, _, err = runnerd("--config", str(config), option, value)
    assert status == 1
    assert err.startswith(f"runnerd: cannot start: {option}: ")


def test_an_unknown_option_is_refused_as_every_command_refuses_it() -> None:
    status, _, err = runnerd("--bogus", as_who="me")
    assert status == 2
    assert "--bogus" in err


def test_version_and_help_need_no_configuration() -> None:
    from client import __version__

    assert runnerd("--version", as_who="me") == (0, f"runnerd {__version__}\n", "")
    status, out, _ = runnerd("--help", as_who="me")
    assert status == 0
    for option in ("--config", "--socket", "--state-dir", "--cgroup-root"):
        assert option in out


def test_a_mistake_is_told_before_the_daemons_heavy_parts_are_imported(tmp_path: Path) -> None:
    program = PROGRAM.replace(
        "main()\n",
        "try:\n    main()\nfinally:\n"
        "    print(sorted({'pyroute2', 'sqlite3', 'cgroupspy'} & set(sys.modules)))\n",
    )
    first = ["drop"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [sys.executable, "-c", program, *first, "--config", str(tmp_path / "absent")],
        capture_output=True, check=False, cwd=ROOT, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "[]\n")
