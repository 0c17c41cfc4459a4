"""A disk that stops writing: what it was asked to keep nobody is told of, and runnerd says so.

Under the file system is a device of the device mapper that answers every write with an error from
one moment on. A disk that is merely full is in test_full_disk.
"""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.kernel.harness import STATE, wait_until
from tests.kernel.stacks import call, loop, mapped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.harness import Daemon

_MIB = 64
_SECTORS = _MIB * 2048


class _Disk:
    """A device with a file system on it. `up 0, down 1` of dm-flakey: it fails all the time."""

    def __init__(self, below: str, device: str) -> None:
        self._below = below
        self.name = device

    def fail(self) -> None:
        """Each write is an error; what is there can be read."""
        self._load(f"flakey {self._below} 0 0 1000000 1 error_writes")

    def work(self) -> None:
        """As it was."""
        self._load(f"linear {self._below} 0")

    def _load(self, target: str) -> None:
        # Nothing is flushed: whoever has not synced finds out now.
        call("dmsetup", "suspend", "--noflush", "--nolockfs", self.name)
        call("dmsetup", "load", self.name, "--table", f"0 {_SECTORS} {target}")
        call("dmsetup", "resume", self.name)


@contextmanager
def _disk_below(daemon: Daemon) -> Iterator[_Disk]:
    with (
        loop(STATE, _MIB) as below,
        mapped(f"0 {_SECTORS} linear {below} 0") as device,
    ):
        call("mkfs.ext4", "-q", "-F", device)
        call("mkdir", "-p", daemon.state_dir)
        call("mount", device, daemon.state_dir)
        disk = _Disk(below, device)
        try:
            yield disk
        finally:
            disk.work()
            subprocess.run(["umount", "--lazy", daemon.state_dir], check=True)


def test_nobody_hears_of_a_job_that_is_not_on_the_disk(own_daemon: Daemon) -> None:
    daemon = own_daemon
    with _disk_below(daemon) as disk:
        daemon.start()
        with daemon.client() as client:
            before = client.submit(["true"])
            client.wait(before)
            runs_on = client.submit(["sleep", "1000"])
            wait_until(lambda: client.status(runs_on)["state"] == "running")
        # What is on its way is there: from here on only what comes new is lost.
        call("sync")
        disk.fail()

        refused = daemon.runctl("run", "-d", "--", "true")

        assert refused.returncode != 0, refused
        assert not refused.stdout, "it was given an id"
        wait_until(lambda: not daemon.running, explain=daemon.log_text)
        assert daemon.exit_status == 1
        last = daemon.log_text().splitlines()[-1]
        assert "runnerd.sqlite3-wal" in last, last
        assert "cannot be synced" in last, last
        assert "look at the disk" in last, last

        _mount_again(disk, daemon)
        daemon.start()
        with daemon.client() as client:
            assert client.status(before)["result"] is not None
            assert client.status(runs_on)["state"] == "running"
            client.stop(runs_on, kill=True)
            assert client.wait(runs_on)["result"] is not None
            assert client.wait(client.submit(["true"]))["result"] is not None
        daemon.forget_all_jobs()
        daemon.stop()


def _mount_again(disk: _Disk, daemon: Daemon) -> None:
    """The disk writes again. A file system that was told of errors may be read-only now."""
    disk.work()
    call("mount", "-o", "remount,rw", daemon.state_dir)
