"""Answers other than 200: the status and code of each kind of error."""

from __future__ import annotations

from starlette.responses import JSONResponse

from facerec.landmarks.errors import ContractError, FacerecError, UnusablePhotoError
from facerec.recognition.store.faults import DamagedGalleryError, NameTakenError, NoGalleryError, UnknownPersonError
from facerec.recognition.store.milvus_schema import MilvusError
from facerec.recognition.store.writer_lock import GalleryLockedError, GalleryWriteError

# Errors that the client can correct are 4xx, those that only the operator can correct are 5xx. The first match counts.
_STATUSES: tuple[tuple[type[FacerecError], int, str], ...] = (
    (UnknownPersonError, 404, "unknown_person"),
    (NameTakenError, 409, "name_taken"),
    (GalleryLockedError, 409, "locked"),
    (NoGalleryError, 503, "no_gallery"),
    (DamagedGalleryError, 500, "gallery_damaged"),
    (GalleryWriteError, 503, "not_writable"),
    (ContractError, 503, "contract"),
    (MilvusError, 503, "store_unavailable"),
)


class ApiError(Exception):
    """An answer other than 200: status, stable code and one sentence."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail

    def response(self) -> JSONResponse:
        """As JSON: {"error": {"code", "detail"}}."""
        headers = {"Retry-After": "1"} if self.status in (429, 503) or self.code == "locked" else {}
        return JSONResponse({"error": {"code": self.code, "detail": self.detail}}, self.status, headers)

    @staticmethod
    def of(error: FacerecError) -> ApiError:
        """The answer for an `error` that a verb raised."""
        if isinstance(error, UnusablePhotoError):
            return ApiError(422, error.reason, error.detail)
        for kind, status, code in _STATUSES:
            if isinstance(error, kind):
                return ApiError(status, code, str(error))
        return ApiError(422, "bad_request", str(error))
