"""Nothing of an ordinary user's job gets out, in any mode; and what stopped each attempt.

`escapes` runs inside the job. Here is what each attempt must meet: the errno, and the
mechanism that this errno shows. Where two mechanisms stand behind each other the outer one
answers; `test_without_a_filter…` takes the filter away and shows the one behind it.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import uuid
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.kernel import escapes, inside
from tests.kernel.harness import STATE, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from client.records import Limits, Network, Sandbox
    from tests.kernel.harness import Daemon

PROGRAM = pathlib.Path(escapes.__file__).read_text(encoding="utf-8")
MIB = 2**20
PIDS_MAX = 60
LIMITS: Limits = {"memory_max_bytes": 96 * MIB, "pids_max": PIDS_MAX, "timeout_seconds": 120}

FILTER = "the seccomp filter"
CAPABILITIES = "no capability"
PERMISSIONS = "file permissions of the user"
PID_NAMESPACE = "the PID namespace"
NETWORK_NAMESPACE = "the network namespace"
MOUNTS = "the job's own mounts"
READ_ONLY = "a read-only mount"
DEVICES = "its own /dev"
NO_NEW_PRIVS = "no_new_privs"
KERNEL = "the kernel has no such thing"
USER_NAMESPACE = "the user namespace"
LANDLOCK = "Landlock"

# attempt → errno → what that shows.
ALWAYS: dict[str, dict[str, str]] = {}
