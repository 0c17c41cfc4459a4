"""What `runner-gateway pki` says when it cannot do something."""

from __future__ import annotations


class PkiError(Exception):
    """A sentence: what failed, on what, why, what to do."""
