"""The OpenAPI document: valid, complete, and true, as a fuzzer that is driven by it finds."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from gateway.rest.openapi import document
from gateway.rest.routes import ROUTES
from tests.unit.gateway.rest.served import Background, Served, run, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT = document(ROUTES)
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS = {
    result.ok().definition.raw["operationId"]: result.ok() for result in SCHEMA.get_all_operations()
}
# What these are is not for a schema to say: opaque, or of something that has to be there.
_OPAQUE = ("page_token", "cursor", "attempt", "expect", "Idempotency-Key", "Last-Event-ID",
           "Runner-User", "If-Match", "If-None-Match")  # fmt: skip
# Each example is a few requests; all of them together are to take half a minute.
_EXAMPLES = 6


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_the_document_is_valid() -> None:
    SCHEMA.validate()
    assert DOCUMENT["openapi"] == "3.1.0"
    json.dumps(DOCUMENT)


def test_each_route_of_the_application_is_in_it_and_no_other(tmp_path: Path) -> None:
    async def body() -> None:
        async with serving(tmp_path) as here:
            served = {
                (resource.canonical, route.method.lower())
                for resource in here.runner.app.router.resources()
                for route in resource
                if route.method != "HEAD"
            }
            assert served == {(path, method) for path, method, _ in operations()}

    run(body())


def test_names_are_unique_and_everything_is_described() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names))
    for path, _, operation in operations():
        assert operation["summary"]
        in_path = {each["name"] for each in operation["parameters"] if each.get("in") == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", path))
        assert {"400", "401"} <= set(operation["responses"])
        assert all(
            "description" in each or "$ref" in each for each in operation["responses"].values()
        )
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert schema.get("description"), name


def test_the_documentation_names_addresses_that_there_are() -> None:
    text = (Path(__file__).parents[4] / "docs/REST.md").read_text()
    known = {re.sub(r"{\w+}", "{}", path) for path, _, _ in operations()}
    named = {re.sub(r"{\w+}", "{}", each) for each in re.findall(r"`(/v1/[a-z/{}]+)`", text)}
    assert len(named) > 12
    assert named <= known
    tops = {path.split("/")[2] for path in known if path.startswith("/v1/")}
    assert tops == {each.split("/")[2] for each in named}


def test_examples_are_examples() -> None:
    from gateway.rest.bodies import decoded

    for route in ROUTES:
        if route.body is None:
            continue
        operation = DOCUMENT["paths"][route.paths[0]][route.method.lower()]
        content = operation["requestBody"]["content"]["application/json"]
        for example in content.get("examples", {}).values():
            data = json.dumps(example["value"]).encode()
            decoded(data, "application/json", route.body, may_be_missing=False)


@pytest.fixture(scope="module")
def background(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, str]]:
    found = Background(tmp_path_factory.mktemp("gateway"))
    yield found.start()
    found.stop()


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as made:
        made.headers["Test-Subject"] = "chief"
        yield made


@contextmanager
def bounded(case: Any, job: str) -> Iterator[None]:
    """Nothing is followed for ever, and half of the jobs that are asked for are there."""
    query = case.query or {}
    if str(query.get("follow")).lower() in ("true", "1", "['true']", "['1']"):
        query["follow"] = "false"
    if "timeout_seconds" in query:
        query["timeout_seconds"] = "0"
    if "job" in (case.path_parameters or {}) and len(case.path_parameters["job"]) % 2:
        case.path_parameters["job"] = job
    yield


def whole(value: Any) -> Any:
    """Integers as integers are written: 1.0 is one to JSON Schema alone."""
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


# At their other address the handlers are the same.
@pytest.mark.parametrize("name", sorted(n for n in OPERATIONS if not n.endswith("Plain")))
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_request_makes_it_fail_or_answer_otherwise_than_it_says(
    name: str, mode: GenerationMode, background: tuple[Served, str], session: requests.Session
) -> None:
    here, job = background
    operation = OPERATIONS[name]

    @settings(
        max_examples=_EXAMPLES,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        if mode is GenerationMode.POSITIVE:
            for part in (case.query, case.headers):
                for opaque in _OPAQUE:
                    (part or {}).pop(opaque, None)
            case.body = whole(case.body)
        with bounded(case, job):
            case.call_and_validate(base_url=here.url, session=session, timeout=10)

    with suppress(Unsatisfiable):
        # Some have nothing that could be wrong.
        check()
