"""Many clients of one gateway: what requests take, how late followers are, what a flood does.

A real runnerd and a real gateway, which runs as the account `daemon` and acts for it; clients over
TLS in this process. As root, in a guest or right here. Figures only: tests are elsewhere.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import pwd
import re
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from tests.kernel.harness import PROJECT, wait_until
from tests.load.figures import memory, say
from tests.load.place import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ACCOUNT: Final = "daemon"
_MAIN: Final = [sys.executable, "-m", "gateway.program"]
_POLICY: Final = """
[[binding]]
match = "load:fast"
user = "daemon"
roles = ["submitter"]
limits = { requests_per_second = 1000000, burst = 1000000, submissions_per_second = 1000000, \
submission_burst = 1000000, streams = 1000, connections = 1000, in_flight = 1000 }

[[binding]]
match = "load:flood"
user = "daemon"
roles = ["submitter"]
"""
_WRITER: Final = (
    "import time\nfor _ in range({lines}):\n"
    " print(time.clock_gettime_ns(time.CLOCK_MONOTONIC), flush=True)\n time.sleep(0.05)\n"
)


class Beside:
    """The gateway beside a daemon: its process and what its clients need."""

    def __init__(self, base: Path, daemon: Place) -> None:
        self._directory = base / "gateway"
        self._daemon = daemon
        self._log = base / "gateway.log"
        self.port = 0
        self.pid = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Certificates, policy, and the process for as long as it is entered."""
        pki = str(self._directory / "pki")
        self._as_account("pki", "init", "--dir", pki, "--server")
        for name in ("fast", "flood"):
            self._as_account("pki", "issue", "--dir", pki, "--uri", f"load:{name}", "--name", name)
        policy = self._directory / "policy.toml"
        policy.write_text(_POLICY)
        policy.chmod(0o644)
        config = self._directory / "config.toml"
        config.write_text("[limits]\nmax_connections = 4000\nconnections = 2000\n"
                          "connections_per_address = 2000\n")  # fmt: skip
        words = ["serve", "--dir", str(self._directory), "--listen", "127.0.0.1:0",
                 "--grpc-listen", "off", "--socket", self._daemon.socket]  # fmt: skip
        with open(self._log, "wb") as log:
            process = subprocess.Popen([*_MAIN, *words], stderr=log, stdout=log, **_account())
        self.pid = process.pid
        try:
            wait_until(self._has_port, 30, self._log.read_text)
            yield
        finally:
            process.terminate()
            process.wait(20)

    def context(self, name: str) -> ssl.SSLContext:
        """TLS of that client."""
        files = self._directory / "pki/clients" / name
        context = ssl.create_default_context(cafile=str(files / "ca.crt"))
        context.load_cert_chain(str(files / f"{name}.crt"), str(files / f"{name}.key"))
        return context

    def curl(self, name: str) -> list[str]:
        """The options of curl(1) that make it that client."""
        files = self._directory / "pki/clients" / name
        own = ("--cert", f"{name}.crt"), ("--key", f"{name}.key"), ("--cacert", "ca.crt")
        return [word for option, file in own for word in (option, str(files / file))]

    def _has_port(self) -> bool:
        found = re.search(r"REST on 127\.0\.0\.1:(\d+)", self._log.read_text())
        self.port = int(found[1]) if found else 0
        return found is not None

    def _as_account(self, *words: str) -> None:
        subprocess.run([*_MAIN, *words], check=True, stdout=subprocess.DEVNULL, **_account())


def _account() -> dict[str, Any]:
    entry = pwd.getpwnam(ACCOUNT)
    return {
        "user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": [entry.pw_gid], "cwd": "/",
        "env": {"PATH": os.environ["PATH"], "PYTHONPATH": PROJECT, "HOME": "/",
                "PYTHONDONTWRITEBYTECODE": "1"},
    }  # fmt: skip


class Clients:
    """Sessions of one identity, each with connections of its own."""

    def __init__(self, beside: Beside, name: str, count: int, stack: AsyncExitStack) -> None:
        self._base = f"https://127.0.0.1:{beside.port}"
        self._context = beside.context(name)
        self._count = count
        self._stack = stack
        self.all: list[aiohttp.ClientSession] = []

    async def open(self) -> None:
        for _ in range(self._count):
            connector = aiohttp.TCPConnector(ssl=self._context, limit=0)
            session = aiohttp.ClientSession(self._base, connector=connector)
            self.all.append(await self._stack.enter_async_context(session))


async def repeated(
    sessions: Sequence[aiohttp.ClientSession],
    request: Callable[[aiohttp.ClientSession], Any],
    seconds: float,
) -> tuple[list[float], int]:
    """Each session asks again and again: milliseconds of each answer, and how many were refused."""
    took: list[float] = []
    refused = 0
    until = time.monotonic() + seconds

    async def one(session: aiohttp.ClientSession) -> None:
        nonlocal refused
        while (begun := time.monotonic()) < until:
            async with request(session) as answer:
                await answer.read()
                refused += answer.status == 429
                assert answer.status in (200, 201, 429), await answer.text()
            took.append((time.monotonic() - begun) * 1e3)

    await asyncio.gather(*map(one, sessions))
    return took, refused


def told(what: str, took: Sequence[float], seconds: float) -> None:
    """One line."""
    ranks = statistics.quantiles(took, n=100)
    say(f"{what}: {len(took) / seconds:.0f}/s, median {ranks[49]:.1f} ms, p95 {ranks[94]:.1f} ms")


async def submitted(session: aiohttp.ClientSession, argv: list[str]) -> str:
    async with session.post("/v1/jobs", json={"argv": argv}) as answer:
        assert answer.status == 201, await answer.text()
        return str((await answer.json())["job"])


async def followed(session: aiohttp.ClientSession, job: str) -> list[float]:
    """How long after it was written each line was here, in milliseconds."""
    path = f"/v1/jobs/{job}/logs?follow=true&format=raw"
    timeout = aiohttp.ClientTimeout(total=None)
    async with session.get(path, timeout=timeout) as answer:
        return [
            (time.clock_gettime_ns(time.CLOCK_MONOTONIC) - int(line)) / 1e6
            async for line in answer.content
        ]


async def measure(beside: Beside, options: argparse.Namespace) -> None:
    """Everything, one after the other."""
    seconds = options.seconds
    async with AsyncExitStack() as stack:
        fast = Clients(beside, "fast", options.clients, stack)
        await fast.open()
        one = fast.all[0]
        job = await submitted(one, ["true"])
        look: Callable[[aiohttp.ClientSession], Any] = lambda s: s.get(f"/v1/jobs/{job}")  # noqa: E731
        took, _ = await repeated([one], look, seconds / 2)
        told("status, one client", took, seconds / 2)
        took, _ = await repeated(fast.all, look, seconds)
        told(f"status, {len(fast.all)} clients", took, seconds)
        make = {"argv": ["true"]}
        took, _ = await repeated(fast.all[:8], lambda s: s.post("/v1/jobs", json=make), seconds)
        told("submit `true`, 8 clients", took, seconds)
        await _flooded(one, beside, look, seconds)
        await _followers(fast, options, look)
    now = memory(beside.pid)
    say(f"gateway: {now.now / 1024:.0f} MiB now, at most {now.most / 1024:.0f} MiB, "
        f"{_cpu_seconds(beside.pid):.1f} s of CPU in all")  # fmt: skip


async def _flooded(
    one: aiohttp.ClientSession, beside: Beside, look: Callable[[Any], Any], seconds: float
) -> None:
    """Another identity lists as fast as it can, in a process of its own: what that does to ours."""
    lists = f"https://127.0.0.1:{beside.port}/v1/jobs?limit=[1-100]"
    flood = await asyncio.create_subprocess_exec(
        "curl", "-s", "--parallel", "--parallel-max", "8", "--max-time", str(seconds),
        *beside.curl("flood"), "-o", "/dev/null", "-w", r"%{http_code}\n", *[lists] * 200,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    said = asyncio.ensure_future(flood.communicate())
    took, _ = await repeated([one], look, seconds)
    with suppress(ProcessLookupError):
        flood.kill()
    codes = [code for code in (await said)[0].decode().split() if code != "000"]
    told("status, one client, while another floods", took, seconds)
    say(f"  the flood: {len(codes) / seconds:.0f}/s, of which {codes.count('429')} were refused")


async def _followers(
    fast: Clients, options: argparse.Namespace, look: Callable[[Any], Any]
) -> None:
    one = fast.all[0]
    lines = int(options.seconds * 20)
    writer = [sys.executable, "-c", _WRITER.format(lines=lines)]
    for busy in (False, True):
        job = await submitted(one, writer)
        tasks = [
            asyncio.ensure_future(followed(fast.all[number % len(fast.all)], job))
            for number in range(options.followers)
        ]
        if busy:
            await repeated(fast.all[:4], look, options.seconds / 2)
        late = [each for followers in await asyncio.gather(*tasks) for each in followers[5:]]
        assert len(late) == options.followers * (lines - 5)
        ranks = statistics.quantiles(late, n=100)
        beside = ", 4 clients asking all the time" if busy else ""
        say(f"{options.followers} followers of 20 lines a second{beside}: seen after "
            f"{ranks[49]:.1f} ms in the median, p95 {ranks[94]:.1f} ms")  # fmt: skip


def _cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure; see the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.gateway")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--followers", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--cgroups", default="/sys/fs/cgroup", help="a cgroup v2 directory")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="runnerd-load-") as name:
        base = Path(name)
        base.chmod(0o755)
        home = base / "gateway"
        home.mkdir(mode=0o755)
        os.chown(home, *pwd.getpwnam(ACCOUNT)[2:4])
        with Place(base, options.cgroups, 50_000, None) as daemon:
            text = f'group = "{ACCOUNT}"\n' + daemon.config.read_text()
            daemon.config.write_text(text)
            daemon.start()
            beside = Beside(base, daemon)
            with beside.running():
                asyncio.run(measure(beside, options))
            daemon.stop()


if __name__ == "__main__":
    main()
