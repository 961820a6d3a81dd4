"""The application of `facerec serve`: the same answers as the command line, its limits and its errors."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs facerec[serve]")
pytest.importorskip("multipart", reason="needs facerec[serve]")
pytest.importorskip("httpx", reason="needs httpx to ask the service")
pytest.importorskip("uvicorn", reason="needs facerec[serve]")

import httpx

from facerec.cli.main import run
from facerec.cli.service import pictures as pictures_module
from facerec.cli.service.application import create_app
from facerec.cli.service.gate import Access, ServeSettings
from facerec.cli.service.groups import grouped, read_signature, signature_text
from facerec.cli.service.verbs import Service
from facerec.frontalize.types import FaceTexture
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.types import Image
from facerec.recognition import recognizer as recognizer_module
from facerec.recognition import shipped_impostors as shipped_module
from facerec.recognition.impostor_curve import ImpostorCurve
from facerec.recognition.shipped_impostors import ShippedImpostors
from facerec.recognition.store.galleries import open_gallery
from facerec.recognition.store.sqlite import Gallery
from tests.served_application import served

if TYPE_CHECKING:
    from tests.pretend_models import PretendRecognizer

NAME = "Zoë <b>Smith</b>/Jr."


@pytest.fixture
def gallery(tmp_path: Path, pretend: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(recognizer_module, "Recognizer", pretend.PretendRecognizer)
    rows = ["path,person"]
    for person in range(1, 5):
        for picture in range(2):
            path = pretend.paint(tmp_path / "people" / f"{person}-{picture}.png", (person, 6, picture))
            rows.append(f"{path},{NAME if person == 1 else f'p{person}'}")
    (tmp_path / "list.csv").write_text("\n".join(rows), encoding="utf-8")
    assert run(["enroll", str(tmp_path / "list.csv"), "-g", str(tmp_path / "staff"), "--device", "cpu", "-q"]) == 0
    return tmp_path / "staff"


class Client(httpx.Client):
    """A client of a service that knows its pretended models."""

    models: PretendRecognizer


@pytest.fixture
def serve(gallery: Path, pretend: ModuleType) -> Iterator[Callable[..., Client]]:
    with contextlib.ExitStack() as stack:

        def start(delay: float = 0.0, token: str = "", **settings: Any) -> Client:
            models = pretend.PretendRecognizer(delay=delay)
            app = create_app(Service(models, gallery), ServeSettings(**settings), Access(token))
            address, _ = stack.enter_context(served(app))
            client = stack.enter_context(Client(base_url=address, timeout=240))
            client.models = models
            return client

        yield start


def post(client: httpx.Client, path: str, photo: Path, **rest: Any) -> httpx.Response:
    return client.post(path, files={"photo": (photo.name, photo.read_bytes())}, **rest)


def test_identify_and_verify_answer_what_the_command_line_answers(
    serve: Callable[..., Client], gallery: Path, tmp_path: Path, pretend: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    client = serve()
    probes = [
        pretend.paint(tmp_path / "group.png", (1, 6, 7), (9, 6, 1)),
        pretend.paint(tmp_path / "nobody.png"),
        tmp_path / "torn.png",
    ]
    probes[2].write_bytes(b"\x89PNG torn")
    for probe in probes:
        capfd.readouterr()
        assert run(["identify", str(probe), "-g", str(gallery), "--json", "-q", "--device", "cpu"]) == 0
        wanted = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
        answer = post(client, "/identify", probe)
        assert answer.status_code == 200
        for face, line in zip(answer.json()["faces"], wanted, strict=True):
            assert face == line | {"file": probe.name}
    capfd.readouterr()
    run(["verify", str(probes[0]), str(tmp_path / "people" / "1-0.png"), "--json", "-q", "--device", "cpu"])
    wanted = json.loads(capfd.readouterr().out)
    files = {
        "first": ("a.png", probes[0].read_bytes()),
        "second": ("b.png", (tmp_path / "people/1-0.png").read_bytes()),
    }
    answer = client.post("/verify", files=files).json()
    assert (answer["score"], answer["overlap"]) == (wanted["score"], wanted["overlap"])


def test_the_service_decides_at_the_share_of_strangers_that_it_was_started_with(
    gallery: Path, tmp_path: Path, pretend: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    curve = ImpostorCurve.measure(np.random.default_rng(0).normal(0.05, 0.08, 10_000), 10)
    record = ShippedImpostors(pretend.PretendContract().digest, 50, "made up", curve)
    (tmp_path / "impostors-pretend.json").write_text(json.dumps(record.as_json()))
    monkeypatch.setattr(shipped_module, "SHIPPED_IMPOSTORS", tmp_path)
    photo = pretend.paint(tmp_path / "p.png", (1, 6, 5)).read_bytes()
    values = []
    for fpir in (0.5, None, 0.001):
        service = Service(pretend.PretendRecognizer(), gallery, fpir=fpir)
        try:
            _, probes, _ = service.identify(photo, "p.png", 5)
        finally:
            service.close()
        assert probes[0].threshold.value is not None
        assert probes[0].threshold.fpir == (fpir or 0.01)
        values.append(probes[0].threshold.value)
    assert values == sorted(values)
    assert values[0] < values[-1]


def test_a_known_stranger_is_marked_and_reported(
    serve: Callable[..., Client], gallery: Path, tmp_path: Path, pretend: ModuleType
) -> None:
    client = serve()
    probe = pretend.paint(tmp_path / "again.png", (2, 6, 9))
    assert post(client, "/identify", probe).json()["faces"][0]["person"] == "p2"
    assert client.patch("/gallery/people/p2", data={"nobody": "true"}).json() == {"person": "p2", "nobody": True}
    (face,) = post(client, "/identify", probe).json()["faces"]
    assert (face["decision"], face["person"], face["known_stranger"]) == ("unknown", None, "p2")
    people = {p["person"]: p["nobody"] for p in client.get("/gallery/people").json()["people"]}
    assert people["p2"] is True
    assert people["p3"] is False
    assert client.patch("/gallery/people/p9", data={"nobody": "true"}).status_code == 404
    client.patch("/gallery/people/p2", data={"nobody": "false"})
    assert post(client, "/identify", probe).json()["faces"][0]["person"] == "p2"


def test_what_is_enrolled_and_removed_is_known_at_once_and_leaves_no_byte(
    serve: Callable[..., Client], gallery: Path, tmp_path: Path, pretend: ModuleType
) -> None:
    client = serve()
    photo = pretend.paint(tmp_path / "new.png", (8, 6, 0))
    said = client.post("/enroll", files={"photo": ("new.png", photo.read_bytes())}, data={"person": "Remarkable Ida"})
    assert (said.json()["outcome"], said.json()["entries"]) == ("enrolled", 1)
    probe = pretend.paint(tmp_path / "again.png", (8, 6, 1))
    assert post(client, "/identify", probe).json()["faces"][0]["candidates"][0]["person"] == "Remarkable Ida"
    nobody = pretend.paint(tmp_path / "nobody.png")
    said = client.post("/enroll", files={"photo": ("n.png", nobody.read_bytes())}, data={"person": "Nobody"})
    assert (said.status_code, said.json()["outcome"]) == (200, "no_face")
    assert client.delete("/gallery/people/Remarkable Ida").json() == {"removed": "Remarkable Ida", "bytes_gone": True}
    assert {p["person"] for p in client.get("/gallery/people").json()["people"]} == {NAME, "p2", "p3", "p4"}
    left = b"".join(file.read_bytes() for file in gallery.parent.glob("staff*"))
    assert b"Remarkable Ida" not in left
    answer = client.delete("/gallery/people/Nobody")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_person")
    answer = client.post("/gallery/rename", data={"person": "p2", "to": "p3"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "name_taken")
    with Gallery.open(gallery) as opened:
        assert opened.verify().faults == ()


def test_a_gallery_in_milvus_is_served_as_one_in_a_file(
    gallery: Path, tmp_path: Path, pretend: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pymilvus", reason="needs facerec[milvus]")
    pytest.importorskip("milvus_lite", reason="needs facerec[milvus]")
    address = f"milvus:{tmp_path}/lite.db#staff"
    capfd.readouterr()
    assert run(["enroll", str(tmp_path / "list.csv"), "-g", address, "--device", "cpu", "-q"]) == 0
    assert capfd.readouterr().err == ""
    models = pretend.PretendRecognizer()
    probe, new = pretend.paint(tmp_path / "probe.png", (2, 8, 7)), pretend.paint(tmp_path / "new.png", (8, 6, 0))

    def scored(faces: list[dict[str, Any]]) -> list[object]:
        return [(f["decision"], [(c["person"], c["score"]) for c in f["candidates"]], f["threshold"]) for f in faces]

    def records(service: Service) -> list[dict[str, Any]]:
        _, probes, versions = service.identify(probe.read_bytes(), "p.png", 5)
        return [one.as_json(versions) for one in probes]

    file, milvus = Service(models, gallery), Service(models, address)
    try:
        with served(create_app(milvus, ServeSettings())) as (at, _), httpx.Client(base_url=at, timeout=240) as client:

            def said() -> list[dict[str, Any]]:
                answer = client.post("/identify", files={"photo": ("p.png", probe.read_bytes())})
                return list(answer.json()["faces"])

            wanted = records(file)
            assert scored(said()) == scored(wanted)
            assert said()[0]["versions"] == wanted[0]["versions"]  # the digest, too
            answer = client.post("/enroll", files={"photo": ("n.png", new.read_bytes())}, data={"person": "Ida"})
            assert (answer.json()["outcome"], answer.json()["entries"]) == ("enrolled", 1)
            file.enroll(new.read_bytes(), "n.png", "Ida", None, 0.0)
            wanted = records(file)
            assert scored(said()) == scored(wanted)
            assert said()[0]["versions"] == wanted[0]["versions"]
            assert client.get("/gallery/people").json() == file.people()
            assert client.delete("/gallery/people/Ida").json() == {"removed": "Ida", "bytes_gone": False}
            assert {p["person"] for p in client.get("/gallery/people").json()["people"]} == {NAME, "p2", "p3", "p4"}
            with open_gallery(address) as other:  # what another process changes is seen by the next request, too
                other.rename("p2", "Bo")
            assert said()[0]["candidates"][0]["person"] == "Bo"
    finally:
        file.close()
        milvus.close()


def test_errors_have_stable_codes(serve: Callable[..., Client], tmp_path: Path, pretend: ModuleType) -> None:
    client = serve(max_bytes=5000)
    assert post(client, "/landmarks", pretend.paint(tmp_path / "nobody.png")).json()["error"]["code"] == "no_face"
    big = tmp_path / "big.png"
    big.write_bytes(bytes(9000))
    assert (post(client, "/identify", big).status_code, post(client, "/identify", big).json()["error"]["code"]) == (
        413,
        "too_large",
    )

    def unsized() -> Iterator[bytes]:
        # A form that is well so far: of a broken one the service may say so before the limit is passed.
        yield b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a.png"\r\n\r\n'
        for _ in range(20):
            yield bytes(1000)

    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert client.post("/identify", content=unsized(), headers=headers).status_code == 413
    assert client.post("/identify").json()["error"]["code"] == "bad_request"
    assert client.get("/gallery/people", headers={"host": "evil.example"}).json()["error"]["code"] == "wrong_host"
    said = client.get("/gallery/people", headers={"origin": "http://evil.example"})
    assert (said.status_code, said.json()["error"]["code"]) == (403, "cross_origin")


def test_a_token_is_required(serve: Callable[..., Client], tmp_path: Path, pretend: ModuleType) -> None:
    client = serve(token="a" * 20)
    photo = pretend.paint(tmp_path / "p.png", (1, 6, 1))
    assert post(client, "/identify", photo).json()["error"]["code"] == "unauthorized"
    for kind in ("Bearer", "bearer", "BEARER"):
        assert post(client, "/identify", photo, headers={"Authorization": f"{kind} " + "a" * 20}).status_code == 200
    for wrong in ("Basic " + "a" * 20, "a" * 20, "Bearer " + "b" * 20, ""):
        assert client.get("/gallery/people", headers={"Authorization": wrong}).status_code == 401
    assert client.get("/metrics").status_code == 401
    assert client.get("/page/main.js").status_code == 200
    assert client.get("/docs").text.count("<dt>") >= 7
    assert "/identify" in client.get("/openapi.json").json()["paths"]


def test_another_host_without_a_token_is_refused(
    gallery: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FACEREC_TOKEN", raising=False)
    assert run(["serve", "-g", str(gallery), "--host", "0.0.0.0"]) == 2
    assert "FACEREC_TOKEN" in capfd.readouterr().err


def test_more_than_the_queue_holds_is_refused_as_busy_and_the_rest_is_right(
    serve: Callable[..., Client], tmp_path: Path, pretend: ModuleType
) -> None:
    client = serve(delay=0.2, workers=1, queue=2)
    photos = [pretend.paint(tmp_path / f"q{i}.png", (1 + i % 4, 6, i)) for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda photo: post(client, "/identify", photo), photos))
    assert {answer.status_code for answer in answers} == {200, 503}
    for i, answer in enumerate(answers):
        if answer.status_code == 503:
            assert (answer.json()["error"]["code"], answer.headers["retry-after"]) == ("busy", "1")
        else:
            assert answer.json()["faces"][0]["candidates"][0]["person"] == (NAME if i % 4 == 0 else f"p{1 + i % 4}")


def test_a_client_that_asks_too_often_is_refused(serve: Callable[..., Client]) -> None:
    client = serve(per_minute=3)
    assert [client.get("/health").status_code for _ in range(5)] == [200, 200, 200, 429, 429]


@pytest.mark.parametrize(
    ("path", "wrong"),
    [("/identify?candidates=-5", "candidates"), ("/identify?Pictures=1", "Pictures"), ("/enroll?person=x", "person")],
)
def test_an_unknown_parameter_is_refused(
    path: str, wrong: str, serve: Callable[..., Client], tmp_path: Path, pretend: ModuleType
) -> None:
    answer = post(
        serve(), path, pretend.paint(tmp_path / "p.png", (1, 6, 1)), data={"person": "Ida"} if "enroll" in path else {}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "bad_request")
    assert f"unknown parameter '{wrong}'" in answer.json()["error"]["detail"]


def test_an_unknown_field_is_refused(serve: Callable[..., Client], tmp_path: Path, pretend: ModuleType) -> None:
    photo = pretend.paint(tmp_path / "p.png", (1, 6, 1))
    answer = post(serve(), "/enroll", photo, data={"person": "Ida", "name": "Ida"})
    assert "unknown parameter 'name'" in answer.json()["error"]["detail"]


def test_faces_keep_their_numbers_and_landmarks_their_models_name(
    tmp_path: Path, pretend: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    spelt = json.dumps({"landmarks": "rdssd"})
    monkeypatch.setattr(pretend.PretendContract, "as_json", lambda self: spelt)
    models, at = pretend.PretendRecognizer(), tmp_path / "other"
    Gallery.create(at, models.contract).close()
    service = Service(models, at)
    photo = pretend.paint(tmp_path / "p.png", (1, 6, 1), (pretend.UNFITTED, 6, 1), (2, 6, 1))
    faces = service.landmarks(photo.read_bytes(), "p.png")["faces"]
    service.close()
    assert [(face["face"], face["model"]) for face in faces] == [(0, "rdssd"), (2, "rdssd")]


def test_pictures_are_sent_once_and_bounded(
    serve: Callable[..., Client], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pretend: ModuleType
) -> None:
    """A photograph of many faces travels once, with a crop and a frontal view of each face."""
    monkeypatch.setattr(pictures_module, "frontal_view", lambda texture, fitted, model: texture.pixels)
    client, faces = serve(), [(1 + i % 4, 6, i) for i in range(9)]
    photo = pretend.paint(tmp_path / "crowd.png", *faces)
    said = post(client, "/identify?pictures=true", photo)
    body = said.json()
    assert said.headers.get("content-length") is None  # sent as it is made
    assert (body["photo"]["width"], body["photo"]["height"], len(body["faces"])) == (24, 24, 9)
    assert len(said.text) < 9 * 12_000
    for face in body["faces"]:
        assert set(face["pictures"]) == {"crop", "frontal"}
        assert len(face["landmarks"]["points"]) == 68
        assert len(json.dumps(face["pictures"])) < 4000
    plain = post(client, "/identify", photo).json()["faces"]
    left_out = ("landmarks", "pictures", "signature", "timings_ms")
    assert [{k: v for k, v in face.items() if k not in left_out} for face in body["faces"]] == [
        {k: v for k, v in face.items() if k != "timings_ms"} for face in plain
    ]


def test_one_face_of_a_group_is_enrolled_and_nobody_else_of_it(
    serve: Callable[..., Client], tmp_path: Path, pretend: ModuleType
) -> None:
    client = serve()
    photo = pretend.paint(tmp_path / "group.png", (7, 6, 0), (8, 6, 0), (pretend.UNFITTED, 6, 0))
    for face, person in ((1, "Ida"), (0, "Bo")):
        said = post(client, "/enroll", photo, data={"person": person, "face": str(face)}).json()
        assert (said["outcome"], said["entries"]) == ("enrolled", 1)
    for number, person in ((8, "Ida"), (7, "Bo")):
        probe = pretend.paint(tmp_path / f"again-{number}.png", (number, 6, 1))
        best = post(client, "/identify", probe).json()["faces"][0]["candidates"][0]
        assert best["person"] == person
        assert best["score"] > 0.6
    assert post(client, "/enroll", photo, data={"person": "Cy", "face": "2"}).json()["outcome"] == "fit_unstable"
    answer = post(client, "/enroll", photo, data={"person": "Cy", "face": "3"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "bad_request")
    assert "Cy" not in {p["person"] for p in client.get("/gallery/people").json()["people"]}


def test_work_for_a_disconnected_client_is_discarded(
    serve: Callable[..., Client], tmp_path: Path, pretend: ModuleType
) -> None:
    client = serve(delay=0.5, workers=1, queue=16)
    photos = [pretend.paint(tmp_path / f"q{i}.png", (1, 6, i)) for i in range(8)]

    def impatient(photo: Path) -> None:
        with pytest.raises(httpx.ReadTimeout):
            post(client, "/identify", photo, timeout=0.4)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(impatient, photos))
    assert post(client, "/identify", photos[0]).status_code == 200
    assert client.models.described < 6  # of nine, those that had begun before their clients left
    assert client.get("/health").json()["waiting"] == 0


def test_a_client_that_sends_no_more_is_disconnected(serve: Callable[..., Client]) -> None:
    import socket
    from urllib.parse import urlsplit

    client = serve(body_s=0.2)
    address = urlsplit(str(client.base_url))
    with socket.create_connection((address.hostname, address.port), timeout=60) as slow:
        head = f"POST /identify HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: 1000\r\n"
        slow.sendall((head + "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n").encode())
        assert slow.recv(65536).startswith(b"HTTP/1.1 408")


def test_a_proxy_may_show_the_service_under_a_path_of_its_own(gallery: Path, pretend: ModuleType) -> None:
    app = create_app(Service(pretend.PretendRecognizer(), gallery), ServeSettings(), Access("a" * 20, False, "/faces"))
    headers = {"Authorization": "Bearer " + "a" * 20}
    with served(app) as (address, _), httpx.Client(base_url=address, timeout=240) as client:
        for prefix in ("", "/faces"):  # whether the proxy takes it away or not
            assert client.get(f"{prefix}/").status_code == 200
            assert client.get(f"{prefix}/page/main.js").headers["content-type"].startswith("text/javascript")
            assert client.get(f"{prefix}/gallery/people").status_code == 401
            assert client.get(f"{prefix}/gallery/people", headers=headers).status_code == 200
        page = client.get("/faces/").text
    assert 'src="page/main.js"' in page  # relative: the browser asks under the same path


def test_only_the_pages_files_are_served(serve: Callable[..., Client]) -> None:
    client = serve()
    assert client.get("/").headers["content-security-policy"].startswith("default-src 'none'")
    for name in ("nothing.js", "..%2Fverbs.py", "%2e%2e/verbs.py", ".hidden"):
        assert client.get(f"/page/{name}").status_code == 404


def test_signatures_sent_back_are_grouped_by_person(pretend: ModuleType) -> None:
    signatures = [pretend.signature(n, yaw, i) for i, (n, yaw) in enumerate([(1, 0), (2, 0), (1, 30), (2, 45), (3, 0)])]
    texts = [signature_text(one) for one in signatures]
    back = [read_signature(text, one.contract) for text, one in zip(texts, signatures, strict=True)]
    for one, other in zip(signatures, back, strict=True):
        assert (one.visible == other.visible).all()
        assert abs(one.cells - other.cells).max() < 1e-3
    assert grouped(back, 0.4) == [[0, 2], [1, 3], [4]]
    for wrong in ("", "AAAA", texts[0][:-8], "é", "A" * 5000):
        with pytest.raises(InvalidInputError):
            read_signature(wrong, "x")


def test_faces_are_grouped_by_request_and_nothing_is_kept(
    serve: Callable[..., Client], tmp_path: Path, pretend: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures_module, "frontal_view", lambda texture, fitted, model: texture.pixels)
    client = serve()
    photos = [pretend.paint(tmp_path / f"s{i}.png", (n, 6, i)) for i, n in enumerate((11, 12, 11))]
    texts = [post(client, "/identify?pictures=true", photo).json()["faces"][0]["signature"] for photo in photos]
    said = client.post("/group", files={"signatures": ("s", "\n".join(texts))})
    assert said.json() == {"groups": [[0, 2], [1]]}
    assert client.post("/group", files={"signatures": ("s", "nonsense")}).status_code == 422


def test_a_service_is_warm_before_its_first_request(
    gallery: Path, pretend: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[FaceTexture] = []

    def frontal_view(texture: FaceTexture, *_: object) -> Image:
        seen.append(texture)
        return texture.pixels

    monkeypatch.setattr(pictures_module, "frontal_view", frontal_view)
    service = Service(pretend.PretendRecognizer(), gallery)
    service.warm(pretend.paint(tmp_path / "one.png", (1, 6, 1)).read_bytes())
    service.warm(b"torn")  # whatever the portrait is, the service starts
    service.close()
    assert len(seen) == 1
    assert "facerec_faces_total{" not in service.metrics.text({})  # nobody asked


def test_an_answer_about_100_faces_is_below_3_mb_beside_its_pictures(
    serve: Callable[..., Client], tmp_path: Path, pretend: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures_module, "frontal_view", lambda texture, fitted, model: texture.pixels)
    photo = pretend.paint(tmp_path / "crowd.png", *[(1 + i % 50, 6, i) for i in range(100)])
    faces = post(serve(), "/identify?pictures=true&k=5", photo).json()["faces"]
    assert len(faces) == 100
    assert len(json.dumps([{k: v for k, v in face.items() if k != "pictures"} for face in faces])) < 3_000_000
