"""Training of the finder: the verifier's two networks and the rule.

Everything is scored by a network that was not trained on it. The training pictures are divided into two halves, by
person and by background; each of the verifier's networks is trained on one half and scores the other for the rule. The
rule's line is drawn on the backgrounds that the detector's training keeps for its own threshold and never shows the
network.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.detection.detector import DetectorSettings, FaceDetector
from facerec.landmarks.detection.patch_graphs import PATCH_SIZE
from facerec.landmarks.detection.verifier import NETWORKS, Verifier, patch
from facerec.landmarks.detection.verifier_network import VerifierNetwork, runner
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.finder import Evidence, FinderRule, evidence, learn_rule
from facerec.landmarks.image import read_image
from facerec.landmarks.landmarker import Landmarker
from facerec.landmarks.markup import cfp_to_ibug68
from facerec.landmarks.sets.cfp import cfp_full_box, cfp_names, read_cfp
from facerec.landmarks.sets.ytf import person_of_frame, read_points_csv
from facerec.landmarks.training.detector import DetectorTraining
from facerec.landmarks.training.detector_pictures import background_files
from facerec.landmarks.training.people import held_out_people, person_key
from facerec.landmarks.training.picture_set import PictureSet
from facerec.landmarks.training.verifier import VerifierTraining, train_verifier
from facerec.landmarks.types import Box, Image

T = TypeVar("T")
Report = Callable[[str], None]


@dataclass(frozen=True)
class FinderTraining:
    """How verifier and rule of the finder are trained.

    Attributes:
        faces: pictures of people that the detector is run on, half of them profiles; the rule learns from these.
        more_faces: annotated faces beside them that the verifier learns from.
        posed: turned and covered faces beside them that the detector is run on, where there is a set of them.
        backgrounds: photographs without a face, at most; all that there are is best.
        doubtful: score from which what the detector sees in a background is shown to the verifier. Far below the
            candidates' threshold: there are few bolder mistakes.
        doubts: such patches per picture.
        false_share: share of looks at unseen backgrounds that may keep a false face.
        looks: how the unseen backgrounds are looked at: enlarged by these factors, each also mirrored. One picture then
            moves the share by little.
        verifier: see `VerifierTraining`.
    """

    faces: int = 400
    more_faces: int = 1600
    posed: int = 700
    backgrounds: int = 1000
    doubtful: float = 0.1
    doubts: int = 8
    false_share: float = 0.015
    looks: tuple[float, ...] = (1.0, 1.5, 0.7)
    verifier: VerifierTraining = field(default_factory=VerifierTraining)


@dataclass(frozen=True, eq=False)
class Seen:
    """What the models make of one place of one look at a picture.

    Attributes:
        half: which network of the verifier learns the picture, 0 or 1.
        patch: (S, S, 3) uint8 RGB, a little larger than the verifier takes.
        measured: evidence without the verifier's; None below the candidates' threshold.
    """

    half: int
    patch: NDArray[np.uint8]
    measured: Evidence | None


@dataclass(frozen=True, eq=False)
class FinderData:
    """The training data of verifier and rule.

    Attributes:
        faces: true faces.
        others: for each background, what the detector doubts or believes there.
        looks: the same for each look at a background that no detector was trained on.
    """

    faces: list[Seen]
    others: list[list[Seen]]
    looks: list[list[Seen]]


STORED_PATCH = 80
"""Side of a kept patch, px: a patch is enlarged by up to a quarter when it is varied."""


def collect(
    data: Path,
    settings: FinderTraining,
    skip: Collection[str] = (),
    sets: Sequence[Path] = (),
    report: Report = lambda line: None,
) -> FinderData:
    """Run detector and landmark network over the training pictures under `data`.

    Args:
        data: folder with cfp-dataset/, ytf/ and backgrounds/; held-out people and backgrounds stay unread.
        settings: see `FinderTraining`.
        skip: file names of backgrounds in which there is a face after all.
        sets: files of `PictureSet`, faces at other poses and with things worn.
        report: gets a line of progress now and then.
    """
    known = FaceDetector.load()
    detector = FaceDetector.load(settings=DetectorSettings(score_threshold=settings.doubtful))
    landmarker = Landmarker.load()
    sure = known.score_threshold

    def seen(image: Image, boxes: Sequence[Box], half: int) -> list[Seen]:
        bold = [box for box in boxes if box.score >= sure]
        marks = iter(landmarker.locate(image, bold) if bold else [])
        return [
            Seen(half, patch(image, box, STORED_PATCH), evidence(box, next(marks)) if box.score >= sure else None)
            for box in boxes
        ]

    faces: list[Seen] = []
    for number, (image, box, half, detected) in enumerate(_annotated(data, settings, sets)):
        if detected:
            found = [b for b in detector.detect(image) if b.iou(box) >= 0.4][:1]
            faces += seen(image, found, half)
        else:
            faces.append(Seen(half, patch(image, box, STORED_PATCH), None))
        if number % 200 == 199:
            report(f"{number + 1} pictures of people")
    files = [path for path in background_files(data / "backgrounds", held_out=False) if path.name not in skip]
    unseen = set(files[:: DetectorTraining.calibration_every])
    files = _spread(files, settings.backgrounds)
    others, looks = [], []
    for number, path in enumerate(files):
        image = read_image(path)
        half = number % NETWORKS
        if path in unseen:
            for factor in settings.looks:
                for mirrored in (False, True):
                    look = _look(image, factor, mirrored)
                    looks.append(seen(look, detector.detect(look)[: settings.doubts], half))
        else:
            others.append(seen(image, detector.detect(image)[: settings.doubts], half))
        if number % 100 == 99:
            report(f"{number + 1} of {len(files)} backgrounds")
    return FinderData(faces, others, looks)


def learn_finder(
    data: FinderData, settings: FinderTraining, report: Report = lambda line: None
) -> tuple[FinderRule, list[VerifierNetwork], dict[str, float | int]]:
    """Learn the verifier's networks, and the rule from what each says of the half that it did not learn.

    Returns:
        rule; networks; figures: faces and looks, and the shares of them that the rule keeps.

    Raises:
        InvalidInputError: too few faces or false candidates of a half.
    """
    everything = [*data.faces, *(one for picture in [*data.others, *data.looks] for one in picture)]
    if not everything:
        raise InvalidInputError("expected faces and backgrounds to learn from; got none")
    networks = []
    for half in range(NETWORKS):
        own = [one.patch for one in data.faces if one.half == half]
        false = [one.patch for picture in [*data.others, *data.looks] for one in picture if one.half == half]
        trained = replace(settings.verifier, seed=settings.verifier.seed + half)
        networks.append(train_verifier(_stack(own), _stack(false), trained))
        report(f"verifier network {half + 1} of {NETWORKS}: {len(own)} faces, {len(false)} others")
    judges = [Verifier(runner([network])) for network in reversed(networks)]

    def judged(rows: Sequence[Seen]) -> list[Evidence]:
        return [_score_candidates(one, judges[one.half]) for one in rows if one.measured is not None]

    faces = judged(data.faces)
    others, looks = ([judged(picture) for picture in part] for part in (data.others, data.looks))
    rule = learn_rule(faces, others, settings.false_share, looks)
    kept = sum(any(rule.odds(e) >= 0 for e in picture) for picture in looks)
    figures: dict[str, float | int] = {
        "faces": len(faces),
        "faces_kept": round(float(np.mean([rule.odds(e) >= 0 for e in faces])), 4),
        "looks": len(looks),
        "looks_false": round(kept / max(1, len(looks)), 4),
    }
    return rule, networks, figures


def _score_candidates(one: Seen, judge: Verifier) -> Evidence:
    assert one.measured is not None
    seen = one.measured.copy()
    shrunk = cv2.resize(one.patch, (PATCH_SIZE, PATCH_SIZE), interpolation=cv2.INTER_AREA)
    seen[2] = float(judge.log_odds_of(np.asarray(shrunk, dtype=np.uint8)[None])[0])
    return seen


def _annotated(data: Path, settings: FinderTraining, sets: Sequence[Path]) -> Iterator[tuple[Image, Box, int, bool]]:
    """Training people's pictures: image, box of the points, half by person, whether the detector is run."""
    cfp, ytf = data / "cfp-dataset", data / "ytf"
    held = held_out_people(ytf, cfp)
    names = cfp_names(cfp)
    halves = {key: k % NETWORKS for k, key in enumerate(sorted({person_key(name) for name in names}))}
    numbers = [k for k, name in enumerate(names, start=1) if person_key(name) not in held]
    listed = list(read_cfp(cfp, numbers))
    for view in ("frontal", "profile"):
        own = _spread([item for item in listed if item[1] == view], settings.faces // 2 + settings.more_faces // 3)
        detected = {item[0] for item in _spread(own, settings.faces // 2)}
        for path, kind, fiducials in own:
            half = halves[person_key(names[int(path.parent.parent.name) - 1])]
            box = cfp_full_box(cfp_to_ibug68(fiducials, kind)[0], kind)
            yield read_image(path), box, half, path in detected
    frames = [
        row for row in read_points_csv(ytf / "landmarks68.csv") if person_key(person_of_frame(row[0])) not in held
    ]
    people = {key: k for k, key in enumerate(sorted({person_key(person_of_frame(path)) for path, _ in frames}))}
    for path, points in _spread(frames, settings.more_faces // 3):
        person = person_key(person_of_frame(path))
        yield read_image(path), Box.around(points), halves.get(person, people[person] % NETWORKS), False
    for number, one in _spread(
        [(k, known) for known in map(PictureSet.load, sets) for k in range(len(known))], settings.posed
    ):
        picture = one[number]
        half = halves.get(picture.person, zlib.crc32(picture.person.encode()) % NETWORKS)
        yield picture.image, Box.around(picture.points), half, True


def _spread(rows: list[T], count: int) -> list[T]:
    """At most about `count` of `rows`, evenly over all."""
    return rows[:: max(1, len(rows) // max(1, count))]


def _look(image: Image, factor: float, mirrored: bool) -> Image:
    if factor != 1.0:
        way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=way), dtype=np.uint8)
    return np.ascontiguousarray(image[:, ::-1]) if mirrored else image


def _stack(patches: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return np.stack(patches) if patches else np.zeros((0, STORED_PATCH, STORED_PATCH, 3), dtype=np.uint8)
