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
        (work / "apt.conf").write_text(self._configuration())
        say(f"reading the package lists of Debian {name}")
        self._apt("apt-get", "update")

    def newest(self, prefix: str) -> str:
        """The package whose name is the prefix and the highest version number."""
        names = self._apt("apt-cache", "pkgnames", prefix).split()
        numbered = [name for name in names if re.fullmatch(r"[\d.]+", name.removeprefix(prefix))]
        if not numbered:
            raise LaneError(f"Debian {self.name} has no package {prefix}X.Y")
        return max(numbered, key=version_order)

    def version(self, package: str) -> str:
        """The version of a package, as the archive has it."""
        shown = self._apt("apt-cache", "show", "--no-all-versions", package)
        match = re.search(r"^Version: (\S+)", shown, re.MULTILINE)
        if match is None:
            raise LaneError(f"Debian {self.name} has no package {package}")
        return match[1]

    def needed(self, package: str) -> list[str]:
        """The package and all that it depends on, but for what there is a choice of."""
        found = [package]
        options = [f"--no-{kind}" for kind in ("recommends", "suggests", "conflicts", "breaks",
                                               "replaces", "enhances")]  # fmt: skip
        for name in found:
            shown = self._apt("apt-cache", "depends", *options, name)
            names = re.findall(r"^  (?:Pre)?Depends: ([^<\s]+)$", shown, re.MULTILINE)
            found.extend(name for name in names if name not in found)
        return found

    def unpack(self, package: str, into: Path) -> None:
        """Download a package and unpack its files, without installing anything."""
        say(f"downloading {package} of Debian {self.name}")
        downloads = self._work / package
        downloads.mkdir()
        self._apt("apt-get", "download", package, cwd=downloads)
        [archive] = downloads.glob("*.deb")
        run(["dpkg-deb", "--extract", archive, into])

    def _apt(self, tool: str, *arguments: str, cwd: Path | None = None) -> str:
        return run([tool, "-c", self._work / "apt.conf", *arguments], cwd=cwd)

    def _configuration(self) -> str:
        options = {
            "Dir::Etc::SourceList": self._work / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            # The machine's pins are meant for its own suite.
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": "/dev/null",
            "Dir::State::Lists": self._work / "lists",
            "Dir::Cache": self._work / "cache",
            # Installed packages would count as candidates, and can't be downloaded.
            "Dir::State::Status": "/dev/null",
            # The download user cannot write below a private directory.
            "APT::Sandbox::User": "",
            # An unreachable mirror is only a warning otherwise.
            "APT::Update::Error-Mode": "any",
        }
        return "".join(f'{name} "{value}";\n' for name, value in options.items())


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


def version_order(version: str) -> tuple[int, ...]:
    """A key that sorts versions by their numbers."""
    return tuple(int(number) for number in re.findall(r"\d+", version))
