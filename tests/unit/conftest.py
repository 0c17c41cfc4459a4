"""What all unit tests share: none fails because the machine was busy, none leaves a file behind."""

from __future__ import annotations

from hypothesis import settings

# The default deadline of 200 ms an example says nothing about us on a loaded host, and its
# database would be left behind in the working directory, which may be read-only.
settings.register_profile("unit", deadline=None, database=None, print_blob=True)
settings.load_profile("unit")
