"""Packages of any Debian suite, on a machine that follows another one.

apt is given a sources list, lists and a cache of its own, so that nothing of the
machine's package state changes. The mirror and the keyring are those that the machine
uses already.
"""

import os
import re
import shutil
from pathlib import Path

from lane.console import LaneError, run, say, tool_path

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MIRROR_VARIABLE = "RUNNERD_LANE_MIRROR"


class Suite:
    """One suite of the Debian archive, by way of a private apt state under `work`."""

    def __init__(self, name: str, work: Path) -> None:
        self.name = name
        self._work = work
        for directory in ("lists/partial", "cache/archives/partial"):
            (work / directory).mkdir(parents=True)
        source = f"deb [signed-by={KEYRING}] {find_mirror()} {name} main\n"
        (work / "sources.list").write_text(source)
        say(f"reading the package lists of Debian {name}")
        self._apt("apt-get", "update")

    def newest(self, pattern: str) -> str:
        """The package with the highest number in the pattern's first group."""
        names = self._apt("apt-cache", "pkgnames").split()
        found = [match for name in names if (match := re.fullmatch(pattern, name))]
        if not found:
            raise LaneError(f"Debian {self.name} has no package like {pattern}")
        return max(found, key=lambda match: _numbers(match[1]))[0]

    def version(self, package: str) -> str:
        """The version of a package, as the archive has it."""
        shown = self._apt("apt-cache", "show", "--no-all-versions", package)
        match = re.search(r"^Version: (\S+)", shown, re.MULTILINE)
        if match is None:
            raise LaneError(f"Debian {self.name} has no package {package}")
        return match[1]

    def unpack(self, package: str, into: Path) -> None:
        """Download a package and unpack its files, without installing anything."""
        say(f"downloading {package} of Debian {self.name}")
        downloads = self._work / package
        downloads.mkdir()
        self._apt("apt-get", "download", package, cwd=downloads)
        [archive] = downloads.glob("*.deb")
        run(["dpkg-deb", "--extract", archive, into])

    def _apt(self, tool: str, *arguments: str, cwd: Path | None = None) -> str:
        options = {
            "Dir::Etc::SourceList": self._work / "sources.list",
            "Dir::Etc::SourceParts": "-",
            # The machine's pins are meant for its own suite.
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": "-",
            "Dir::State::Lists": self._work / "lists",
            "Dir::Cache": self._work / "cache",
            # Installed packages would count as candidates, and can't be downloaded.
            "Dir::State::Status": "/dev/null",
            # The download user cannot write below a private directory.
            "APT::Sandbox::User": "",
        }
        words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        return run([tool, *words, *arguments], cwd=cwd)


def find_mirror() -> str:
    """The Debian mirror that this machine's own apt sources name."""
    if given := os.environ.get(MIRROR_VARIABLE):
        return given
    if shutil.which("apt-get") is None:
        raise LaneError("the kernels come from Debian packages, and this machine has no apt-get")
    query = ["apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)", "Origin: Debian"]
    known = run(query)
    if not known and os.geteuid() == 0:
        # A fresh container image comes without lists.
        run(["apt-get", "update"])
        known = run(query)
    for line in known.splitlines():
        label, _, uri = line.partition(" ")
        if label == "Debian":
            return uri
    raise LaneError(
        "no Debian mirror among this machine's apt sources: run `apt-get update`, "
        f"or set {MIRROR_VARIABLE} to a mirror's address"
    )


def install(packages: dict[str, str]) -> None:
    """Install what is missing: `packages` maps each one to a file that proves its presence."""
    missing = [name for name, proof in packages.items() if not _present(proof)]
    if not missing:
        return
    if os.geteuid() != 0:
        raise LaneError(f"missing on this machine: apt-get install {' '.join(missing)}")
    say(f"installing {' '.join(missing)}")
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    environment = {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        run(command, env=environment)
    except LaneError:
        run(["apt-get", "update"])
        run(command, env=environment)


def _present(proof: str) -> bool:
    if proof.startswith("/"):
        return Path(proof).exists()
    return shutil.which(proof, path=tool_path()) is not None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
