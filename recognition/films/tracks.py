"""Face tracking in films: association by boxes and signatures, and one template per track.

As in ByteTrack and SORT, each track predicts its box (constant velocity) and the faces of a frame are given to tracks
so that the sum of likeness is largest (Hungarian algorithm). Likeness is the overlap of the boxes and the masked score
between the face and the track's template, so that people who cross keep their tracks. Faces are searched for on key
frames; in between, each is located where its track expects it.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.types import Box, Image
from facerec.landmarks.video import Frame
from facerec.recognition.found_faces import face_picture
from facerec.recognition.recognizer import DescribedFace, UndescribedFace
from facerec.recognition.signature import Signature, pooled


class FilmDescriber(Protocol):
    """The part of a recognizer that tracking needs (see `facerec.recognition.recognizer.Recognizer`)."""

    def describe(self, image: Image, boxes: Sequence[Box] | None = None) -> list[DescribedFace | UndescribedFace]:
        """The faces of a picture, or those at `boxes`."""
        ...


_SAME_TIME = 1e-3
"""Times of frames are as exact as this, seconds."""


@dataclass(frozen=True)
class TrackSettings:
    """How faces are followed.

    Attributes:
        search_every: faces are searched for this often, seconds, and whenever a track lost its face or none is there.
        idle_every: with nobody in view for `lost_after`, this often, seconds: a picture without a face is searched by
            quarter turns, too, which takes longer than real time.
        lost_after: a track whose face was not seen for so long is no longer expected anywhere, seconds.
        back_within: within so many seconds it goes on when a face reaches `sure_score`, wherever that appears; who
            comes back later is a new track.
        least_overlap: of the expected and the found box (IoU), from which on they may be one face.
        least_score: masked score below which a face is not the track's, wherever it is: two strangers of 100 reach
            half of it on average, the same face a moment later 0.8 and more.
        sure_score: masked score from which on a face is the track's wherever it is.
        near_duplicate: a frame is left out of the template when its signature scores this much with the last one that
            counts: it adds weight, not knowledge. The better of the two stays.
        least_frames: tracks seen on fewer frames are dropped: single frames hold most false faces.
    """

    search_every: float = 1.0
    idle_every: float = 0.4
    lost_after: float = 2.0
    back_within: float = 30.0
    least_overlap: float = 0.2
    least_score: float = 0.3
    sure_score: float = 0.6
    near_duplicate: float = 0.98
    least_frames: int = 2

    def __post_init__(self) -> None:
        if min(self.search_every, self.idle_every, self.lost_after, self.back_within) < 0 or self.least_frames < 1:
            raise InvalidInputError(f"expected times of at least 0 s and at least one frame a track; got {self}")


@dataclass(frozen=True, eq=False)
class Sighting:
    """A track's face on one frame.

    Attributes:
        frame, time: of the film (`Frame`).
        box: tight box of the landmarks, px.
        pose: (yaw, pitch, roll), degrees.
        quality, visible_share: see `DescribedFace` and `description.visible_share`.
        signature: of this frame alone.
        picture: the face as a JPEG file's bytes.
        counts: whether it is part of the template; False for near-duplicates.
    """

    frame: int
    time: float
    box: Box
    pose: tuple[float, float, float]
    quality: float
    visible_share: float
    signature: Signature
    picture: bytes
    counts: bool = True

    @property
    def weight(self) -> float:
        """What it weighs in the template: its quality."""
        return max(self.quality, 0.01)


@dataclass(eq=False)
class Track:
    """One face followed through a film.

    Attributes:
        number: from 1, in the order of their first frames.
        sightings: in the order of time.
    """

    number: int
    sightings: list[Sighting] = field(default_factory=list)
    _pooled: tuple[int, Signature] | None = field(default=None, repr=False)

    @property
    def last(self) -> Sighting:
        """The latest sighting."""
        return self.sightings[-1]

    @property
    def counted(self) -> list[Sighting]:
        """The sightings that make the template."""
        return [one for one in self.sightings if one.counts]

    @property
    def template(self) -> Signature:
        """One signature of all frames that count: each cell the mean over those that saw it, weighted by quality."""
        used = self.counted
        if self._pooled is None or self._pooled[0] != len(used):
            made = pooled([one.signature for one in used], [one.weight for one in used])
            self._pooled = len(used), made
        return self._pooled[1]

    def discount(self, sighting: Sighting) -> None:
        """Leave a sighting out of the template."""
        self.sightings[self.sightings.index(sighting)] = replace(sighting, counts=False)
        self._pooled = None

    def expected(self, time: float) -> Box:
        """Where the face should be at `time`: the last box, moved on with the speed between the last two."""
        box = self.last.box
        if len(self.sightings) < 2:
            return box
        before = self.sightings[-2]
        passed = max(self.last.time - before.time, 1e-6)
        ahead = min((time - self.last.time) / passed, 2.0)  # a speed does not last long
        (x, y), (x_before, y_before) = box.center, before.box.center
        # A face moves by a fraction of its size between two frames; more is an error of one of the boxes.
        dx = float(np.clip(ahead * (x - x_before), -box.width, box.width))
        dy = float(np.clip(ahead * (y - y_before), -box.height, box.height))
        return Box(box.x0 + dx, box.y0 + dy, box.x1 + dx, box.y1 + dy, box.score)


class FaceTracker:
    """Follows the faces of one film, frame by frame."""

    def __init__(
        self, describer: FilmDescriber, settings: TrackSettings | None = None, pool: Executor | None = None
    ) -> None:
        """With `pool`, the faces of a frame are described at the same time by its threads."""
        self._describer = describer
        self._pool = pool
        self.settings = settings or TrackSettings()
        self._tracks: list[Track] = []
        self._alive: list[Track] = []
        self._search_at = self._idle_until = -np.inf
        self._seen_at: float | None = None
        self.searched = 0
        """Frames on which faces were searched for."""

    def look(self, frame: Frame) -> list[tuple[Track, Sighting]]:
        """Process the next frame; gives the tracks seen on it."""
        longest = max(self.settings.lost_after, self.settings.back_within)
        alive = [one for one in self._alive if frame.time - one.last.time <= longest]
        expected = [one for one in alive if frame.time - one.last.time <= self.settings.lost_after]
        self._seen_at = frame.time if expected or self._seen_at is None else self._seen_at
        if frame.time - self._seen_at > self.settings.lost_after and frame.time < self._idle_until:
            return []
        if frame.time >= self._search_at or not expected:
            faces = self._describer.describe(frame.image)
            self._search_at = frame.time + self.settings.search_every
            self._idle_until = frame.time + self.settings.idle_every - _SAME_TIME
            self.searched += 1
        else:
            faces = self._describe_at(frame.image, [track.expected(frame.time) for track in expected])
        sightings = _keep_surest([_sighting(frame, face) for face in faces if isinstance(face, DescribedFace)])
        given = associate(alive, sightings, frame.time, self.settings)
        seen = []
        for i, sighting in enumerate(sightings):
            track = given.get(i)
            if track is None:
                track = Track(len(self._tracks) + 1)
                self._tracks.append(track)
                alive.append(track)
            else:
                sighting = self._weigh(track, sighting)
            track.sightings.append(sighting)
            seen.append((track, sighting))
        if any(track.last.time < frame.time for track in expected):
            self._search_at = min(self._search_at, frame.time)  # a face was lost: search on the next frame
        self._alive = alive
        return seen

    @property
    def tracks(self) -> list[Track]:
        """The tracks so far that were seen on enough frames."""
        return [track for track in self._tracks if len(track.sightings) >= self.settings.least_frames]

    def _describe_at(self, image: Image, boxes: Sequence[Box]) -> list[DescribedFace | UndescribedFace]:
        if self._pool is None or len(boxes) < 2:
            return self._describer.describe(image, boxes)
        found = self._pool.map(lambda box: self._describer.describe(image, [box]), boxes)
        return [face for faces in found for face in faces]

    def _weigh(self, track: Track, sighting: Sighting) -> Sighting:
        """The sighting, which counts unless it repeats the last one that does; the better of the two then counts."""
        before = track.counted[-1]
        score, overlap = sighting.signature.score(before.signature)
        same_cells = overlap == sighting.signature.visible.sum()
        duplicate = same_cells and score >= self.settings.near_duplicate
        if duplicate and sighting.quality > before.quality:
            track.discount(before)
        return replace(sighting, counts=not duplicate or sighting.quality > before.quality)


def associate(
    tracks: Sequence[Track], sightings: Sequence[Sighting], time: float, settings: TrackSettings
) -> dict[int, Track]:
    """Which of `sightings` (by place) belongs to which track: the assignment of the largest sum of likeness."""
    if not tracks or not sightings:
        return {}
    from scipy.optimize import linear_sum_assignment  # late: a quarter of a second

    likeness: NDArray[np.float64] = np.zeros((len(tracks), len(sightings)))
    for t, track in enumerate(tracks):
        expected, template = track.expected(time), track.template
        for s, sighting in enumerate(sightings):
            score, cells = template.score(sighting.signature)
            overlap = expected.iou(sighting.box)
            recent = time - track.last.time <= settings.lost_after
            near = recent and overlap >= settings.least_overlap and (score >= settings.least_score or not cells)
            if near or score >= settings.sure_score:
                likeness[t, s] = 1e-6 + (overlap + max(score, 0.0)) / 2
    rows, columns = linear_sum_assignment(likeness, maximize=True)
    return {int(s): tracks[int(t)] for t, s in zip(rows, columns, strict=True) if likeness[t, s] > 0}


def _sighting(frame: Frame, face: DescribedFace) -> Sighting:
    box, points = face.face.box, face.face.landmarks.points
    if np.ptp(points, axis=0).min() > 0:  # the box that the detector would give, and where the next frame begins
        box = Box.around(points, box.score)
    return Sighting(
        frame=frame.number,
        time=frame.time,
        box=box,
        pose=face.fitted.camera.angles,
        quality=face.quality,
        visible_share=float(np.mean(face.texture.visible > 0)),
        signature=face.signature,
        picture=face_picture(frame.image, box),
    )


def _keep_surest(sightings: Sequence[Sighting]) -> list[Sighting]:
    """Of sightings that lie on each other (two tracks that expected one face) the surest."""
    kept: list[Sighting] = []
    for one in sorted(sightings, key=lambda sighting: -sighting.box.score):
        if all(one.box.iou(other.box) < 0.5 for other in kept):
            kept.append(one)
    return kept
