"""The service in a process of its own, commands in another: what one changes, the other sees, and nobody breaks."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from facerec.cli.gallery import READ_MEANWHILE

if TYPE_CHECKING:
    from tests.pretend_service import Operations, Processes, ServiceProcess

    Harness = tuple[Operations, Processes, ServiceProcess]

pytest.importorskip("fastapi", reason="needs facerec[serve]")
pytest.importorskip("httpx", reason="needs httpx to ask the service")


@pytest.fixture(scope="module")
def harness(
    pretend_service: ModuleType, pretend: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Harness]:
    """(operations, commands, service) on one gallery, which the tests of this module change one after the other."""
    operations = pretend_service.Operations(tmp_path_factory.mktemp("served"), pretend)
    with contextlib.ExitStack() as stack:
        commands = pretend_service.Processes(operations.folder)
        stack.callback(commands.close)
        operations.begin(commands)
        service = pretend_service.ServiceProcess(commands, operations.gallery)
        stack.callback(service.kill)
        yield operations, commands, service


def photo(operations: Operations, number: int = 1, picture: int = 77) -> dict[str, tuple[str, bytes]]:
    path = operations.picture(number, picture)
    return {"photo": (path.name, path.read_bytes())}


def bytes_of(operations: Operations) -> bytes:
    return b"".join(file.read_bytes() for file in operations.folder.glob("gallery*"))


def test_200_operations_by_commands_and_requests_in_any_order(harness: Harness) -> None:
    operations, commands, service = harness
    for _ in range(200):
        operations.step(service.client, commands)
    assert len(operations.counts) == 12, operations.counts  # four kinds, by command, service and page
    said = commands.run("gallery", "verify", "-g", operations.gallery, "--json")
    assert (said["code"], json.loads(said["stdout"])["faults"]) == (0, [])
    assert not [file.name for file in operations.folder.glob("gallery-*")]  # no journal is left behind


def test_a_command_or_service_killed_in_the_middle_has_done_all_or_nothing(
    harness: Harness, pretend_service: ModuleType
) -> None:
    operations, commands, _ = harness
    service, kills = pretend_service.ServiceProcess(commands, operations.gallery), set()
    try:
        for _ in range(30):
            operations.step(service.client, commands)
            service, who, at_work, _ = operations.killed(service, commands)
            kills.add((who, at_work))
    finally:
        service.kill()
    assert {(who, True) for who in pretend_service.WHO} <= kills  # each of them while it was at work


def test_what_a_command_removes_under_a_running_service_leaves_no_byte(harness: Harness) -> None:
    operations, commands, service = harness
    answer = service.client.post("/enroll", files=photo(operations), data={"person": "Remarkable Ida"})
    assert answer.json()["outcome"] == "enrolled"
    assert b"Remarkable Ida" in bytes_of(operations)
    said = commands.run("gallery", "remove", "Remarkable Ida", "-y", "-g", operations.gallery, "-q")
    assert said["code"] == 0, said
    if said["stderr"]:  # the service was reading: the bytes go when it reads the new state
        assert READ_MEANWHILE in said["stderr"]
        operations.check(service.client)
    assert b"Remarkable Ida" not in bytes_of(operations)
    operations.check(service.client)


def test_a_broken_or_missing_gallery_is_a_server_error_and_health_shows_it(harness: Harness) -> None:
    operations, _, service = harness
    client, gallery = service.client, operations.gallery
    kept = gallery.with_name("kept")
    gallery.rename(kept)
    try:
        assert client.post("/identify", files=photo(operations)).json()["error"]["code"] == "no_gallery"
        assert client.post("/identify", files=photo(operations)).status_code == 503
        assert client.get("/ready").status_code == 503
        said = client.get("/health")
        assert (said.status_code, said.json()["status"]) == (200, "failing")
        assert said.json()["gallery"]["status"] == "no_gallery"
        shutil.copy(kept, gallery)
        with gallery.open("r+b") as stream:
            stream.seek(16384)
            stream.write(b"\xff" * 16384 * 3)
        answer = client.get("/gallery/people")
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "gallery_damaged")
        assert client.get("/ready").status_code == 503
    finally:
        gallery.unlink(missing_ok=True)
        kept.rename(gallery)
    assert client.get("/ready").json() == {"status": "ready"}
    operations.check(client)


def test_a_request_is_one_line_of_json_without_names(harness: Harness) -> None:
    operations, _, service = harness
    before = len(service.said().splitlines())
    name = sorted(operations.people)[0]
    service.client.post("/identify", files=photo(operations))
    service.client.delete("/gallery/people/Nobody Special")
    service.client.get("/gallery/people", headers={"x": "1"})
    lines = [json.loads(line) for line in service.said().splitlines()[before:]]
    assert [(line["method"], line["path"], line["status"]) for line in lines] == [
        ("POST", "/identify", 200),
        ("DELETE", "/gallery/people/{person:path}", 404),
        ("GET", "/gallery/people", 200),
    ]
    assert (lines[0]["faces"], lines[1]["error"]) == (1, "unknown_person")
    assert {"time", "ms", "client", "bytes_in", "bytes_out", "queue_ms"} <= lines[0].keys()
    text = "\n".join(service.said().splitlines()[before:])
    assert "Nobody" not in text
    assert name not in text
    assert "77.png" not in text


def test_metrics_count_requests_by_route_and_stages(harness: Harness) -> None:
    operations, _, service = harness
    service.client.post("/identify", files=photo(operations))
    for i in range(30):  # what a client makes up must not become a counter
        service.client.get(f"/made/up/{i}")
    text = service.client.get("/metrics").text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert int(values['facerec_requests_total{path="/identify",status="200"}']) >= 1
    assert float(values['facerec_stage_seconds_total{stage="describe"}']) > 0
    assert float(values["facerec_resident_bytes"]) > 1e7
    assert values['facerec_requests_total{path="other",status="404"}'] == "30"
    assert (
        values['facerec_request_seconds_bucket{path="/identify",le="+Inf"}']
        == values['facerec_request_seconds_count{path="/identify"}']
    )
    assert "/made" not in text


def test_the_error_for_a_used_port_names_the_process(harness: Harness) -> None:
    operations, commands, service = harness
    said = commands.run("serve", "-g", operations.gallery, "--port", urlsplit(service.address).port)
    assert said["code"] == 2
    assert f"is used by process {service.process.pid} (" in said["stderr"]


def test_a_service_that_is_asked_to_stop_answers_what_it_has_begun(
    harness: Harness, pretend_service: ModuleType
) -> None:
    operations, commands, _ = harness
    service = pretend_service.ServiceProcess(commands, operations.gallery)
    address = urlsplit(service.address)
    picture = operations.picture(1, 78).read_bytes()
    body = b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a.png"\r\n\r\n' + picture + b"\r\n--x--\r\n"
    with socket.create_connection((address.hostname, address.port), timeout=60) as client:
        head = f"POST /identify HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {len(body)}\r\n"
        head += "Content-Type: multipart/form-data; boundary=x\r\nConnection: close\r\n\r\n"
        client.sendall(head.encode() + body[:50])
        assert service.client.get("/health").status_code == 200  # the request before it has arrived, too
        service.process.terminate()
        client.sendall(body[50:])
        answer = b""
        while part := client.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"decision"' in answer
    assert service.process.wait(60) == 0
    service.client.close()
