"""`facerec serve`: the same answers as the command line, its limits, and the page in a real browser."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("fastapi", reason="needs facerec[serve]")
pytest.importorskip("multipart", reason="needs facerec[serve]")
httpx = pytest.importorskip("httpx", reason="needs httpx to ask the service")
uvicorn = pytest.importorskip("uvicorn", reason="needs facerec[serve]")

from facerec.cli import api as api_module
from facerec.cli.api import ServeSettings, Service, create_app
from facerec.cli.main import run
from facerec.recognition import recognizer as recognizer_module
from facerec.recognition.store.galleries import open_gallery
from facerec.recognition.store.sqlite import Gallery

NAME = "Zoë <b>Smith</b>/Jr."


@pytest.fixture
def gallery(tmp_path, pretend, monkeypatch):
    monkeypatch.setattr(recognizer_module, "Recognizer", pretend.PretendRecognizer)
    rows = ["path,person"]
    for person in range(1, 5):
        for picture in range(2):
            path = pretend.paint(tmp_path / "people" / f"{person}-{picture}.png", (person, 6, picture))
            rows.append(f"{path},{NAME if person == 1 else f'p{person}'}")
    (tmp_path / "list.csv").write_text("\n".join(rows), encoding="utf-8")
    assert run(["enroll", str(tmp_path / "list.csv"), "-g", str(tmp_path / "staff"), "--device", "cpu", "-q"]) == 0
    return tmp_path / "staff"


@contextlib.contextmanager
def served(app):
    """The application behind a real socket; yields its address."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", log_config=None)
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None
    with config.bind_socket() as socket:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{socket.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def serve(gallery, pretend):
    with contextlib.ExitStack() as stack:

        def start(delay=0.0, token="", **settings):
            app = create_app(Service(pretend.PretendRecognizer(delay=delay), gallery), ServeSettings(**settings), token)
            address = stack.enter_context(served(app))
            return stack.enter_context(httpx.Client(base_url=address, timeout=240))

        yield start


def post(client, path, photo, **rest):
    return client.post(path, files={"photo": (photo.name, photo.read_bytes())}, **rest)


def test_identify_and_verify_answer_what_the_command_line_answers(serve, gallery, tmp_path, pretend, capfd):
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


def test_a_known_stranger_is_marked_and_reported(serve, gallery, tmp_path, pretend):
    client = serve()
    probe = pretend.paint(tmp_path / "again.png", (2, 6, 9))
    assert post(client, "/identify", probe).json()["faces"][0]["person"] == "p2"
    assert client.patch("/gallery/people/p2", data={"nobody": "true"}).json() == {"person": "p2", "nobody": True}
    (face,) = post(client, "/identify", probe).json()["faces"]
    assert (face["decision"], face["person"], face["known_stranger"]) == ("unknown", None, "p2")
    people = {p["person"]: p["nobody"] for p in client.get("/gallery/people").json()["people"]}
    assert people["p2"] is True
    assert people["p3"] is False
    assert client.patch("/gallery/people/p9", data={"nobody": "true"}).status_code == 422
    client.patch("/gallery/people/p2", data={"nobody": "false"})
    assert post(client, "/identify", probe).json()["faces"][0]["person"] == "p2"


def test_what_is_enrolled_and_removed_is_known_at_once_and_leaves_no_byte(serve, gallery, tmp_path, pretend):
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
    assert client.delete("/gallery/people/Nobody").json()["error"]["code"] == "bad_request"
    with Gallery.open(gallery) as opened:
        assert opened.verify().faults == ()


def test_a_gallery_in_milvus_is_served_as_one_in_a_file(gallery, tmp_path, pretend, capfd):
    pytest.importorskip("pymilvus", reason="needs facerec[milvus]")
    pytest.importorskip("milvus_lite", reason="needs facerec[milvus]")
    address = f"milvus:{tmp_path}/lite.db#staff"
    capfd.readouterr()
    assert run(["enroll", str(tmp_path / "list.csv"), "-g", address, "--device", "cpu", "-q"]) == 0
    assert capfd.readouterr().err == ""
    models = pretend.PretendRecognizer()
    probe, new = pretend.paint(tmp_path / "probe.png", (2, 8, 7)), pretend.paint(tmp_path / "new.png", (8, 6, 0))

    def scored(faces):
        return [(f["decision"], [(c["person"], c["score"]) for c in f["candidates"]], f["threshold"]) for f in faces]

    file, milvus = Service(models, gallery), Service(models, address)
    try:
        with served(create_app(milvus, ServeSettings())) as at, httpx.Client(base_url=at, timeout=240) as client:

            def said():
                return client.post("/identify", files={"photo": ("p.png", probe.read_bytes())}).json()["faces"]

            wanted = file.identify(probe.read_bytes(), "p.png", 5, False)["faces"]
            assert scored(said()) == scored(wanted)
            assert said()[0]["versions"] == wanted[0]["versions"]  # the digest, too
            answer = client.post("/enroll", files={"photo": ("n.png", new.read_bytes())}, data={"person": "Ida"})
            assert (answer.json()["outcome"], answer.json()["entries"]) == ("enrolled", 1)
            file.enroll(new.read_bytes(), "n.png", "Ida", 0.0)
            wanted = file.identify(probe.read_bytes(), "p.png", 5, False)["faces"]
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


def test_errors_have_stable_codes(serve, tmp_path, pretend):
    client = serve(max_bytes=5000)
    assert post(client, "/landmarks", pretend.paint(tmp_path / "nobody.png")).json()["error"]["code"] == "no_face"
    big = tmp_path / "big.png"
    big.write_bytes(bytes(9000))
    assert (post(client, "/identify", big).status_code, post(client, "/identify", big).json()["error"]["code"]) == (
        413,
        "too_large",
    )

    def unsized():
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


def test_a_token_is_asked_for(serve, tmp_path, pretend):
    client = serve(token="a" * 20)
    photo = pretend.paint(tmp_path / "p.png", (1, 6, 1))
    assert post(client, "/identify", photo).json()["error"]["code"] == "unauthorized"
    assert post(client, "/identify", photo, headers={"Authorization": "Bearer " + "a" * 20}).status_code == 200
    assert client.get("/docs").text.count("<dt>") >= 7
    assert "/identify" in client.get("/openapi.json").json()["paths"]


def test_another_host_without_a_token_is_refused(gallery, capfd, monkeypatch):
    monkeypatch.delenv("FACEREC_TOKEN", raising=False)
    assert run(["serve", "-g", str(gallery), "--host", "0.0.0.0"]) == 2
    assert "FACEREC_TOKEN" in capfd.readouterr().err


def test_more_than_the_queue_holds_is_told_busy_and_the_rest_is_right(serve, tmp_path, pretend):
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


def test_a_client_that_asks_too_often_is_told_so(serve):
    client = serve(per_minute=3)
    assert [client.get("/health").status_code for _ in range(5)] == [200, 200, 200, 429, 429]


@pytest.mark.slow
def test_the_page_shows_landmarks_frontal_view_and_candidates(serve, tmp_path, pretend, monkeypatch, browser):
    # The pretended faces have no shape to draw.
    monkeypatch.setattr(api_module, "frontal_view", lambda texture, fitted, model: texture.pixels)
    client = serve()
    photo = pretend.paint(tmp_path / "probe.png", (1, 6, 7))
    browser.open(str(client.base_url))
    browser.wait_for("document.readyState == 'complete' && location.protocol == 'http:'")
    page = browser.send("DOM.getDocument")["root"]["nodeId"]
    field = browser.send("DOM.querySelector", nodeId=page, selector="#photo")["nodeId"]
    browser.send("DOM.setFileInputFiles", files=[str(photo)], nodeId=field)
    assert browser.wait_for("get('faces').innerText")
    text = browser.evaluate("get('faces').innerText")
    assert f"match: {NAME}" in text  # as text, not as markup
    assert "p2" in text
    loaded = "[...document.images].filter(i => i.complete && i.naturalWidth > 0).map(i => i.alt).join()"
    assert browser.wait_for(f"({loaded}) == 'landmarks,frontal'")
    picture = base64.b64decode(browser.send("Page.captureScreenshot")["data"])
    (tmp_path / "page.png").write_bytes(picture)
