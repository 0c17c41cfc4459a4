"""The proto files: what is committed is generated from them, and they keep the usual rules.

The rules are those of buf's STANDARD set that a description of the messages can show; `buf lint`
itself is run by hand (docs/GRPC.md).
"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

from gateway.rpc import calls, streams, worker
from gateway.verbs import VERBS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[4]
PROTOS = ROOT / "gateway" / "proto"
NAMES = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
UPPER = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")
LOWER = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
CAMEL = re.compile(r"([A-Z][a-z0-9]*)+")
# It is called so by those who asked for it.
NOT_CALLED_SERVICE = {"runnerd.worker.v1.Worker"}


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> list[FileDescriptorProto]:
    out = tmp_path_factory.mktemp("protos") / "set"
    well_known = str(files("grpc_tools") / "_proto")
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", f"-I{well_known}",
         "--include_source_info", f"--descriptor_set_out={out}", *NAMES],
        check=True, cwd=PROTOS,
    )  # fmt: skip
    return list(FileDescriptorSet.FromString(out.read_bytes()).file)


def test_what_is_committed_is_what_the_script_generates(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "protos"
    subprocess.run([sys.executable, str(script), "--out", str(tmp_path)], check=True)
    made = {path.relative_to(tmp_path): path for path in tmp_path.rglob("*.py*")}
    kept = {path.relative_to(PROTOS) for path in (PROTOS / "runnerd").rglob("*.py*")}
    assert {path for path in kept if "__pycache__" not in path.parts} == set(made)
    for name, path in made.items():
        assert path.read_bytes() == (PROTOS / name).read_bytes(), f"{name}: run scripts/protos"


def test_generated_modules_are_importable_from_anywhere(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from gateway.proto.runnerd.worker.v1 import worker_pb2\n"
        "from gateway.proto.runnerd.v1 import jobs_pb2, events_pb2, system_pb2\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=tmp_path)


def test_a_files_folder_and_version_are_its_packages(described: list[FileDescriptorProto]) -> None:
    for file in described:
        assert file.syntax == "proto3"
        assert Path(file.name).parent == Path(*file.package.split("."))
        assert re.fullmatch(r"[a-z0-9.]+\.v[1-9][0-9]*", file.package)
        assert LOWER.fullmatch(Path(file.name).stem)
        assert not file.public_dependency
        assert not file.weak_dependency


def test_each_import_is_used(described: list[FileDescriptorProto]) -> None:
    owners = {name: file.name for file in described for name in defined(file)}
    for file in described:
        used = {owners[name] for name in referred(file) if name in owners}
        assert set(file.dependency) == used - {file.name}


def test_enums_begin_unspecified_and_carry_their_name(described: list[FileDescriptorProto]) -> None:
    for enum in (enum for file in described for enum in enums(file)):
        prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", enum.name).upper() + "_"
        assert CAMEL.fullmatch(enum.name)
        assert (enum.value[0].name, enum.value[0].number) == (f"{prefix}UNSPECIFIED", 0)
        for value in enum.value:
            assert UPPER.fullmatch(value.name)
            assert value.name.startswith(prefix)
        assert not enum.options.allow_alias


def test_names_of_messages_and_fields_are_written_alike(
    described: list[FileDescriptorProto],
) -> None:
    for message in (message for file in described for message in file.message_type):
        assert CAMEL.fullmatch(message.name)
        for field in message.field:
            assert LOWER.fullmatch(field.name), field.name
            assert field.label != FieldDescriptorProto.LABEL_REQUIRED
        for oneof in message.oneof_decl:
            assert LOWER.fullmatch(oneof.name.removeprefix("_"))


def test_numbers_of_fields_have_no_holes(described: list[FileDescriptorProto]) -> None:
    for message in (message for file in described for message in file.message_type):
        numbers = sorted(field.number for field in message.field)
        assert numbers == list(range(1, len(numbers) + 1)), message.name


def test_each_call_has_a_request_and_a_response_of_its_own(
    described: list[FileDescriptorProto],
) -> None:
    seen: list[str] = []
    for file, service in services(described):
        name = f"{file.package}.{service.name}"
        assert service.name.endswith("Service") or name in NOT_CALLED_SERVICE
        for method in service.method:
            assert CAMEL.fullmatch(method.name)
            assert method.input_type == f".{file.package}.{method.name}Request"
            assert method.output_type == f".{file.package}.{method.name}Response"
            seen += [method.input_type, method.output_type]
    assert len(seen) == len(set(seen))


def test_what_is_no_request_or_response_is_described(described: list[FileDescriptorProto]) -> None:
    """By a comment; requests and responses are described by their call and their fields."""
    for file in described:
        told = {
            tuple(place.path) for place in file.source_code_info.location if place.leading_comments
        }
        named: list[tuple[tuple[int, int], Any]] = [
            *(((4, number), each) for number, each in enumerate(file.message_type)),
            *(((5, number), each) for number, each in enumerate(file.enum_type)),
            *(((6, number), each) for number, each in enumerate(file.service)),
        ]
        for path, each in named:
            assert path in told or re.search(r"(Request|Response)$", each.name), each.name


def test_limits_are_called_with_their_unit(described: list[FileDescriptorProto]) -> None:
    doubles = [
        field.name
        for file in described
        for message in file.message_type
        for field in message.field
        if field.type == FieldDescriptorProto.TYPE_DOUBLE
    ]
    assert doubles
    assert all(name.endswith(("_seconds", "_factor")) for name in doubles)


def test_every_operation_of_the_gateway_is_a_call() -> None:
    streamed = {"logs", "events", "exec"}
    assert {call.op for call in calls.CALLS.values()} | streamed == set(VERBS) - {"stats"}
    assert {"JobService.StreamLogs", "JobService.Exec", "EventService.StreamEvents"} == set(
        streams.handlers(1)
    )


def test_every_call_of_the_protos_has_a_handler(described: list[FileDescriptorProto]) -> None:
    known = set(calls.CALLS) | set(streams.handlers(1)) | set(worker.handlers(1))
    assert known == {
        f"{service.name}.{method.name}"
        for _, service in services(described)
        for method in service.method
    }


def services(
    described: list[FileDescriptorProto],
) -> Iterator[tuple[FileDescriptorProto, ServiceDescriptorProto]]:
    return ((file, service) for file in described for service in file.service)


def enums(file: FileDescriptorProto) -> list[EnumDescriptorProto]:
    return [*file.enum_type, *(enum for each in file.message_type for enum in each.enum_type)]


def defined(file: FileDescriptorProto) -> list[str]:
    return [f".{file.package}.{each.name}" for each in (*file.message_type, *enums(file))]


def referred(file: FileDescriptorProto) -> set[str]:
    fields = (field.type_name for message in file.message_type for field in all_fields(message))
    calls_ = (
        name for each in file.service for m in each.method for name in (m.input_type, m.output_type)
    )
    return {*fields, *calls_}


def all_fields(message: DescriptorProto) -> Iterator[FieldDescriptorProto]:
    yield from message.field
    for nested in message.nested_type:
        yield from all_fields(nested)
