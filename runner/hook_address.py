"""Tells a web address what has happened to a job: the program that a hook with an address runs.

It runs as the job's user, in a job of its own, from its text alone (`runner.hook_template`): so
nothing of runnerd has to be readable for that user. Standard library only, and no import of ours.
What it says comes from RUNNERD_HOOK_* of its environment. It exits with 0 after an answer of
200 to 299, else with 1 and one line that says why: without what may be secret of the address.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

TIMEOUT_SECONDS = 10
PREFIX = "RUNNERD_HOOK_"
_NUMBERS = ("exit_status", "attempt", "jobs", "failed")


def main() -> int:
    """Tell the address; the exit status."""
    url = os.environ[f"{PREFIX}URL"]
    try:
        status = post(url, facts(os.environ))
    except urllib.error.HTTPError as error:
        return failed(url, f"answered {error.code}")
    except urllib.error.URLError as error:
        return failed(url, f"could not be reached: {error.reason}")
    except TimeoutError:
        return failed(url, f"did not answer within {TIMEOUT_SECONDS} s")
    except OSError as error:
        return failed(url, f"could not be reached: {error.strerror or type(error).__name__}")
    except Exception as error:  # noqa: BLE001 - a traceback would show the whole address
        return failed(url, f"cannot be told: {type(error).__name__}")
    sys.stdout.write(f"{shown(url)} answered {status}\n")
    return 0


def facts(environment: Any) -> dict[str, Any]:  # noqa: ANN401 - os.environ, or a dict of a test
    """What is told, from the environment. What is not known is null."""
    names = ("event", "name", "state", "reason", *_NUMBERS, "time")
    found = {name: environment.get(PREFIX + name.upper()) or None for name in names}
    numbers = {name: int(value) for name in _NUMBERS if (value := found[name]) is not None}
    owner = "group" if f"{PREFIX}GROUP" in environment else "job"
    return {**found, **numbers, owner: environment.get(PREFIX + owner.upper())}


def post(url: str, message: dict[str, Any]) -> int:
    """Send a message; the status of the answer. Raises OSError, urllib.error.URLError."""
    headers = {"Content-Type": "application/json", "User-Agent": "runnerd-hook"}
    parts = urlsplit(url)
    userinfo, _, host = parts.netloc.rpartition("@")
    if userinfo:
        token = base64.b64encode(unquote(userinfo).encode()).decode("ascii")
        headers["Authorization"] = f"Basic {token}"
    plain = urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
    data = json.dumps(message).encode()
    request = urllib.request.Request(plain, data, headers, method="POST")  # noqa: S310 - checked
    # Proxies are as the user's environment says; certificates are verified.
    opener = urllib.request.build_opener(_SameAgain)
    with opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
        return int(answer.status)


class _SameAgain(urllib.request.HTTPRedirectHandler):
    """Follows what asks for the same request elsewhere (307, 308), under the same scheme.

    Any other redirect (301, 302, 303) is one that browsers follow with GET: nothing would be told.
    """

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: Any,  # noqa: ANN401
        code: int,
        msg: str,
        headers: Any,  # noqa: ANN401
        newurl: str,
    ) -> urllib.request.Request:
        """The same request to the other address. Raises HTTPError: it is not followed."""
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if code not in (307, 308) or new.scheme != old.scheme or "@" in new.netloc:
            raise urllib.error.HTTPError(req.full_url, code, msg, headers, fp)
        # A password is for the host that it was given for.
        gone = ("Host", "Content-length", *(("Authorization",) if new.netloc != old.netloc else ()))
        kept = {name: value for name, value in req.header_items() if name not in gone}
        return urllib.request.Request(newurl, req.data, kept, method="POST")  # noqa: S310


def failed(url: str, why: str) -> int:
    """Say so in one line; the exit status."""
    sys.stderr.write(f"{shown(url)} {why}"[:500] + "\n")
    return 1


def shown(url: str) -> str:
    """An address without user, password, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


if __name__ == "__main__":
    sys.exit(main())
