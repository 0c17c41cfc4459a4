"""Where the program `runner-gateway` begins: what it needs is there, and a defect is one line."""

from __future__ import annotations

import os
import sys
from typing import NoReturn


def run() -> NoReturn:
    """`gateway.main`'s command; RUNNER_GATEWAY_DEBUG=1 shows where a defect is."""
    try:
        from gateway.main import main
    except ModuleNotFoundError as error:
        sys.exit(
            f"runner-gateway: the Python package {error.name} is not installed; what the gateway "
            "needs is in requirements/gateway.txt, and in the extra `gateway` of runnerd"
        )
    try:
        main()
    except Exception as error:
        if os.environ.get("RUNNER_GATEWAY_DEBUG") == "1":
            raise
        where = "RUNNER_GATEWAY_DEBUG=1 shows where"
        sys.exit(f"runner-gateway: a defect: {type(error).__name__}: {error} ({where})")
    sys.exit(0)


if __name__ == "__main__":
    run()
