"""A user's own gateway, which needs nobody's permission: the two commands of README."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.kernel.gateway.harness import RunningGateway
from tests.kernel.harness import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.harness import Daemon


def test_a_user_has_a_gateway_of_his_own_with_two_commands(daemon: Daemon, tmp_path: Path) -> None:
    """What README says; runnerd has not been told of any gateway."""
    for path in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        path.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    shutil.chown(home, "alice", "alice")
    with RunningGateway(daemon, home / "gateway", "alice") as own:
        made = own.command("init", user="alice")
        assert made.returncode == 0, made.stderr
        own.start("--check")
        wait_until(lambda: "Both work." in own.log_text(), explain=own.log_text)
        job = own.rest("alice", "POST", "/jobs", {"argv": ["id", "-un"]}).json["job"]
        wait_until(lambda: daemon.runctl("logs", job, user="alice").stdout == "alice\n")
        assert own.rest("alice", "POST", "/jobs", {"argv": ["true"], "user": "bob"}).status == 403
        own.stop()
    with pytest.raises(AssertionError), RunningGateway(daemon, home / "gateway", "bob") as other:
        other.start()
