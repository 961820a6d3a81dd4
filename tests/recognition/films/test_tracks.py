"""Faces followed from frame to frame, and one decision a track."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from facerec.landmarks.types import Box, Image
from facerec.landmarks.video import Frame
from facerec.recognition.films.tracks import FaceTracker, Sighting, Track, TrackSettings, associate
from facerec.recognition.recognizer import DescribedFace, UndescribedFace
from facerec.recognition.signature import pooled

Frames = Sequence[Mapping[int, tuple[float, float]]]


class MovingFaces:
    """A describer of frames that are dictionaries of person -> (x, yaw); the image only carries the frame's number."""

    def __init__(self, pretend: ModuleType, frames: Frames) -> None:
        self.frames, self.pretend = frames, pretend
        self.searches = 0

    def describe(self, image: Image, boxes: Sequence[Box] | None = None) -> list[DescribedFace | UndescribedFace]:
        self.searches += boxes is None
        number = int(image[0, 0, 0])
        faces: list[DescribedFace | UndescribedFace] = []
        for person, (x, yaw) in self.frames[number].items():
            face = self.pretend.PretendRecognizer()._face(_painted(person, yaw, number), 0)
            points = face.face.landmarks.points.copy()
            points[:, 0] += x
            points[:, 1] = np.linspace(10, 30, 68)
            landmarks = type(face.face.landmarks)(points, face.face.landmarks.confidence, face.face.landmarks.visible)
            there = Box.around(points, 0.9)
            if boxes is None or any(there.iou(box) > 0.2 for box in boxes):
                faces.append(
                    DescribedFace(
                        type(face.face)(image, there, landmarks),
                        face.fitted,
                        face.texture,
                        face.signature,
                        face.quality,
                    )
                )
        return faces


def _painted(person: int, yaw: float, picture: int) -> Image:
    pixels = np.zeros((24, 24, 3), dtype=np.uint8)
    pixels[0, :, 0] = 1
    pixels[1, :] = person, round(yaw / 15) + 6, picture
    return pixels


def follow(
    pretend: ModuleType,
    frames: Frames,
    step: float = 0.2,
    settings: TrackSettings | None = None,
    pool: ThreadPoolExecutor | None = None,
) -> tuple[FaceTracker, MovingFaces]:
    describer = MovingFaces(pretend, frames)
    tracker = FaceTracker(describer, settings, pool)
    for number in range(len(frames)):
        image = np.full((60, 200, 3), number, dtype=np.uint8)
        tracker.look(Frame(number, number * step, image))
    return tracker, describer


def test_people_who_cross_keep_their_tracks(pretend: ModuleType) -> None:
    frames = [{1: (5 + 8 * k, 0), 2: (165 - 8 * k, 0)} for k in range(20)]
    tracker, _ = follow(pretend, frames)
    # Where one hides the other, one face is seen.
    assert sorted(len(track.sightings) for track in tracker.tracks) == [19, 20]
    for track, person in zip(tracker.tracks, (1, 2), strict=True):
        for one in track.sightings:
            assert one.signature.score(pretend.signature(person, 0.0, one.frame))[0] == pytest.approx(1)


def test_faces_described_at_the_same_time_give_the_same_tracks(pretend: ModuleType) -> None:
    frames = [{1: (5 + 8 * k, 0), 2: (165 - 8 * k, 0)} for k in range(20)]
    alone, _ = follow(pretend, frames)
    with ThreadPoolExecutor(2) as pool:
        together, _ = follow(pretend, frames, pool=pool)
    seen = [[[(s.frame, s.box.x0, s.counts) for s in track.sightings] for track in t.tracks] for t in (alone, together)]
    assert seen[0] == seen[1]


def test_faces_are_searched_for_on_key_frames_and_when_one_is_lost(pretend: ModuleType) -> None:
    steady = [{1: (20, 0)} for _ in range(11)]
    assert follow(pretend, steady)[1].searches == 3  # at 0, 1 and 2 seconds
    jump = [{1: (20, 0)}] * 2 + [{1: (120, 0)}] * 2
    tracker, describer = follow(pretend, jump)
    assert describer.searches == 2  # not there where it was expected: searched for on the next frame
    assert len(tracker.tracks) == 1


def test_an_empty_scene_is_searched_less_often_and_who_enters_is_found(pretend: ModuleType) -> None:
    tracker, describer = follow(pretend, [{}] * 31)  # at 0 to 6 seconds
    assert describer.searches == 11 + 10
    tracker, describer = follow(pretend, [{}] * 31 + [{1: (20, 0)}] * 4)
    assert [len(track.sightings) for track in tracker.tracks] == [3]
    burst, _ = follow(pretend, [{}] * 4 + [{1: (20, 0)}, {}, {1: (20, 0)}])
    assert [len(track.sightings) for track in burst.tracks] == [2]


def test_who_comes_back_goes_on_with_the_track_and_who_is_away_for_long_is_a_new_one(pretend: ModuleType) -> None:
    frames = [{1: (20, 0)}] * 3 + [{}] * 20 + [{1: (120, 0)}] * 3
    assert len(follow(pretend, frames)[0].tracks) == 1
    assert len(follow(pretend, frames, settings=TrackSettings(back_within=3.0))[0].tracks) == 2
    # A place is held for a moment only: somebody else who appears there later is somebody else.
    frames = [{1: (20, 0)}] * 3 + [{}] * 20 + [{2: (20, 0)}] * 3
    assert len(follow(pretend, frames)[0].tracks) == 2


def test_a_template_completes_itself_and_near_duplicates_do_not_count(pretend: ModuleType) -> None:
    frames = [{1: (20, -75)}, {1: (20, 0)}, {1: (20, 75)}]
    (track,) = follow(pretend, frames)[0].tracks
    assert track.template.visible.all()
    assert not track.sightings[0].signature.visible.all()
    weights = [one.weight for one in track.sightings]
    np.testing.assert_allclose(
        track.template.cells, pooled([one.signature for one in track.sightings], weights).cells, atol=1e-6
    )

    class Frozen(MovingFaces):
        def describe(self, image: Image, boxes: Sequence[Box] | None = None) -> list[DescribedFace | UndescribedFace]:
            return super().describe(np.zeros_like(image), boxes)

    tracker = FaceTracker(Frozen(pretend, [{1: (20, 0)}]))
    for number in range(5):
        tracker.look(Frame(number, number * 0.2, np.full((60, 200, 3), number, dtype=np.uint8)))
    assert [one.counts for one in tracker.tracks[0].sightings] == [True, False, False, False, False]


def test_of_near_duplicates_the_best_one_counts(pretend: ModuleType) -> None:
    class Sharper(MovingFaces):
        def describe(self, image: Image, boxes: Sequence[Box] | None = None) -> list[DescribedFace | UndescribedFace]:
            quality = (0.3, 0.6, 0.9, 0.5)[int(image[0, 0, 0])]
            faces = super().describe(np.zeros_like(image), boxes)
            return [replace(face, quality=quality) for face in faces if isinstance(face, DescribedFace)]

    tracker = FaceTracker(Sharper(pretend, [{1: (20, 0)}]))
    for number in range(4):
        ((track, _),) = tracker.look(Frame(number, number * 0.2, np.full((60, 200, 3), number, dtype=np.uint8)))
        assert track.template is track.template
    assert [one.counts for one in track.sightings] == [False, False, True, False]
    assert [one.quality for one in track.counted] == [0.9]


def test_a_single_sighting_is_no_track(pretend: ModuleType) -> None:
    assert follow(pretend, [{1: (20, 0)}, {}])[0].tracks == []


def test_a_stranger_in_the_same_place_does_not_take_over_the_track(pretend: ModuleType) -> None:
    frames = [{1: (20, 0)}] * 3 + [{2: (20, 0)}] * 3
    assert [len(track.sightings) for track in follow(pretend, frames)[0].tracks] == [3, 3]


def test_the_better_frame_weighs_more(pretend: ModuleType) -> None:
    one, other = pretend.signature(1, 0.0, 0), pretend.signature(1, 0.0, 1)
    even, leaning = pooled([one, other]), pooled([one, other], [9.0, 1.0])
    assert leaning.score(one)[0] > even.score(one)[0] > even.score(pretend.signature(2, 0.0, 0))[0]
    with pytest.raises(ValueError, match="weight"):
        pooled([one, other], [1.0, 0.0])


def test_association_gives_each_face_to_one_track(pretend: ModuleType) -> None:
    def sighting(person: int, x: float, picture: int) -> Sighting:
        return Sighting(
            0, 0.0, Box(x, 0, x + 20, 20), (0, 0, 0), 0.8, 1.0, pretend.signature(person, 0.0, picture), b""
        )

    tracks = [Track(1, [sighting(1, 0, 0)]), Track(2, [sighting(2, 30, 0)])]
    given = associate(tracks, [sighting(2, 28, 1), sighting(1, 2, 1), sighting(3, 90, 1)], 0.2, TrackSettings())
    assert {place: track.number for place, track in given.items()} == {0: 2, 1: 1}
