"""The program that tells a web address: what it sends, what it follows, what it keeps to itself."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, NamedTuple

import pytest

from runner import hook_address, hook_program
from runner.hook_address import facts, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FACTS = {
    "EVENT": "fail", "JOB": "an-id", "NAME": "", "STATE": "ended", "REASON": "exit",
    "EXIT_STATUS": "3", "ATTEMPT": "1", "TIME": "2027-01-15T08:00:00.123456Z",
}  # fmt: skip


class Got(NamedTuple):
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Server:
    """Answers as it is told to: a status, and where to go instead."""

    def __init__(self, answers: list[tuple[int, str | None]]) -> None:
        self.got: list[Got] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"] or 0)
                body = self.rfile.read(size)
                outer.got.append(Got(self.command, self.path, dict(self.headers), body))
                status, place = answers[min(len(outer.got), len(answers)) - 1]
                self.send_response(status)
                if place is not None:
                    self.send_header("Location", place.replace("{}", str(outer.port)))
                self.end_headers()

            do_GET = do_POST  # noqa: N815 - as it is looked up

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port


@contextmanager
def server(*answers: tuple[int, str | None]) -> Iterator[Server]:
    made = Server(list(answers))
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        thread.join()
        made.server.server_close()


def tell(url: str, **more: str) -> tuple[int, str]:
    """Run it as the hook's job does; its exit status and all that it says."""
    env = {f"RUNNERD_HOOK_{name}": value for name, value in {**FACTS, "URL": url, **more}.items()}
    env[os.fsdecode(hook_program.TEXT)] = hook_program.text().decode()
    done = subprocess.run(
        hook_program.command(), env=env, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_it_posts_what_has_happened_as_json() -> None:
    with server((204, None)) as there:
        assert tell(f"http://127.0.0.1:{there.port}/a/b?c=d#e") == (
            0, f"http://127.0.0.1:{there.port}/a/b answered 204\n",
        )  # fmt: skip
        (got,) = there.got
    assert (got.method, got.path) == ("POST", "/a/b?c=d")
    assert got.headers["Content-Type"] == "application/json"
    assert json.loads(got.body) == {
        "event": "fail", "job": "an-id", "name": None, "state": "ended", "reason": "exit",
        "exit_status": 3, "attempt": 1, "jobs": None, "failed": None,
        "time": "2027-01-15T08:00:00.123456Z",
    }  # fmt: skip


def test_of_a_group_it_says_how_many_jobs_there_were_and_failed() -> None:
    told = {"GROUP": "an-id", "EVENT": "ended", "EXIT_STATUS": "1", "JOBS": "4", "FAILED": "2"}
    found = hook_address.facts({f"RUNNERD_HOOK_{name}": value for name, value in told.items()})
    assert (found["group"], found["exit_status"]) == ("an-id", 1)
    assert (found["jobs"], found["failed"]) == (4, 2)
    assert "job" not in found
    none_failed = hook_address.facts({"RUNNERD_HOOK_GROUP": "g", "RUNNERD_HOOK_FAILED": "0"})
    assert none_failed["failed"] == 0


@pytest.mark.parametrize("status", [301, 302, 303, 304, 400, 404, 500, 503])
def test_any_other_answer_is_a_failure_that_says_no_secret(status: int) -> None:
    place = "/elsewhere" if status in (301, 302, 303) else None
    with server((status, place), (200, None)) as there:
        url = f"http://user:hunter2@127.0.0.1:{there.port}/x?token=hunter3"
        code, said = tell(url)
        assert len(there.got) == 1
    assert (code, said) == (1, f"http://127.0.0.1:{there.port}/x answered {status}\n")


def test_user_and_password_of_an_address_are_sent_as_such() -> None:
    with server((200, None)) as there:
        tell(f"http://us%65r:pass%40word@127.0.0.1:{there.port}/")
        assert there.got[0].headers["Authorization"] == "Basic dXNlcjpwYXNzQHdvcmQ="


def test_the_same_request_elsewhere_is_followed_under_the_same_scheme_alone() -> None:
    with server((307, "/b"), (308, "http://127.0.0.1:{}/c"), (200, None)) as there:
        code, _ = tell(f"http://u:p@127.0.0.1:{there.port}/a")
        assert code == 0
        assert [got.path for got in there.got] == ["/a", "/b", "/c"]
        assert len({got.body for got in there.got}) == 1
        assert all("Authorization" in got.headers for got in there.got)
    for elsewhere in ("https://127.0.0.1/", "file:///etc/passwd", "ftp://127.0.0.1/"):
        with server((307, elsewhere)) as there:
            assert tell(f"http://127.0.0.1:{there.port}/")[0] == 1
            assert len(there.got) == 1


def test_a_password_goes_to_no_other_host() -> None:
    with server((200, None)) as other, server((307, f"http://127.0.0.1:{other.port}/")) as there:
        assert tell(f"http://u:p@127.0.0.1:{there.port}/")[0] == 0
        assert "Authorization" in there.got[0].headers
        assert "Authorization" not in other.got[0].headers


def test_what_cannot_be_reached_is_one_line() -> None:
    with server((200, None)) as there:
        port = there.port
    code, said = tell(f"http://user:hunter2@127.0.0.1:{port}/x?token=hunter3")
    assert code == 1
    assert said.startswith(f"http://127.0.0.1:{port}/x could not be reached: ")
    assert said.count("\n") == 1
    assert "hunter" not in said


def test_a_certificate_is_verified() -> None:
    # No TLS at all is as wrong as a certificate of nobody's.
    with server((200, None)) as there:
        code, said = tell(f"https://127.0.0.1:{there.port}/")
        assert code == 1
        assert there.got == []
        assert "could not be reached" in said


def test_it_says_group_where_it_is_one_and_null_for_what_is_not_known() -> None:
    found = facts({"RUNNERD_HOOK_GROUP": "an-id", "RUNNERD_HOOK_EXIT_STATUS": ""})
    assert found["group"] == "an-id"
    assert "job" not in found
    assert found["exit_status"] is None


def test_an_address_is_shown_without_what_may_be_secret() -> None:
    assert shown("https://u:p@h:8443/a?b=c#d") == "https://h:8443/a"


def test_the_program_is_small_enough_for_one_variable() -> None:
    assert len(hook_program.text()) < 16 * 1024


def test_wrong_facts_are_a_failure_without_a_traceback() -> None:
    code, said = tell("http://127.0.0.1:1/", EXIT_STATUS="many")
    assert code == 1
    assert "Traceback" not in said
