"""Programs of the machine that the kernel tests call, and Debian's packages that have them.

python -m tests.kernel.programs     gets those that are missing, as root with apt-get
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

PACKAGES = {
    "curl": "curl", "dmsetup": "dmsetup", "ip": "iproute2", "losetup": "mount",
    "mkfs.ext4": "e2fsprogs", "nft": "nftables", "ping": "iputils-ping", "ps": "procps",
    "sysctl": "procps", "unshare": "util-linux", "useradd": "passwd",
}  # fmt: skip


def missing() -> list[str]:
    """The packages of those that are not there."""
    return sorted({package for name, package in PACKAGES.items() if not shutil.which(name)})


def main() -> int:
    """Get them; 2, and their names, where that is for somebody else to do."""
    wanted = missing()
    if not wanted:
        return 0
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *wanted]
    if os.geteuid() == 0 and shutil.which("apt-get"):
        _say(f"getting what the kernel tests call: {' '.join(wanted)}")
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "--quiet"], check=False, stdout=sys.stderr, env=quiet)
        subprocess.run(command, check=False, stdout=sys.stderr, env=quiet)
    if left := missing():
        _say(f"the kernel tests need more programs: apt-get install {' '.join(left)}")
        return 2
    return 0


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
