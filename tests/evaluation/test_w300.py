from pathlib import Path

import numpy as np
import pytest

from facerec.cli.main import run
from facerec.evaluation.protocols.w300 import read_300w_landmarks
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.image import write_image


def test_a_face_of_300w_is_a_picture_with_its_points_and_their_box(tmp_path: Path) -> None:
    points = np.random.default_rng(0).uniform(5, 50, (68, 2)).round(3)
    (tmp_path / "ibug").mkdir()
    rows = "\n".join(f"{x + 1:.3f} {y + 1:.3f}" for x, y in points)
    (tmp_path / "ibug" / "image_003_1.pts").write_text(f"version: 1\nn_points: 68\n{{\n{rows}\n}}")
    write_image(tmp_path / "ibug" / "image_003_1.jpg", np.zeros((60, 60, 3), dtype=np.uint8))
    (one,) = read_300w_landmarks(tmp_path, "challenging")
    assert one.name == "ibug/image_003_1"
    assert np.allclose(one.points, points, atol=1e-4)
    assert np.allclose([one.box.x0, one.box.y1], [points[:, 0].min(), points[:, 1].max()], atol=1e-4)
    with pytest.raises(InvalidInputError, match="lfpw/testset"):
        read_300w_landmarks(tmp_path, "full")


def test_a_part_is_for_sets_that_have_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", "landmarks", "cfp", str(tmp_path), "--part", "full"]) == 2
    assert "--part is for 300w and aflw only" in capsys.readouterr().err
