"""The HTTP application behind `facerec serve`: the command line's verbs and JSON."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import hashlib
import hmac
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import cv2
from fastapi import FastAPI, File, Form, Query, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from facerec.cli.landmarks import overlaid
from facerec.frontalize.face_model import FaceModel
from facerec.frontalize.render import frontal_view
from facerec.landmarks.errors import ContractError, FacerecError, UnusablePhotoError
from facerec.landmarks.image import read_image
from facerec.landmarks.models import LANDMARK_MODELS
from facerec.landmarks.types import Image
from facerec.recognition.answers import landmarks_json, person_json
from facerec.recognition.description import Describer
from facerec.recognition.enrolment import enroll_upload
from facerec.recognition.identification import IdentificationSettings, Identifier, ProbeFace
from facerec.recognition.pair import compare_photos, pair_threshold
from facerec.recognition.recognizer import DescribedFace, largest_face
from facerec.recognition.search import Search
from facerec.recognition.store.galleries import open_gallery, search_of
from facerec.recognition.store.protocol import GalleryStore
from facerec.recognition.store.records import person_name
from facerec.recognition.store.writer_lock import GalleryLockedError
from facerec.recognition.threshold import Threshold, threshold_of

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

Photo = Annotated[UploadFile, File(description="The photograph: JPEG, PNG, WebP, BMP, TIFF or GIF.")]

_PAGE = Path(__file__).with_name("serve.html.j2")
_OPEN_PATHS = ("/", "/health", "/docs", "/openapi.json")
_MOST_CLIENTS = 10_000


@dataclass(frozen=True)
class ServeSettings:
    """What the service takes on.

    Attributes:
        workers: photographs described at a time. The commands take one a core (`facerec.landmarks.device.share_cores`).
        queue: requests that may wait for a worker; the next is told "busy" at once. 16 wait some seconds on a CPU.
        per_minute: requests of one client address a minute, with as many saved up.
        max_bytes: of a request's body. 20 MB hold any photograph a phone takes.
        write_wait_s: how long an enrolment waits for another writer, seconds.
    """

    workers: int = 1
    queue: int = 16
    per_minute: int = 600
    max_bytes: int = 20 << 20
    write_wait_s: float = 5.0


class ApiError(Exception):
    """An answer other than 200: status, stable code and one sentence."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail

    def response(self) -> JSONResponse:
        """As JSON: {"error": {"code", "detail"}}."""
        headers = {"Retry-After": "1"} if self.status in (429, 503) else {}
        return JSONResponse({"error": {"code": self.code, "detail": self.detail}}, self.status, headers)


@dataclass(eq=False)
class _Snapshot:
    """One state of the gallery with all that is made of it, and how many requests use it."""

    state: str
    gallery: GalleryStore
    search: Search
    threshold: Threshold
    versions: dict[str, str]
    users: int = 0


class Service:
    """The verbs. Stateless but for the gallery's snapshot, which follows the file; threads share it."""

    def __init__(self, describer: Describer, gallery: Path | str, device: str = "cpu") -> None:
        """Serve `gallery` (a file, or milvus:URI) by the models of `describer`, searching on `device`."""
        self.describer = describer
        self.path = gallery
        self._device = device
        self._landmarks = str(json.loads(describer.contract.as_json()).get("landmarks", LANDMARK_MODELS[0]))
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._current = self._open()

    def close(self) -> None:
        """Close the gallery."""
        self._current.gallery.close()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[_Snapshot]:
        """The gallery's present state, for as long as a request needs it."""
        with self._lock:
            if self._state() != self._current.state:
                old, self._current = self._current, self._open()
                if not old.users:
                    old.gallery.close()
            snapshot = self._current
            snapshot.users += 1
        try:
            yield snapshot
        finally:
            with self._lock:
                snapshot.users -= 1
                self._idle.notify_all()
                if not snapshot.users and snapshot is not self._current:
                    snapshot.gallery.close()

    def identify(self, photo: bytes, name: str, candidates: int, pictures: bool) -> dict[str, Any]:
        """The records of `facerec identify --format jsonl`; with `pictures` also what lies between."""
        with self.snapshot() as now:
            settings = IdentificationSettings(candidates)
            probes = Identifier(self.describer, now.search, now.threshold, settings).identify_bytes(photo, Path(name))
            faces = [probe.as_json(now.versions) for probe in probes]
        if pictures:
            for face, probe in zip(faces, probes, strict=True):
                face["pictures"] = _pictures(probe)
        return {"faces": faces}

    def verify(self, first: tuple[str, bytes], second: tuple[str, bytes]) -> dict[str, Any]:
        """What `facerec verify --json` says."""
        contract = self.describer.contract.digest
        (name, photo), (other_name, other) = first, second
        pair = compare_photos(self.describer, photo, other, pair_threshold(contract), (name, other_name))
        return pair.as_json({"facerec": version("facerec"), "contract": contract})

    def landmarks(self, photo: bytes, name: str) -> dict[str, Any]:
        """The records of `facerec landmarks --format jsonl`."""
        found = [face for face in self.describer.describe(read_image(photo)) if isinstance(face, DescribedFace)]
        if not found:
            raise UnusablePhotoError("no_face", "no face was found")
        return {
            "faces": [{"file": name} | landmarks_json(face.face, i, self._landmarks) for i, face in enumerate(found)]
        }

    def frontalize(self, photo: bytes) -> bytes:
        """The frontal view of the largest face, PNG."""
        face = largest_face(self.describer.describe(read_image(photo)))
        return _png(frontal_view(face.texture, face.fitted, _face_model()))

    def enroll(self, photo: bytes, name: str, person: str, wait_s: float) -> dict[str, Any]:
        """Enrol one photograph of `person`; one that cannot be used is told, and kept nowhere."""
        who, sha256 = person_name(person), hashlib.sha256(photo).hexdigest()
        if not who:
            raise ApiError(422, "bad_request", "expected a person's name; got an empty one")
        writer = functools.partial(open_gallery, self.path, self.describer.contract, write=True, wait_s=wait_s)
        outcome = enroll_upload(photo, name, who, self.describer, writer)
        return {
            "person": who,
            "sha256": sha256,
            "outcome": outcome.reason or "enrolled",
            "detail": outcome.detail,
            "entries": len(outcome.entries),
        }

    def people(self) -> dict[str, Any]:
        """The people of the gallery, as `facerec gallery list --json` has them."""
        with self.snapshot() as now:
            return {
                "people": [person_json(p) for p in now.gallery.people()],
                "versions": now.versions,
            }

    def mark(self, person: str, nobody: bool, wait_s: float) -> dict[str, Any]:
        """Make a person a known stranger, or a person again."""
        who = person_name(person)
        with open_gallery(self.path, self.describer.contract, write=True, wait_s=wait_s) as gallery:
            gallery.mark([who], nobody)
        return {"person": who, "nobody": nobody}

    def remove(self, person: str, wait_s: float) -> dict[str, Any]:
        """Remove a person for good. The service's snapshot of a file holds its old bytes, so it is closed meanwhile."""
        who = person_name(person)
        gallery = open_gallery(self.path, self.describer.contract, write=True, wait_s=wait_s)
        with self._lock:
            try:
                with gallery:
                    self._idle.wait_for(lambda: not self._current.users, wait_s)
                    if not self._current.users:
                        self._current.gallery.close()
                    try:
                        gallery.remove_people([who])
                        gone = gallery.erases_at_once
                    except GalleryLockedError:  # removed; the bytes go with the last reader of the old state
                        gone = False
            finally:
                self._current = self._open()
        return {"removed": who, "bytes_gone": gone}

    def _state(self) -> str:
        """The gallery's present state."""
        return self._current.gallery.current_state()

    def _open(self) -> _Snapshot:
        gallery = open_gallery(self.path, self.describer.contract)
        try:
            state = gallery.state  # before what is made of it: a change meanwhile is seen by the next request
            threshold = threshold_of(gallery)
            versions = {
                "facerec": version("facerec"),
                "contract": gallery.contract_digest,
                "gallery": gallery.digest(),
            }
            return _Snapshot(state, gallery, search_of(gallery, device=self._device), threshold, versions)
        except BaseException:
            gallery.close()
            raise


def create_app(service: Service, settings: ServeSettings, token: str = "", local: bool = True) -> FastAPI:
    """The application.

    Args:
        service: the verbs.
        settings: its limits.
        token: what clients must send; empty: none is asked for.
        local: bound to this machine's own address; other names for it are then refused, so that a page from elsewhere
            cannot reach it through a name of its own.
    """
    pool = ThreadPoolExecutor(settings.workers, thread_name_prefix="facerec")
    places = settings.workers + settings.queue
    taken = 0

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> Any:
        yield
        pool.shutdown(cancel_futures=True)
        service.close()

    # No CDN: the page that FastAPI would serve at /docs loads its script from one.
    app = FastAPI(title="facerec", version=version("facerec"), docs_url=None, redoc_url=None, lifespan=lifespan)

    async def run(verb: Callable[..., Any], *arguments: Any) -> Any:
        nonlocal taken
        if taken >= places:
            raise ApiError(503, "busy", f"{settings.queue} requests are waiting already; try again")
        taken += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, verb, *arguments)
        finally:
            taken -= 1

    @app.exception_handler(ApiError)
    async def _said(request: Request, error: ApiError) -> Response:
        return error.response()

    @app.exception_handler(UnusablePhotoError)
    async def _unusable(request: Request, error: UnusablePhotoError) -> Response:
        return ApiError(422, error.reason, error.detail).response()

    @app.exception_handler(FacerecError)
    async def _refused(request: Request, error: FacerecError) -> Response:
        code = (
            "locked"
            if isinstance(error, GalleryLockedError)
            else "contract"
            if isinstance(error, ContractError)
            else ""
        )
        return ApiError(409 if code else 422, code or "bad_request", str(error)).response()

    @app.exception_handler(RequestValidationError)
    async def _malformed(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return ApiError(422, "bad_request", f"{place}: {first['msg']}").response()

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        return ApiError(
            error.status_code, "not_found" if error.status_code == 404 else "bad_request", error.detail
        ).response()

    @app.exception_handler(Exception)
    async def _failed(request: Request, error: Exception) -> Response:
        return ApiError(500, "internal_error", type(error).__name__).response()

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(_PAGE.read_text(encoding="utf-8"))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(_docs_page(app.openapi()))

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Whether the service answers."""
        return {"status": "ok", "waiting": max(0, taken - settings.workers)}

    @app.post("/identify")
    async def identify(
        photo: Photo,
        k: Annotated[int, Query(ge=1, le=100, description="Candidates listed.")] = 5,
        pictures: Annotated[bool, Query(description="Add landmarks and frontal view, PNG as data: URIs.")] = False,
    ) -> JSONResponse:
        """Who is on a photograph: one record a face, as `facerec identify --format jsonl`."""
        data = await photo.read()
        return JSONResponse(await run(service.identify, data, _named(photo), k, pictures))

    @app.post("/verify")
    async def verify(first: Photo, second: Photo) -> JSONResponse:
        """Whether two photographs show the same person, as `facerec verify --json`."""
        pair = [(_named(photo), await photo.read()) for photo in (first, second)]
        return JSONResponse(await run(service.verify, *pair))

    @app.post("/landmarks")
    async def landmarks(photo: Photo) -> JSONResponse:
        """The 68 landmarks of every face, as `facerec landmarks`."""
        return JSONResponse(await run(service.landmarks, await photo.read(), _named(photo)))

    @app.post("/frontalize", response_class=Response)
    async def frontalize(photo: Photo) -> Response:
        """The frontal view of the largest face, PNG."""
        return Response(await run(service.frontalize, await photo.read()), media_type="image/png")

    @app.post("/enroll")
    async def enroll(photo: Photo, person: Annotated[str, Form(max_length=1000)]) -> JSONResponse:
        """Enrol a photograph of a person."""
        data = await photo.read()
        return JSONResponse(await run(service.enroll, data, _named(photo), person, settings.write_wait_s))

    @app.get("/gallery/people")
    async def people() -> JSONResponse:
        """The people of the gallery, as `facerec gallery list --json`."""
        return JSONResponse(await run(service.people))

    @app.patch("/gallery/people/{person:path}")
    async def mark(person: str, nobody: Annotated[bool, Form()]) -> JSONResponse:
        """Make a person a known stranger (nobody=true), or a person again, as `facerec gallery mark`."""
        return JSONResponse(await run(service.mark, person, nobody, settings.write_wait_s))

    @app.delete("/gallery/people/{person:path}")
    async def remove(person: str) -> JSONResponse:
        """Remove a person for good."""
        return JSONResponse(await run(service.remove, person, settings.write_wait_s))

    app.add_middleware(_Gate, settings=settings, token=token, local=local)
    return app


class _Gate:
    """Before anything is read: who asks, how often, and how much. Counts the body as it comes."""

    def __init__(self, app: Any, settings: ServeSettings, token: str, local: bool) -> None:
        self._app, self._settings, self._token, self._local = app, settings, token, local
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # client: requests left, when

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
            self._check(scope, headers)
        except ApiError as error:
            await error.response()(scope, receive, send)
            return
        came = 0
        refused = False

        async def counted() -> Message:
            nonlocal came, refused
            message = await receive()
            came += len(message.get("body", b""))
            if came > self._settings.max_bytes and not refused:
                refused = True
                await self._too_large().response()(scope, receive, send)
            return {"type": "http.disconnect"} if refused else message

        async def heard(message: Message) -> None:
            if not refused:  # the client has its answer: what the application says of half a body is of no use
                await send(message)

        try:
            await self._app(scope, counted, heard)
        except Exception:
            if not refused:
                raise

    def _check(self, scope: Message, headers: dict[str, str]) -> None:
        host = headers.get("host", "")
        if (
            self._local
            and not self._token
            and host.rsplit(":", 1)[0].strip("[]") not in ("localhost", "127.0.0.1", "::1")
        ):
            raise ApiError(403, "wrong_host", f"expected this machine's own address; got {host!r}")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise ApiError(403, "cross_origin", "expected a request of this service's own page")
        if self._token and scope["path"] not in _OPEN_PATHS:
            sent = headers.get("authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(sent.encode(), self._token.encode()):
                raise ApiError(401, "unauthorized", "expected the header Authorization: Bearer TOKEN")
        self._count((scope.get("client") or ("",))[0])
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > self._settings.max_bytes:
            raise self._too_large()

    def _count(self, client: str) -> None:
        """A bucket of tokens a client that fills by `per_minute` a minute."""
        now, most = time.monotonic(), float(self._settings.per_minute)
        left, when = self._left.pop(client, (most, now))
        left = min(most, left + (now - when) * most / 60)
        self._left[client] = (max(0.0, left - 1), now)
        while len(self._left) > _MOST_CLIENTS:
            self._left.popitem(last=False)
        if left < 1:
            raise ApiError(429, "rate_limited", f"expected at most {self._settings.per_minute} requests a minute")

    def _too_large(self) -> ApiError:
        return ApiError(413, "too_large", f"expected at most {self._settings.max_bytes} bytes")


@functools.cache
def _face_model() -> FaceModel:
    return FaceModel.load()


def _named(photo: UploadFile) -> str:
    return Path(photo.filename or "photo").name


def _png(picture: Image) -> bytes:
    return bytes(cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1])


def _pictures(probe: ProbeFace) -> dict[str, str]:
    if probe.described is None:
        return {}
    face = probe.described
    views = {
        "landmarks": overlaid([face.face]),
        "frontal": frontal_view(face.texture, face.fitted, _face_model()),
    }
    # The page shows the landmarks a thousand pixels wide at most.
    scale = min(1.0, 1000 / max(views["landmarks"].shape[:2]))
    views["landmarks"] = cv2.resize(views["landmarks"], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return {name: "data:image/png;base64," + base64.b64encode(_png(view)).decode() for name, view in views.items()}


def _docs_page(schema: dict[str, Any]) -> str:
    """The OpenAPI description as a page without script."""
    from jinja2 import Environment

    return Environment(autoescape=True).from_string(_DOCS).render(schema=schema)


_DOCS = """<!doctype html><html lang="en"><meta charset="utf-8"><title>facerec API</title>
<style>body{font:16px/1.5 system-ui;max-width:50rem;margin:2rem auto;padding:0 1rem}
code{background:#eee;padding:.1em .3em}
dt{margin-top:1rem;font-weight:600}</style><h1>facerec {{ schema.info.version }}</h1>
<p>Answers are JSON; errors are <code>{"error": {"code", "detail"}}</code>. The whole description:
<a href="/openapi.json">openapi.json</a>. A page to try it: <a href="/">/</a>.</p><dl>
{% for path, verbs in schema.paths.items() %}{% for verb, what in verbs.items() %}
<dt><code>{{ verb.upper() }} {{ path }}</code></dt><dd>{{ what.description }}</dd>
{% endfor %}{% endfor %}</dl>
<pre>curl -F photo=@door.jpg http://127.0.0.1:8080/identify</pre></html>"""
