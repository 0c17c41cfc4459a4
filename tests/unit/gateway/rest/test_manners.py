"""What a person at a terminal meets: addresses nearly right, ends of lines, ids, two headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.gateway.rest.served import run, serving

if TYPE_CHECKING:
    from pathlib import Path

JOB = {"argv": ["sleep"], "name": "hello"}


@pytest.mark.parametrize("path", ["/healthz", "/v1/jobs", "/nothing", "/openapi.json"])
def test_json_ends_with_the_line(tmp_path: Path, path: str) -> None:
    async def body() -> None:
        async with serving(tmp_path) as here:
            answer = await here.get(path)
            assert answer.text.endswith("}\n")

    run(body())


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/jobs/hello/logs", "perhaps /v1/jobs/hello/logs"),
        ("/whoami", "perhaps /v1/whoami"),
        ("/jobs/hello/hold", "perhaps /v1/jobs/hello/hold"),
        ("/nothing", "see /docs"),
        ("/v1/nothing", "see /docs"),
        ("//x/%2e%2e/%ff", "see /docs"),
    ],
)
def test_an_address_without_its_version_is_told_the_one_with(
    tmp_path: Path, path: str, said: str
) -> None:
    async def body() -> None:
        async with serving(tmp_path) as here:
            answer = await here.get(path)
            assert answer.status == 404
            assert answer.json["detail"] == f"nothing is at this address; {said}"

    run(body())


def test_the_root_leads_to_the_documents(tmp_path: Path) -> None:
    async def body() -> None:
        async with serving(tmp_path) as here:
            for headers in ({}, {"Accept": "text/html"}):
                answer = await here.ask("GET", "/", allow_redirects=False, headers=headers)
                assert (answer.status, answer.headers["Location"]) == (302, "/docs")

    run(body())


@pytest.mark.parametrize("part", ["hello", "prefix", "id"])
def test_job_is_the_id_in_the_answer_to_delete(tmp_path: Path, part: str) -> None:
    async def body() -> None:
        async with serving(tmp_path) as here:
            made = (await here.ask("POST", "/v1/jobs", json=JOB)).json["job"]
            named = {"hello": "hello", "prefix": made[:8], "id": made}[part]
            answer = await here.ask("DELETE", f"/v1/jobs/{named}")
            assert answer.json["job"] == made
            assert here.double.ops("stop")[-1]["job"] == made

    run(body())


def test_pages_of_problems_show_no_backticks(tmp_path: Path) -> None:
    async def body() -> None:
        async with serving(tmp_path) as here:
            page = (await here.get("/problems/invalid-argument")).text
            assert "<code>field</code> is wrong" in page
            assert "`" not in page

    run(body())


@pytest.mark.parametrize("name", ["Runner-User", "Idempotency-Key"])
def test_a_header_that_is_given_twice_is_refused(tmp_path: Path, name: str) -> None:
    async def body() -> None:
        async with serving(tmp_path) as here:
            headers: Any = [(name, "alice"), (name, "bob")]
            answer = await here.ask("POST", "/v1/jobs", json=JOB, headers=headers)
            assert (answer.status, answer.json["code"]) == (400, "invalid-argument")
            assert answer.json["field"] == name
            assert not here.double.ops("submit")

    run(body())


def test_a_request_that_runnerd_would_hang_up_on_is_refused_here(tmp_path: Path) -> None:
    async def body() -> None:
        async with serving(tmp_path) as here:
            env = {f"V{number}": "" for number in range(5000)}
            answer = await here.ask("POST", "/v1/jobs", json={**JOB, "env": env})
            assert (answer.status, answer.json["code"]) == (400, "invalid-argument")
            assert "env" in answer.json["field"]
            labels = {f"l{number}": "" for number in range(4097)}
            answer = await here.ask("POST", "/v1/jobs", json={**JOB, "labels": labels})
            assert (answer.status, answer.json["code"]) == (400, "invalid-argument")
            assert (await here.ask("POST", "/v1/jobs", json=JOB)).status == 201

    run(body())
