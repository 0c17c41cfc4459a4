"""gRPC is imported with its TLS 1.2 closed, before any test of here imports it by itself."""

from __future__ import annotations

import gateway.rpc  # noqa: F401  for what it does
