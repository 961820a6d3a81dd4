"""A film or a burst of one person as an entry of a gallery: the template of its longest track."""

from __future__ import annotations

import hashlib
from pathlib import Path

from facerec.landmarks.errors import UnusablePhotoError
from facerec.landmarks.image import photo_digest
from facerec.recognition.films.tracks import Track
from facerec.recognition.store.protocol import GalleryStore
from facerec.recognition.store.records import NewEntry, NewPhoto


def film_digest(path: Path) -> str:
    """SHA-256 of a film's bytes; of a folder, over its files' names and digests."""
    if not path.is_dir():
        return photo_digest(path)
    total = hashlib.sha256()
    for file in sorted(one for one in path.iterdir() if one.is_file()):
        total.update(f"{file.name}\0{photo_digest(file)}\n".encode("utf-8", "backslashreplace"))
    return total.hexdigest()


def longest_track(tracks: list[Track]) -> Track:
    """The track that was seen on most frames, of equals the larger face: whom a film of one person is about.

    Raises:
        UnusablePhotoError: no face was followed ("no_face").
    """
    if not tracks:
        raise UnusablePhotoError("no_face", "no face was seen on two frames")
    return max(tracks, key=lambda track: (len(track.sightings), track.last.box.width))


def film_photo(path: Path, person: str, track: Track) -> NewPhoto:
    """The film as a gallery's record: one entry, the track's template, with pose, box and quality of its best frame
    and the share of the face that its frames show together.

    Its face is "chosen": nothing that describes photographs again finds it, so a migration asks before it gives it up.
    """
    best = max(track.counted, key=lambda one: one.quality)
    template = track.template
    visible = max(one.visible_share for one in track.counted)
    entry = NewEntry(
        face=0,
        signature=template,
        pose=best.pose,
        visible_share=visible if template.regions is None else max(visible, float(template.regions.mean())),
        quality=best.quality,
        box=best.box,
    )
    return NewPhoto(person, film_digest(path), Path(path.name), path.absolute(), "chosen", "enrolled", "", (entry,))


def add_film(gallery: GalleryStore, photo: NewPhoto) -> bool:
    """Add what `film_photo` made; False: the gallery has this film of this person already."""
    if any(record.person == photo.person for record in gallery.photos([photo.sha256])):
        return False
    gallery.add([photo])
    return True
