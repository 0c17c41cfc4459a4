"""What all unit tests share: none fails because the machine was busy, none leaves a file behind."""

from __future__ import annotations

import signal

from hypothesis import settings

# The default deadline of 200 ms an example says nothing about us on a loaded host, and its
# database would be left behind in the working directory, which may be read-only.
settings.register_profile("unit", deadline=None, database=None, print_blob=True)
settings.load_profile("unit")

# A shell starts what it runs in the background with these ignored, and who inherits that keeps
# it: Ctrl-C would not be tested. A handler of ours is the default again after execve(2).
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
