"""Clients in another language, by the proto files and by reflection, run a job."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.gateway.rpc.place import Place

ROOT = Path(__file__).parents[4]
EXAMPLE = ROOT / "examples" / "grpc-node"
# What npm says of an index that cannot be reached.
AWAY = re.compile("ENOTFOUND|EAI_AGAIN|ETIMEDOUT|ECONNREFUSED|ECONNRESET|ENETUNREACH")
FILES = ("client.js", "package.json", "package-lock.json")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with what its lock names, from npm's index or cache."""
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)} (Debian: nodejs, npm)")
    folder = tmp_path_factory.mktemp("grpc-node")
    for name in FILES:
        shutil.copy(EXAMPLE / name, folder / name)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode != 0 and AWAY.search(done.stderr):
        pytest.skip("npm's index cannot be reached from here")
    assert done.returncode == 0, done.stderr
    return folder / "client.js"


def command_of_the_readme() -> str:
    """The line of its session that uses gRPC."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").replace("\\\n", "")
    (line,) = re.findall(r"^    (npx .*)$", text, flags=re.MULTILINE)
    return str(line)


async def run(place: Place, client: Path, *words: str) -> tuple[int, str, str]:
    certificate, key = place.alice.files(place.path, "alice")
    own = {"CA": place.files.ca, "CERT": certificate, "KEY": key,
           "PROTOS": str(ROOT / "gateway" / "proto")}  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        "node", str(client), f"localhost:{place.port}", *words,
        env={**os.environ, **own}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def test_a_client_in_node_runs_a_job_streams_its_output_and_gets_its_status(
    tmp_path: Path, client: Path
) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            good = await run(place, client, "echo", "grüße", "*")
            bad = await run(place, client, "fail", "3")
        assert good[:2] == (0, "grüße *\n"), good
        assert "STATUS_COMPLETED (exit)" in good[2]
        assert bad[:2] == (3, "it failed\n"), bad

    asyncio.run(check())


def test_a_client_in_node_is_told_why_it_is_refused(tmp_path: Path, client: Path) -> None:
    async def check() -> None:
        async with Place(tmp_path) as place:
            place.daemon.refuse["submit"] = {"code": "draining"}
            status, out, err = await run(place, client, "echo")
        assert (status, out) == (1, "")
        assert "takes no jobs now, for maintenance" in err

    asyncio.run(check())


def test_the_line_of_the_readme_runs_a_job_by_reflection(tmp_path: Path, client: Path) -> None:
    """What it needs to know it asks the server."""

    async def check() -> None:
        async with Place(tmp_path) as place:
            certificate, key = place.alice.files(tmp_path, "alice")
            shown = ["--cacert", place.files.ca, "--cert", certificate, "--key", key]
            line = command_of_the_readme().replace("localhost:7444", f"localhost:{place.port}")
            words = shlex.split(line.replace("$tls", shlex.join(shown)))
            process = await asyncio.create_subprocess_exec(
                words[0], "--yes", "--prefer-offline", *words[1:],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=client.parent,
            )  # fmt: skip
            out, err = await asyncio.wait_for(process.communicate(), 300)
        assert process.returncode == 0, err.decode()
        documents = out.decode().replace("}\n{", "}\x00{").split("\x00")
        started, told, result = map(json.loads, documents)
        assert (told["line"]["number"], told["line"]["text"]) == ("1", "hello")
        assert result["result"]["id"] == started["started"]["id"]
        assert result["result"]["status"] == "STATUS_COMPLETED"

    asyncio.run(check())
