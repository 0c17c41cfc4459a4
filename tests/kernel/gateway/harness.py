"""A real gateway beside a real runnerd, as its own account; certificates by its own commands."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pwd
import re
import signal
import ssl
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Self

from tests.kernel.harness import PROJECT, Daemon, wait_until

if TYPE_CHECKING:
    from pathlib import Path

ACCOUNT = "runner-gateway"
GATEWAY = [sys.executable, "-m", "gateway.program"]


class Answer:
    """What came back over HTTP."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = {name.lower(): value for name, value in headers.items()}
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class RunningGateway:
    """One gateway with a directory of its own: `start` it once `init` has been run."""

    def __init__(self, daemon: Daemon, directory: Path, account: str = ACCOUNT) -> None:
        self.daemon = daemon
        self.account = account
        self.directory = directory
        self.log = directory.parent / f"{directory.name}.log"
        self.rest_port = self.grpc_port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def command(self, *words: str, user: str = "root") -> subprocess.CompletedProcess[str]:
        """Run a command of runner-gateway for its directory, to its end."""
        return subprocess.run(
            [*GATEWAY, *words], **self._as(user), capture_output=True, encoding="utf-8",
            timeout=60, check=False,
        )  # fmt: skip

    def start(self, *words: str) -> None:
        """Start it as its account, and wait until it serves."""
        with open(self.log, "ab") as log:
            begins = log.tell()
            self._process = subprocess.Popen(
                [*GATEWAY, "serve", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0",
                 "--socket", self.daemon.socket, *words],
                **self._as(self.account), stderr=log, stdout=log,
            )  # fmt: skip
        wait_until(lambda: self._found_ports(begins), explain=self.log_text)

    def _found_ports(self, begins: int) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log_text()
        text = self.log.read_bytes()[begins:].decode(errors="replace")
        found = re.search(r"REST on 127\.0\.0\.1:(\d+).*gRPC on 127\.0\.0\.1:(\d+)", text)
        if found is None:
            return False
        self.rest_port, self.grpc_port = int(found[1]), int(found[2])
        return True

    def stop(self) -> None:
        """SIGTERM; it must end well."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(20) == 0, self.log_text()

    def reload(self) -> None:
        """SIGHUP."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _as(self, user: str) -> dict[str, Any]:
        entry = pwd.getpwnam(user)
        return {
            "user": entry.pw_uid, "group": entry.pw_gid,
            "extra_groups": os.getgrouplist(user, entry.pw_gid), "cwd": "/",
            "stdin": subprocess.DEVNULL,
            "env": {
                "HOME": entry.pw_dir, "PATH": os.environ["PATH"], "PYTHONPATH": PROJECT,
                "RUNNER_GATEWAY_DIR": str(self.directory), "PYTHONDONTWRITEBYTECODE": "1",
                "LANG": "C.UTF-8",
            },
        }  # fmt: skip

    # As a client

    def files(self, name: str) -> tuple[str, str, str]:
        """The authority's certificate, and certificate and key of a client."""
        pki = self.directory / "pki"
        mine = pki / "clients" / name
        return str(pki / "ca.crt"), str(mine / f"{name}.crt"), str(mine / f"{name}.key")

    def context(self, name: str) -> ssl.SSLContext:
        ca, certificate, key = self.files(name)
        context = ssl.create_default_context(cafile=ca)
        context.load_cert_chain(certificate, key)
        return context

    def rest(self, name: str, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One request of that client's. Header names have `_` for `-`."""
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.rest_port, context=self.context(name), timeout=30
        )
        with contextlib.closing(connection):
            sent = {key.replace("_", "-"): value for key, value in headers.items()}
            data = None if body is None else json.dumps(body)
            if data is not None:
                sent["Content-Type"] = "application/json"
            connection.request(method, path, data, sent)
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())
