"""Who is in a film: one decision per track, with the frames of its template."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from facerec.recognition.answers import box_json, pose_json
from facerec.recognition.films.tracks import Sighting, Track
from facerec.recognition.identification import Identifier
from facerec.recognition.signature import Decision, Match


@dataclass(frozen=True, eq=False)
class TrackAnswer:
    """The decision on one track.

    Attributes:
        film: name of the film.
        track: the track.
        decision: on its template.
        match: whom it names; None unless "match".
    """

    film: str
    track: Track
    decision: Decision
    match: Match | None

    @property
    def person(self) -> str | None:
        """Who it is, for a match."""
        return self.match.person if self.match else None

    def as_json(self, identifier: Identifier) -> dict[str, Any]:
        """JSON-ready values: one line of `facerec identify FILM --format jsonl`."""
        track, match = self.track, self.match
        yaws = [one.pose[0] for one in track.sightings]
        template = track.template
        return {
            "film": self.film,
            "track": track.number,
            "start": round(track.sightings[0].time, 3),
            "end": round(track.last.time, 3),
            "frames": len(track.sightings),
            "yaw": [round(min(yaws), 1), round(max(yaws), 1)],
            "cells_seen": round(float(template.visible.mean()), 4),
            "decision": self.decision.verdict,
            "person": self.person,
            "reason": self.decision.reason,
            "score": None if match is None else round(match.score, 6),
            "overlap": None if match is None or match.overlap is None else round(match.overlap, 4),
            "threshold": identifier.threshold.as_json(),
            "used": [sighting_json(one) for one in track.counted],
            "versions": dict(identifier.versions),
        }


def sighting_json(one: Sighting) -> dict[str, Any]:
    """A frame of a track as JSON-ready values."""
    return {
        "frame": one.frame,
        "time": round(one.time, 3),
        "box": box_json(one.box),
        "pose": pose_json(one.pose),
        "quality": round(one.quality, 4),
        "weight": round(one.weight, 4),
    }


def frame_lines(film: str, answers: Sequence[TrackAnswer]) -> list[Mapping[str, Any]]:
    """One JSON-ready object for each face of each frame, in the order of time."""
    rows = [(one.time, answer.track.number, one, answer) for answer in answers for one in answer.track.sightings]
    return [
        {"film": film, "track": number, "person": answer.person, "counts": one.counts} | sighting_json(one)
        for _, number, one, answer in sorted(rows, key=lambda row: row[:2])
    ]


def decide_tracks(film: str, tracks: Sequence[Track], identifier: Identifier) -> list[TrackAnswer]:
    """One decision for each track. A person is in one place at a time: of tracks of one name that share a time, the
    one that scores highest keeps it."""
    decided = [faces[0] for faces in identifier.decide_signatures([[track.template] for track in tracks])]
    answers = [TrackAnswer(film, track, *said) for track, said in zip(tracks, decided, strict=True)]
    ranked = sorted(answers, key=lambda answer: -(answer.match.score if answer.match else -math.inf))
    holders: list[TrackAnswer] = []
    final: dict[int, TrackAnswer] = {}
    for answer in ranked:
        times = {one.frame for one in answer.track.sightings}
        holder = next(
            (
                other
                for other in holders
                if other.person == answer.person and times & {one.frame for one in other.track.sightings}
            ),
            None,
        )
        if answer.match is not None and holder is not None:
            reason = (
                f"unknown: {answer.person} {answer.match.score:.2f} is track {holder.track.number} at the same time"
            )
            answer = TrackAnswer(film, answer.track, Decision("unknown", reason), None)
        elif answer.match is not None:
            holders.append(answer)
        final[answer.track.number] = answer
    return [final[track.number] for track in tracks]
