"""What all unit tests share: none fails because the machine was busy, none leaves a file behind."""

from __future__ import annotations

import signal

from hypothesis import settings

# The default deadline of 200 ms an example says nothing about us on a loaded host, and its
# database would be left behind in the working directory, which may be read-only.
settings.register_profile("unit", deadline=None, database=None, print_blob=True)
settings.load_profile("unit")

# A shell starts what it runs in the background with the first two ignored, nohup(1) ignores the
# third, and who inherits that keeps it: their tests would test nothing. What has a handler here is
# the default again after execve(2).
for _number, _usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)
