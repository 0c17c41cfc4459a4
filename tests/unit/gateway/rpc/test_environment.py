"""TLS 1.2 is closed before gRPC is there, or nothing goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[4]
CIPHERS = "GRPC_SSL_CIPHER_SUITES"


def run(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != CIPHERS}
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"],
        env=environment | variables, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_ciphers_of_tls_1_2_are_closed_whatever_the_environment_says() -> None:
    code = f"import gateway.rpc, os\nprint(os.environ[{CIPHERS!r}])"
    done = run(code, **{CIPHERS: "ECDHE-ECDSA-AES128-GCM-SHA256"})
    assert done.stdout == "ECDHE-PSK-CHACHA20-POLY1305\n", done.stderr


def test_grpc_that_was_there_before_is_an_error() -> None:
    done = run("import grpc\nimport gateway.rpc")
    assert done.returncode == 1
    assert "before grpc" in done.stderr


def test_importing_it_twice_is_harmless() -> None:
    done = run(
        "import gateway.rpc, grpc\nfrom gateway.rpc import environment\nenvironment.prepare()"
    )
    assert done.returncode == 0, done.stderr
