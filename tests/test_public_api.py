"""`import facerec`: the public names, from wherever Python starts, and what README shows of them."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import facerec
from facerec.landmarks.image import Photo, write_image
from facerec.recognition import recognizer as recognizer_module

ROOT = Path(__file__).resolve().parent.parent

PUBLIC = [
    "Box",
    "Camera",
    "ContractError",
    "Decision",
    "DescribedFace",
    "DeviceError",
    "EnrolmentSettings",
    "EnrolmentSummary",
    "Face",
    "FaceTexture",
    "FacerecError",
    "FittedFace",
    "Gallery",
    "Identifier",
    "Image",
    "InvalidInputError",
    "Landmarks",
    "Match",
    "PairDecision",
    "Photo",
    "ProbeFace",
    "ReasonCode",
    "Recognizer",
    "RecognizerSettings",
    "Signature",
    "Threshold",
    "UndescribedFace",
    "UnusablePhotoError",
    "__version__",
    "enroll",
    "find_photos",
    "identify",
    "load_recognizer",
    "read_image",
    "verify",
    "write_image",
]
"""What programs may rely on. A name that goes or is renamed breaks them."""


def test_the_public_names_are_these_and_all_of_them_load() -> None:
    assert sorted(facerec.__all__) == sorted(PUBLIC)
    for name in PUBLIC:
        assert getattr(facerec, name) is not None
    assert set(PUBLIC) <= set(dir(facerec))
    with pytest.raises(AttributeError, match="no attribute 'recognise'"):
        facerec.recognise  # noqa: B018


def test_a_type_checker_sees_the_names_where_they_are_loaded_from() -> None:
    tree = ast.parse((ROOT / "facerec" / "__init__.py").read_text("utf-8"))
    (typed,) = (node for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
    seen = {
        alias.name: (node.module or "").removeprefix("facerec.")
        for node in typed.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == facerec._PLACE_OF
    assert set(seen) | {"__version__"} == set(facerec.__all__)


def test_every_public_name_says_what_it_is() -> None:
    for name in PUBLIC:
        if inspect.isclass(getattr(facerec, name)) or inspect.isfunction(getattr(facerec, name)):
            assert inspect.getdoc(getattr(facerec, name)), name


def python(code: str, folder: Path, *paths: Path) -> subprocess.CompletedProcess[str]:
    """Run `code` in a Python of its own that starts in `folder`, with `paths` before what is installed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, paths))}
    command = [sys.executable, "-W", "error::ResourceWarning", "-c", code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_importing_facerec_imports_neither_torch_nor_numpy(tmp_path: Path) -> None:
    done = python("import sys, facerec; print(sorted({'torch', 'numpy', 'cv2'} & set(sys.modules)))", tmp_path)
    assert done.stdout == "[]\n", done.stderr


def readme_block() -> str:
    text = (ROOT / "README.md").read_text("utf-8")
    (block,) = re.findall(r"```python\n(import facerec\n.*?)```", text, re.DOTALL)
    return str(block)


def test_readme_enrols_identifies_and_verifies_in_ten_lines() -> None:
    assert len(readme_block().strip().splitlines()) <= 10
    assert all(f"facerec.{verb}(" in readme_block() for verb in ("enroll", "identify", "verify"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as README's block finds it, with the two portraits that installed packages carry."""
    from facerec.cli.portraits import altered_copies, installed_portraits

    portraits = installed_portraits()
    if len(portraits) < 2:
        pytest.skip("needs the portraits of matplotlib and scikit-image (extra demo)")
    folder = tmp_path_factory.mktemp("photos")
    for person, image in portraits.items():
        (folder / "people" / person).mkdir(parents=True)
        write_image(folder / "people" / person / "1.jpg", image)
    image = portraits["Grace Hopper"]
    for name, picture in (("door", altered_copies(image)["mirrored"]), ("a", image), ("b", image[:, ::-1])):
        write_image(folder / f"{name}.jpg", picture)
    return folder


@pytest.mark.parametrize("place", ["fresh folder", "checkout", "editable install"])
def test_readmes_block_runs_as_it_stands(place: str, photos: Path, request: Any, tmp_path: Path) -> None:
    """From an installed wheel; from the checkout, whose folder hides an installed wheel; from where tests run."""
    where, paths, origin = tmp_path, [], ROOT / "facerec"
    if place != "editable install":
        site = tmp_path / "site"
        with zipfile.ZipFile(request.getfixturevalue("wheel")) as archive:
            archive.extractall(site)
        paths = [site]
        where, origin = (ROOT, origin) if place == "checkout" else (tmp_path, site / "facerec")
    # The gallery is made in a folder of its own, whatever the folder Python starts in.
    work = tmp_path / "work"
    work.mkdir()
    for name in ("people", "door.jpg", "a.jpg", "b.jpg"):
        (work / name).symlink_to(photos / name)
    origins = "print(facerec.__file__, facerec.Box.__module__)"
    code = f"import os, facerec\nos.chdir({str(work)!r})\n{readme_block()}\n{origins}"
    done = python(code, where, *paths)
    assert done.returncode == 0, done.stderr
    *printed, last = done.stdout.splitlines()
    assert last == f"{origin / '__init__.py'} facerec.landmarks.types"
    assert printed[0] == "2 photographs of 2 people"
    assert printed[1].startswith("door.jpg match Grace Hopper match: Grace Hopper"), printed
    assert printed[2].startswith("PairDecision('same: "), printed
    assert (work / "staff.gallery").is_file()


# ---- what the three verbs take ---------------------------------------------------------------------------------------


@pytest.fixture
def gallery(pretend: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Four people enrolled by models that read them off painted pictures."""
    monkeypatch.setattr(recognizer_module, "Recognizer", pretend.PretendRecognizer)
    for person in range(1, 5):
        for picture in range(2):
            pretend.paint(tmp_path / "people" / f"p{person}" / f"{picture}.png", (person, 6, picture))
    summary = facerec.enroll(tmp_path / "people", tmp_path / "staff.gallery")
    assert (summary.enrolled, summary.people) == (8, 4)
    return tmp_path / "staff.gallery"


def test_a_photograph_may_be_a_path_a_text_bytes_or_an_array(gallery: Path) -> None:
    file = gallery.parent / "people" / "p3" / "0.png"
    given: list[Photo] = [file, str(file), file.read_bytes(), facerec.read_image(file)]
    with facerec.Identifier.open(gallery, threshold=0.4) as identifier:
        answers = list(identifier.identify(given))
        assert [answer.person for answer in answers] == ["p3"] * 4
        assert [str(answer.file) for answer in answers] == [str(file), str(file), "photo 2", "photo 3"]
        for one in given:
            assert [answer.person for answer in identifier.identify(one)] == ["p3"]
        assert len(list(identifier.identify(str(gallery.parent / "people")))) == 8
    for one in given:
        assert facerec.verify(one, file, threshold=0.4).decision == "same"


def test_an_identifier_needs_one_line_and_leaves_nothing_open(gallery: Path) -> None:
    import gc
    import warnings

    photo = gallery.parent / "people" / "p1" / "0.png"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        people = [face.person for face in facerec.Identifier.open(str(gallery), threshold=0.4).identify([photo])]
        gc.collect()
    assert people == ["p1"]
    assert facerec.identify(photo, gallery)[0].candidates[0].person == "p1"


def test_what_is_no_photograph_is_answered_with_what_was_expected(gallery: Path, pretend: Any) -> None:
    with facerec.Identifier.open(gallery) as identifier:
        for wrong in (3, [3], [None], {"a": 1}.items()):
            with pytest.raises(facerec.InvalidInputError, match=r"expected photographs: paths .*; got "):
                list(identifier.identify(wrong))  # type: ignore[arg-type]
        with pytest.raises(facerec.InvalidInputError, match=r"expected an image of shape \(H, W, 3\)"):
            list(identifier.identify(np.zeros((4, 4), np.uint8)))
    for not_files in (3, None, b"x", ["a", 3]):
        with pytest.raises(facerec.InvalidInputError, match="expected folders, photographs or tables"):
            facerec.enroll(not_files, gallery)  # type: ignore[arg-type]
    with pytest.raises(facerec.InvalidInputError, match="expected a photograph: its path"):
        facerec.verify(3, gallery, threshold=0.4)  # type: ignore[arg-type]
    for call in (lambda: facerec.identify("a.jpg", 3), lambda: facerec.enroll(gallery.parent / "people", None)):  # type: ignore[arg-type]
        with pytest.raises(facerec.InvalidInputError, match="expected a gallery's file"):
            call()
    with pytest.raises(facerec.InvalidInputError, match="far or threshold, not both"):
        facerec.verify("a.jpg", "b.jpg", far=0.1, threshold=0.4)


def test_a_photograph_that_cannot_be_used_is_an_answer_and_names_its_file(gallery: Path) -> None:
    broken = gallery.parent / "broken.jpg"
    broken.write_bytes(b"\xff\xd8")
    [answer] = facerec.identify(broken, gallery)
    assert (answer.decision, answer.reason, answer.file) == ("none", "unreadable", broken)
    said = facerec.verify(broken, gallery.parent / "people" / "p1" / "0.png", threshold=0.4)
    assert (said.decision, said.reason, len(said.failures)) == ("none", "unreadable", 1)
    assert str(broken) in str(said.failures[0])
    with pytest.raises(facerec.UnusablePhotoError, match=re.escape(f"{broken}: unreadable: ")):
        facerec.read_image(broken)
    with pytest.raises(facerec.UnusablePhotoError, match=r"nowhere\.jpg: unreadable: .*No such file"):
        facerec.read_image("nowhere.jpg")
    with pytest.raises(facerec.InvalidInputError, match=r"expected a photograph: its path .* got float 0\.5"):
        facerec.read_image(0.5)  # type: ignore[arg-type]


def test_what_travels_shows_itself_in_a_line_or_two(gallery: Path) -> None:
    photo = gallery.parent / "people" / "p1" / "0.png"
    [answer] = facerec.identify(photo, gallery)
    face = answer.described
    assert face is not None
    values = [face, face.face, face.face.box, face.face.landmarks, face.fitted, face.fitted.camera, face.texture]
    values += [face.signature, answer, answer.candidates[0], answer.threshold]
    values += [facerec.verify(photo, photo, threshold=0.4), facerec.Decision("match", "match: p1 0.9 >= 0.4")]
    values += [facerec.UndescribedFace(face.face.box, "fit_unstable", "the fit did not settle")]
    for value in values:
        text = repr(value)
        assert text.startswith(type(value).__name__), text
        assert len(text) <= 240, text
        assert "array" not in text, text
        assert "\n" not in text, text
