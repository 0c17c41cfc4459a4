"""The program that the tour builds: fetched from the archive of the machine's distribution.

apt is given sources, lists and a cache of its own below a temporary directory, made from
the machine's own sources, so nothing of the machine's package state changes. When nothing
can be fetched there is the small program in examples/sums.
"""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
from pathlib import Path
from typing import NamedTuple

from tour.shell import Failed, announce, say

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FETCH_SECONDS = 60
# `test`: whether the program that was built works. Both build with make alone.
BZIP2_TEST = "./bzip2 -c LICENSE | ./bzip2 -dc | cmp - LICENSE && echo round trip: the same"
SUMS_TEST = "./sums Makefile && sha256sum Makefile"

APT_CONFIGURATION = """\
Dir::Etc::SourceList "{directory}/sources.list";
Dir::Etc::SourceParts "-";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "-";
Dir::State::Lists "{directory}/lists";
Dir::State::Status "/dev/null";
Dir::Cache "{directory}/cache";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "1";
Acquire::http::Timeout "15";
Acquire::https::Timeout "15";
"""


class Program(NamedTuple):
    """A program: its source, a tar archive of one directory, and how to try what was built."""

    title: str
    archive: str
    test: str


def fetch(into: Path) -> Program:
    """Get a program's source into a directory, where `recall` finds it again."""
    say("A real program to build")
    try:
        archive = _from_archive(into)
        version = archive.name.removeprefix("bzip2_").partition(".orig")[0]
        title = f"bzip2 {version}, the source package of this distribution"
        program = Program(title, str(archive), BZIP2_TEST)
    except (Failed, OSError, subprocess.TimeoutExpired) as error:
        print(f"No source package can be fetched here ({error}).")
        print("So it is the small program that this project ships in examples/sums.")
        archive = into / "sums.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(EXAMPLES / "sums", "sums")
        program = Program("sums, shipped in examples/sums", str(archive), SUMS_TEST)
    (into / "program.json").write_text(json.dumps(program._asdict()))
    return program


def recall(directory: Path) -> Program:
    """What `fetch` got."""
    return Program(**json.loads((directory / "program.json").read_text()))


def _from_archive(into: Path) -> Path:
    """The upstream archive of bzip2: no dependencies, and its makefile tests what it built."""
    apt = into / "apt"
    for name in ("lists/partial", "cache/archives/partial"):
        (apt / name).mkdir(parents=True)
    (apt / "sources.list").write_text(source_lines())
    configuration = apt / "apt.conf"
    configuration.write_text(APT_CONFIGURATION.format(directory=apt))
    _apt("apt-get update", configuration)
    # It ends well also when no archive answered.
    if not list(apt.glob("lists/*_Sources*")):
        raise Failed("no package archive answers")
    _apt("apt-get source --download-only --tar-only bzip2", configuration)
    return next(iter(apt.glob("bzip2_*.orig.tar.*[!c]")))


def _apt(command: str, configuration: Path) -> None:
    """Shown, but quiet: what apt says is worth reading only when it fails."""
    announce("$", f"APT_CONFIG={configuration} {command}")
    done = subprocess.run(
        command.split(),
        cwd=configuration.parent,
        env={"PATH": "/usr/bin:/bin", "APT_CONFIG": str(configuration), "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=FETCH_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        lines = [line for line in done.stdout.splitlines() if line.startswith("E: ")]
        raise Failed(lines[0] if lines else f"`{command}` ended with {done.returncode}")


def source_lines() -> str:
    """`deb-src` lines for the package archives that this machine's apt uses.

    Raises Failed when it uses none, FileNotFoundError on a machine without apt.
    """
    form = "$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)"
    command = ["apt-get", "indextargets", "--format", form, "Created-By: Packages"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = [line.split("|") for line in dict.fromkeys(listed.splitlines())]
    # The origin is known once lists have been fetched; a fresh container has none.
    lines = [
        f"deb-src {_keyring(origin)}{uri} {release} {component}\n"
        for origin, uri, release, component in found
        if component == "main" and (origin in ("Debian", "Ubuntu") or not re.match(r"\w", origin))
    ]
    if not lines:
        raise Failed("this machine's apt has no sources of Debian or Ubuntu")
    return "".join(lines)


def _keyring(origin: str) -> str:
    keyring = Path(f"/usr/share/keyrings/{origin.lower()}-archive-keyring.gpg")
    return f"[signed-by={keyring}] " if origin and keyring.exists() else ""
