"""A film or a burst as an entry of a gallery: the template of the track of one person."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

from facerec.landmarks.errors import InvalidInputError, UnusablePhotoError
from facerec.landmarks.image import photo_digest
from facerec.recognition.films.tracks import Track
from facerec.recognition.store.protocol import GalleryStore
from facerec.recognition.store.records import NewEntry, NewPhoto

_YAW_STEP = 15.0
"""A gallery keeps one yaw of a film per so many degrees, so that what it says of views that a person lacks is right."""


def film_digest(path: Path) -> str:
    """SHA-256 of a film's bytes; of a folder, over its files' names and digests."""
    if not path.is_dir():
        return photo_digest(path)
    total = hashlib.sha256()
    for file in sorted(one for one in path.iterdir() if one.is_file()):
        total.update(f"{file.name}\0{photo_digest(file)}\n".encode("utf-8", "backslashreplace"))
    return total.hexdigest()


_RIVAL = 0.5
"""A film shows two people when a face that is there at the same time is seen on this share of the frames of the
longest track; somebody who passes by is seen on fewer."""


def choose_track(tracks: Sequence[Track], number: int | None = None) -> Track:
    """The track of the person whom a film is enrolled as.

    Args:
        tracks: of the film.
        number: of the track that somebody chose; None: the one that was seen on most frames.

    Raises:
        UnusablePhotoError: no face was followed ("no_face"), or two people are in the film and nobody chose
            ("multiple_faces").
        InvalidInputError: no track has this number.
    """
    if not tracks:
        raise UnusablePhotoError("no_face", "no face was seen on two frames")
    listed = ", ".join(f"track {track.number} ({len(track.sightings)} frames)" for track in tracks)
    if number is not None:
        chosen = [track for track in tracks if track.number == number]
        if not chosen:
            raise InvalidInputError(f"expected the number of a track of the film; got {number}, there are {listed}")
        return chosen[0]
    longest = max(tracks, key=lambda track: (len(track.sightings), track.last.box.width))
    there = {one.frame for one in longest.sightings}
    often = [one for one in tracks if one is not longest and len(one.sightings) >= _RIVAL * len(longest.sightings)]
    if any(there & {one.frame for one in other.sightings} for other in often):
        raise UnusablePhotoError("multiple_faces", f"several people are in the film: {listed}; --track chooses")
    return longest


def film_photo(path: Path, person: str, track: Track) -> NewPhoto:
    """The film as a gallery's record: one entry, the track's template, with pose, box and quality of its best frame
    and the share of the face that its frames show together.

    Its face is "chosen": nothing that describes photographs again finds it, so a migration asks before it gives it up.
    """
    best = max(track.counted, key=lambda one: one.quality)
    template = track.template
    visible = max(one.visible_share for one in track.counted)
    entry = NewEntry(
        face=track.number - 1,
        signature=template,
        pose=best.pose,
        visible_share=visible if template.regions is None else max(visible, float(template.regions.mean())),
        quality=best.quality,
        box=best.box,
        yaws=tuple(round(yaw) for yaw in _spread([one.pose[0] for one in track.counted])),
    )
    return NewPhoto(person, film_digest(path), Path(path.name), path.absolute(), "chosen", "enrolled", "", (entry,))


def _spread(yaws: Sequence[float]) -> list[float]:
    """Lowest, highest and most frontal of `yaws`, and one of each `_YAW_STEP` degrees between them."""
    steps = {math.floor(yaw / _YAW_STEP): yaw for yaw in yaws}
    return sorted({min(yaws), max(yaws), min(yaws, key=abs), *steps.values()})


def add_film(gallery: GalleryStore, photo: NewPhoto) -> bool:
    """Add what `film_photo` made; False: the gallery has this film of this person already."""
    if any(record.person == photo.person for record in gallery.photos([photo.sha256])):
        return False
    gallery.add([photo])
    return True
