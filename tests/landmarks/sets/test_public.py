from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.image import write_image
from facerec.landmarks.markup import COFW29_MIRROR, IBUG68_MIRROR
from facerec.landmarks.sets.public import (
    COFW29_FROM_IBUG68,
    W300_PARTS,
    cofw_from_ibug68,
    read_300w,
    read_cofw,
    read_helen,
    read_pts,
)
from facerec.landmarks.training.packs import HIDDEN, VISIBLE, pack_faces


def picture(seed: int, height: int = 60, width: int = 80) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def pts(points: np.ndarray) -> str:
    rows = "\n".join(f"{x + 1:.6f} {y + 1:.6f}" for x, y in points)
    return f"version: 1\nn_points:  {len(points)}\n{{\n{rows}\n}}\n"


def w300(folder: Path) -> dict[str, np.ndarray]:
    """A 300-W of one face per folder."""
    truth = {}
    for number, place in enumerate(sorted({p for part in W300_PARTS.values() for p in part})):
        (folder / place).mkdir(parents=True)
        truth[f"{place}/a_1"] = np.random.default_rng(number).uniform(5, 55, (68, 2))
        (folder / place / "a_1.pts").write_text(pts(truth[f"{place}/a_1"]))
        write_image(folder / place / "a_1.png", picture(number))
    return truth


def test_the_parts_of_300w_are_the_papers(tmp_path: Path) -> None:
    truth = w300(tmp_path)
    found = {part: {face.name for face in read_300w(tmp_path, part)} for part in W300_PARTS}  # type: ignore[arg-type]
    assert found["train"] == {"lfpw/trainset/a_1", "helen/trainset/a_1", "afw/a_1"}
    assert found["common"] == {"lfpw/testset/a_1", "helen/testset/a_1"}
    assert found["challenging"] == {"ibug/a_1"}
    assert found["full"] == found["common"] | found["challenging"]
    assert not found["train"] & found["full"]
    for face in read_300w(tmp_path, "train"):
        assert np.allclose(face.points, truth[face.name], atol=1e-4)
        assert face.image().shape == (60, 80, 3)


def test_annotations_of_another_form_are_refused_by_name(tmp_path: Path) -> None:
    for text in ("", "n_points: 2\n{\n1 2\n}\n", "n_points: 1\n{\n1 x\n}\n", "n_points: 1\n{\n1 2\n"):
        (tmp_path / "a.pts").write_text(text)
        with pytest.raises(InvalidInputError, match=r"a\.pts"):
            read_pts(tmp_path / "a.pts")
    with pytest.raises(InvalidInputError, match="ibug"):
        list(read_300w(tmp_path, "challenging"))
    (tmp_path / "ibug").mkdir()
    (tmp_path / "ibug" / "b.pts").write_text(pts(np.ones((68, 2))))
    with pytest.raises(InvalidInputError, match="picture"):
        list(read_300w(tmp_path, "challenging"))


def cofw_rows(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    points = rng.uniform(10, 50, (n, 2, 29))
    flags = rng.random((n, 29)) < 0.25
    phis = np.concatenate([points.reshape(n, 58) + 1, flags], axis=1)
    return phis, np.tile([[6.0, 8.0, 50.0, 48.0]], (n, 1))


def check_cofw(file: Path, phis: np.ndarray, pictures: list[np.ndarray]) -> None:
    faces = list(read_cofw(file))
    assert len(faces) == len(pictures)
    for face, phi, own in zip(faces, phis, pictures, strict=True):
        assert np.allclose(face.points[:, 0], phi[:29] - 1, atol=1e-4)
        assert np.allclose(face.points[:, 1], phi[29:58] - 1, atol=1e-4)
        assert np.array_equal(face.hidden, phi[58:] > 0)
        expected = own if own.ndim == 3 else np.repeat(own[:, :, None], 3, axis=2)
        assert np.array_equal(face.image(), expected)
        assert face.box is not None
        assert (face.box.x0, face.box.y0, face.box.width) == (5, 7, 50)
    pack = pack_faces(faces, "cofw")
    assert pack.points.shape == (len(faces), 29, 2)
    assert np.array_equal(pack.state == HIDDEN, phis[:, 58:] > 0)
    assert (pack.state[pack.state != HIDDEN] == VISIBLE).all()


def test_cofw_is_read_from_matlab_5(tmp_path: Path) -> None:
    phis, boxes = cofw_rows(3)
    pictures = [picture(0)[:, :, 0], picture(1)[:, :, 0], picture(2)]
    cells = np.empty((3, 1), dtype=object)
    for number, one in enumerate(pictures):
        cells[number, 0] = one
    savemat(tmp_path / "COFW_test.mat", {"IsT": cells, "phisT": phis, "bboxesT": boxes})
    check_cofw(tmp_path / "COFW_test.mat", phis, pictures)


def test_cofw_is_read_from_matlab_7_3(tmp_path: Path) -> None:
    """As MATLAB writes it: text header of 512 bytes, axes in the opposite order, cells as references."""
    h5py = pytest.importorskip("h5py", reason="needs facerec[cofw]")
    phis, boxes = cofw_rows(2)
    pictures = [picture(0)[:, :, 0], picture(1)]
    file = tmp_path / "COFW_train_color.mat"
    with h5py.File(file, "w", userblock_size=512) as content:
        held = content.create_group("#refs#")
        references = np.empty((1, 2), dtype=h5py.ref_dtype)
        for number, one in enumerate(pictures):
            references[0, number] = held.create_dataset(f"p{number}", data=one.T).ref
        content.create_dataset("IsTr", data=references, dtype=h5py.ref_dtype)
        content.create_dataset("phisTr", data=phis.T)
        content.create_dataset("bboxesTr", data=boxes.T)
    with file.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124))
    check_cofw(file, phis, pictures)


def test_other_matlab_files_are_refused(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"x": np.zeros(3)})
    with pytest.raises(InvalidInputError, match="phisTr"):
        list(read_cofw(tmp_path / "a.mat"))
    (tmp_path / "b.mat").write_bytes(b"no such thing")
    with pytest.raises(InvalidInputError, match=r"b\.mat"):
        list(read_cofw(tmp_path / "b.mat"))
    with pytest.raises(InvalidInputError, match="cannot read"):
        list(read_cofw(tmp_path / "none.mat"))


def test_helen_is_read_by_its_names_files(tmp_path: Path) -> None:
    (tmp_path / "annotation").mkdir()
    (tmp_path / "helen_1").mkdir()
    truth = {}
    for number, name in enumerate(("100_1", "200_1", "300_1")):
        truth[name] = np.random.default_rng(number).uniform(5, 55, (194, 2))
        rows = "\n".join(f"{x:.6f} , {y:.6f}" for x, y in truth[name])
        (tmp_path / "annotation" / f"{number + 1}.txt").write_text(f"{name}\n{rows}\n")
        write_image(tmp_path / "helen_1" / f"{name}.jpg", picture(number))
    (tmp_path / "trainnames.txt").write_text("100_1\n300_1\n")
    (tmp_path / "testnames.txt").write_text("200_1\n")
    assert [face.name for face in read_helen(tmp_path, "train")] == ["100_1", "300_1"]
    (face,) = read_helen(tmp_path, "test")
    assert np.allclose(face.points, truth["200_1"], atol=1e-4)
    assert pack_faces([face], "helen").points.shape == (1, 194, 2)
    (tmp_path / "testnames.txt").write_text("400_1\n")
    with pytest.raises(InvalidInputError, match="400_1"):
        list(read_helen(tmp_path, "test"))
    (tmp_path / "annotation" / "1.txt").write_text("100_1\n1 , 2\n")
    with pytest.raises(InvalidInputError, match="194 points"):
        list(read_helen(tmp_path, "train"))


def test_reading_cofw_off_68_points_commutes_with_mirroring() -> None:
    shape = np.random.default_rng(0).uniform(0, 100, (68, 2))
    mirrored = shape[IBUG68_MIRROR] * [-1, 1]
    expected = cofw_from_ibug68(shape)[COFW29_MIRROR] * [-1, 1]
    assert np.allclose(cofw_from_ibug68(mirrored), expected, equal_nan=True)
    assert np.flatnonzero(np.isnan(expected[:, 0])).tolist() == [5, 7]
    assert len(COFW29_FROM_IBUG68) == 27
    assert np.array_equal(COFW29_MIRROR[COFW29_MIRROR], np.arange(29))
