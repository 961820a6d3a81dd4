"""One signature for several pictures, by which a template of IJB is compared."""

from __future__ import annotations

from collections.abc import Sequence

from facerec.evaluation.fits import Stage
from facerec.evaluation.protocols.recognition import Template
from facerec.evaluation.signatures import PictureResult
from facerec.landmarks.errors import InvalidInputError
from facerec.recognition.signature import Signature, pooled

# How far a failed picture got; a template without any signature fails as the picture that got farthest.
_ORDER: tuple[Stage, ...] = ("read", "find", "fit", "describe")


def pool(signatures: Sequence[Signature], media: Sequence[str]) -> Signature:
    """The cell-wise mean over media of the mean over each medium's pictures, of unit length again.

    A cell is seen when any picture saw it, so a left and a right profile complete each other. Frames of one video are
    one medium: a hundred of them say no more than a few photographs.

    Args:
        signatures: of one contract, at least one.
        media: which medium each is from.
    """
    if not signatures or len(media) != len(signatures):
        raise InvalidInputError(
            f"expected signatures, each with its medium; got {len(signatures)} signatures and {len(media)} media"
        )
    media_of: dict[str, list[Signature]] = {}
    for signature, medium in zip(signatures, media, strict=True):
        media_of.setdefault(medium, []).append(signature)
    return pooled([pooled(frames) for frames in media_of.values()])


def pooled_result(template: Template, results: Sequence[PictureResult]) -> PictureResult:
    """The result for a template: found when any of its pictures was, described when any of them was.

    Yaw and pitch are those of its most frontal described picture.

    Args:
        template: which pictures, of which media.
        results: of all the protocol's pictures.
    """
    own = [results[index] for index in template.pictures]
    described = [one for one in own if one.signature is not None]
    faces = sum(one.faces for one in own)
    seconds = sum(one.seconds for one in own)
    if not described:
        last = max(own, key=lambda one: _ORDER.index(one.failed_at or "read"))
        return PictureResult(None, faces, last.reason, last.detail, last.failed_at, seconds=seconds)
    media = [m for m, one in zip(template.media, own, strict=True) if one.signature is not None]
    frontal = min(described, key=lambda one: abs(one.yaw or 0.0))
    return PictureResult(
        signature=pool([one.signature for one in described if one.signature is not None], media),
        faces=faces,
        reason=None,
        detail="",
        yaw=frontal.yaw,
        pitch=frontal.pitch,
        roll=frontal.roll,
        quality=frontal.quality,
        seconds=seconds,
    )
