"""What all unit tests share: no test fails because the machine was busy for a moment."""

from __future__ import annotations

from hypothesis import settings

# The default deadline of 200 ms an example says nothing about us on a loaded host.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
