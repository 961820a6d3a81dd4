"""The page in a real browser: a queue of photographs, their faces, enrolment, the gallery, and what goes wrong."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("fastapi", reason="needs facerec[serve]")
pytest.importorskip("uvicorn", reason="needs facerec[serve]")

from facerec.cli.service import pictures as pictures_module
from facerec.cli.service.application import create_app
from facerec.cli.service.gate import ServeSettings
from facerec.cli.service.verbs import Service
from facerec.recognition.description import EnrolmentSettings
from facerec.recognition.enrolment import enroll
from facerec.recognition.enrolment_plan import plan_enrolment
from facerec.recognition.store.sqlite import Gallery
from tests.served_application import served

if TYPE_CHECKING:
    from tests.headless_browser import Browser

NAME = "Zoë <b>Smith"


@pytest.fixture
def page(tmp_path: Path, pretend: ModuleType, monkeypatch: pytest.MonkeyPatch, browser: Browser) -> Iterator[Page]:
    # The pretended faces have no shape to draw.
    monkeypatch.setattr(pictures_module, "frontal_view", lambda texture, fitted, model: texture.pixels)
    models = pretend.PretendRecognizer()
    for person in range(1, 5):
        for picture in range(2):
            name = NAME if person == 1 else f"p{person}"
            pretend.paint(tmp_path / "people" / name / f"{picture}.png", (person, 6 + 3 * picture, picture))
    with Gallery.create(tmp_path / "staff", models.contract) as gallery:
        enroll(plan_enrolment([tmp_path / "people"]), gallery, models, EnrolmentSettings())
    with served(create_app(Service(models, tmp_path / "staff"), ServeSettings())) as (address, stop):
        yield Page(browser, address, tmp_path, stop)


class Page:
    def __init__(self, browser: Browser, address: str, folder: Path, stop: Callable[[], None]) -> None:
        self.browser, self.folder, self.stop = browser, folder, stop
        browser.open(address)
        browser.wait_for("document.readyState == 'complete' && location.protocol == 'http:'")
        self.wide(1400)

    def wide(self, width: int) -> None:
        self.browser.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500
        )

    def choose(self, *paths: Path) -> None:
        root = self.browser.send("DOM.getDocument")["root"]["nodeId"]
        field = self.browser.send("DOM.querySelector", nodeId=root, selector="#photo")["nodeId"]
        self.browser.send("DOM.setFileInputFiles", files=[str(path) for path in paths], nodeId=field)

    def text(self, selector: str) -> str:
        return str(self.browser.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))

    def rows(self) -> list[str]:
        return list(self.browser.evaluate("[...document.querySelectorAll('#queue .state')].map(s => s.innerText)"))

    def click(self, selector: str, text: str = "") -> None:
        all_of = f"[...document.querySelectorAll({json.dumps(selector)})]"
        find = f"{all_of}.find(e => e.innerText.includes({json.dumps(text)}))"
        assert self.browser.evaluate(f"Boolean({find})"), (selector, text, self.text("body"))
        self.browser.evaluate(f"{find}.click()")

    def fill(self, selector: str, value: str) -> None:
        self.browser.evaluate(f"document.querySelector({json.dumps(selector)}).value = {json.dumps(value)}")

    def key(self, name: str) -> None:
        code = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowRight": 39}[name]
        text = {"text": "\r"} if name == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.browser.send(
                "Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code, **text
            )
            text = {}

    def wait(self, script: str, seconds: int = 120) -> Any:
        return self.browser.wait_for(script, seconds)

    def wait_status(self, text: str) -> None:
        self.wait(f"document.querySelector('#status').innerText.includes({json.dumps(text)})")

    def picture(self, name: str) -> None:
        (self.folder / name).write_bytes(base64.b64decode(self.browser.send("Page.captureScreenshot")["data"]))


@pytest.mark.slow
def test_photographs_in_a_queue_each_keep_their_own_answer(page: Page, tmp_path: Path, pretend: ModuleType) -> None:
    group = pretend.paint(tmp_path / "group.png", (1, 6, 7), (9, 6, 1), (pretend.UNFITTED, 6, 1))
    nobody = pretend.paint(tmp_path / "nobody.png")
    torn = tmp_path / "torn.png"
    torn.write_bytes(b"\x89PNG torn")
    page.choose(group, nobody, torn)
    page.wait("document.querySelector('#status').innerText == 'All photographs are done'")
    assert page.rows() == ["3 faces", "no face", "cannot be used"]
    page.click("#queue .open", "group.png")
    boxes = "[...document.querySelectorAll('.stage .box')]"
    assert page.browser.evaluate(f"{boxes}.map(b => b.innerText)") == ["1", "2", "3"]
    assert page.browser.evaluate(f"{boxes}.map(b => b.ariaLabel)")[0] == f"Face 1: match, {NAME}"  # text, not markup
    assert NAME in page.text(".face.card")
    loaded = "[...document.querySelectorAll('.seen img')].every(i => i.complete && i.naturalWidth > 0)"
    assert page.wait(loaded)
    page.click(".stage .box", "2")
    assert "Unknown" in page.text(".face.card")
    page.click(".stage .box", "3")
    assert "fit_unstable" in page.text(".face.card")
    page.picture("wide.png")
    page.click("#queue .open", "nobody.png")
    assert page.text("#view").startswith("No face was found")
    page.click("#queue .open", "torn.png")
    assert "unreadable" in page.text("#view")
    page.wide(390)
    page.click("#queue .open", "group.png")
    assert page.browser.evaluate("document.documentElement.scrollWidth") <= 390
    page.picture("narrow.png")
    assert page.browser.said == []


@pytest.mark.slow
def test_faces_are_enrolled_and_people_renamed_merged_and_removed(
    page: Page, tmp_path: Path, pretend: ModuleType
) -> None:
    first = pretend.paint(tmp_path / "one.png", (9, 6, 0), (2, 6, 5))
    second = pretend.paint(tmp_path / "two.png", (9, 6, 1))
    page.choose(first, second)
    page.wait("document.querySelector('#unknown-count').innerText == '2'")
    page.click("[role=tab]", "Unknown")
    page.wait("document.querySelectorAll('.group').length == 1")  # one person, seen twice
    page.picture("unknown.png")
    page.fill(".group input", "Ida <i>Nine</i>")
    page.click(".group button", "Enrol 2 faces")
    page.wait_status("2 of 2 faces enrolled as Ida <i>Nine</i>")
    page.click("[role=tab]", "Gallery")
    page.wait("document.querySelector('#people').innerText.includes('Ida <i>Nine</i>')")
    assert page.browser.evaluate("document.querySelector('#people .map').ariaLabel")
    page.picture("gallery.png")
    button = "[aria-label='{} {}']"
    page.click(button.format("Rename", "p2"))
    page.fill("#ask-value", "Bo")
    page.click("#ask button", "Rename")
    page.wait_status("p2 is now called Bo")
    page.click(button.format("Merge", "p3"))
    page.fill("#ask-value", "p4")
    page.click("#ask button", "Merge")
    page.wait_status("p3 and p4 are now one person")
    page.click(button.format("Remove", "p4"))
    page.click("#ask button", "Cancel")
    page.click(button.format("Remove", NAME))
    page.click("#ask button", "Remove permanently")
    page.wait_status("is removed")
    with Gallery.open(tmp_path / "staff") as gallery:
        assert [(p.name, p.entries) for p in gallery.people()] == [("Bo", 2), ("Ida <i>Nine</i>", 2), ("p4", 4)]
        assert gallery.verify().faults == ()
    assert page.browser.said == []


@pytest.mark.slow
def test_a_lost_connection_is_reported_and_the_photograph_can_be_sent_again(
    page: Page, tmp_path: Path, pretend: ModuleType
) -> None:
    page.choose(pretend.paint(tmp_path / "one.png", (1, 6, 3)))
    page.wait("document.querySelector('#status').innerText == 'All photographs are done'")
    page.stop()
    page.choose(pretend.paint(tmp_path / "late.png", (2, 6, 3)))
    page.wait("document.querySelector('#queue').innerText.includes('no connection to the service')")
    assert page.rows() == ["1 face", "no connection to the service"]
    assert page.browser.evaluate("Boolean(document.querySelector(\"[aria-label='Try late.png again']\"))")
    page.click("#queue .open", "one.png")  # what was answered is still there
    assert NAME in page.text(".face.card")


@pytest.mark.slow
def test_the_camera_takes_a_photograph_into_the_queue(page: Page) -> None:
    page.click("[role=tab]", "Camera")
    page.click("#camera-start")
    page.wait("!document.querySelector('#video').hidden && !document.querySelector('#camera-take').disabled")
    page.click("#camera-take")
    page.wait("document.querySelector('#queue').innerText.includes('camera 1.jpg')")
    page.wait("document.querySelector('#status').innerText == 'All photographs are done'")
    assert page.browser.evaluate("document.querySelector('#video').hidden")  # the camera is off again
    assert page.browser.said == []


@pytest.mark.slow
def test_the_keyboard_alone_reaches_the_gallery_and_gives_up_a_question(page: Page) -> None:
    page.wait("document.querySelectorAll('#people li').length == 4")
    focus = "document.activeElement.ariaLabel || document.activeElement.id"
    page.key("Tab")
    assert page.browser.evaluate(focus) == "tab-photos"
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.browser.evaluate(outline) == "solid"  # the focus is seen
    page.key("ArrowRight")
    page.key("ArrowRight")
    assert page.browser.evaluate("!document.querySelector('#gallery').hidden")
    while not str(page.browser.evaluate(focus)).startswith("Remove"):
        page.key("Tab")
    name = page.browser.evaluate(focus)
    page.key("Enter")
    assert page.browser.evaluate("document.querySelector('#ask').open")
    page.key("Escape")
    assert not page.browser.evaluate("document.querySelector('#ask').open")
    assert page.browser.evaluate(focus) == name  # back where the question was asked
    assert page.browser.evaluate("document.querySelectorAll('#people li').length") == 4


@pytest.mark.slow
def test_a_table_of_candidates_fits_beside_the_photograph(page: Page, tmp_path: Path, pretend: ModuleType) -> None:
    page.choose(pretend.paint(tmp_path / "one.png", (1, 6, 3)))
    page.wait("document.querySelector('#status').innerText == 'All photographs are done'")
    for width in (1400, 390):
        page.wide(width)
        inside = "document.querySelector('.face table').scrollWidth <= document.querySelector('.face.card').clientWidth"
        assert page.browser.evaluate(inside)
        assert page.browser.evaluate("document.querySelector('.face td').offsetWidth") > 60  # a name, not a letter
        assert page.browser.evaluate("document.documentElement.scrollWidth") <= width
