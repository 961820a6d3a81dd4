"""The routes of the service, with a bounded queue, streamed answers and cancellation."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, File, Form, Query, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser
from starlette.types import Receive, Scope, Send

from facerec.cli.service.docs import docs_page
from facerec.cli.service.faults import ApiError
from facerec.cli.service.gate import Access, Gate, ServeSettings, Watched, note
from facerec.cli.service.metrics import RequestLog
from facerec.cli.service.pictures import face_pictures, photo_picture
from facerec.cli.service.verbs import GoneError, Service
from facerec.landmarks.errors import FacerecError

Photo = Annotated[UploadFile, File(description="The photograph: JPEG, PNG, WebP, BMP, TIFF or GIF.")]
Person = Annotated[str, Form(max_length=1000, description="A person's name.")]
T = TypeVar("T")

PAGE = Path(__file__).parent / "page"
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# The page may run only its own files, show only pictures that it holds in memory, and contact only this service.
_PAGE_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'"
_PAGE_POLICY += "; media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_GONE_S = 0.2  # how often a waiting request checks whether its client is still connected, seconds
_FOLLOW_S = 2.0  # how often an idle service checks the gallery for changes, seconds


class Workers:
    """The threads that describe photographs, and how many requests may wait for one."""

    def __init__(self, settings: ServeSettings) -> None:
        self._pool = ThreadPoolExecutor(settings.workers, thread_name_prefix="facerec")
        # Pictures for answers whose photographs are described: they must not wait behind the photographs of others.
        self._drawing = ThreadPoolExecutor(settings.workers, thread_name_prefix="facerec-draw")
        self._settings = settings
        self._places = settings.workers + settings.queue
        self.taken = 0
        """Number of requests that are in progress or waiting."""

    @property
    def waiting(self) -> int:
        """Number of requests that wait for a worker."""
        return max(0, self.taken - self._settings.workers)

    def close(self) -> None:
        """Wait for the requests in progress and discard those that wait."""
        self._pool.shutdown(cancel_futures=True)
        self._drawing.shutdown(cancel_futures=True)

    async def run(self, request: Request, verb: Callable[[Callable[[], bool]], T]) -> T:
        """What `verb` returns, worked out by a worker; it is given a function that says whether the client has left.

        Raises:
            ApiError: as many wait already as may. GoneError: the client left; what has not begun never does.
        """
        if self.taken >= self._places:
            raise ApiError(503, "busy", f"{self._settings.queue} requests are already waiting; try again later")
        loop, gone, asked = asyncio.get_running_loop(), threading.Event(), time.perf_counter()

        def work() -> T:
            note(request.scope, queue_ms=round(1000 * (time.perf_counter() - asked), 1))
            return verb(gone.is_set)

        def free(_: Future[T]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, so counting does not matter any more
                loop.call_soon_threadsafe(self._free)

        self.taken += 1
        job = self._pool.submit(work)
        job.add_done_callback(free)  # only when the worker is free again, even if the client has disconnected
        waited = asyncio.wrap_future(job)
        try:
            while not (await asyncio.wait({waited}, timeout=_GONE_S))[0]:
                if await request.is_disconnected():
                    raise GoneError
            return waited.result()
        finally:
            gone.set()
            job.cancel()
            waited.cancel()

    def _free(self) -> None:
        self.taken -= 1

    async def answer(self, request: Request, verb: Callable[[], dict[str, Any]], **names: Any) -> JSONResponse:
        """What `verb` returns, worked out by a worker, as JSON; `names`: those of people and files in the request."""
        note(request.scope, names=names)
        return JSONResponse(await self.run(request, lambda gone: verb()))

    async def draw(self, function: Callable[[], T]) -> T:
        """What `function` returns, which makes pictures for a request that has had its turn."""
        return await asyncio.get_running_loop().run_in_executor(self._drawing, function)


class JsonStream(Response):
    """A JSON answer that is sent in parts, so that it is never in memory as a whole."""

    media_type = "application/json"

    def __init__(self, request: Request, parts: AsyncIterator[str]) -> None:
        super().__init__(None)
        self._request, self._parts = request, parts
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for part in self._parts:
            if await self._request.is_disconnected():
                return
            await send({"type": "http.response.body", "body": part.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def known_parameters(request: Request) -> None:
    """Refuse unknown parameters, so that a misspelt limit is not ignored."""
    dependant = request.scope["route"].dependant
    queries = {field.alias for field in dependant.query_params}
    fields = {field.alias for field in dependant.body_params}
    wrong = [name for name in request.query_params if name not in queries]
    if fields:
        wrong += [name for name in await request.form() if name not in fields]
    if wrong:
        expected = ", ".join(sorted(queries | fields)) or "none"
        raise ApiError(422, "bad_request", f"unknown parameter {wrong[0]!r}; expected {expected}")


def create_app(
    service: Service, settings: ServeSettings, access: Access | None = None, log: RequestLog | None = None
) -> FastAPI:
    """The application.

    Args:
        service: the verbs.
        settings: its limits.
        access: who may ask; None: this machine's own address, without a token.
        log: where requests are written down; None: nowhere.
    """
    access = access or Access()
    workers = Workers(settings)
    # An upload stays in memory, within the limit of the body: a read-only root may have no room for a file of it.
    MultiPartParser.spool_max_size = settings.max_bytes + 1

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        following = asyncio.create_task(_follow(service))
        yield
        following.cancel()
        await asyncio.to_thread(workers.close)
        service.close()

    # FastAPI's own page at /docs would load its script from a CDN.
    app = FastAPI(
        title="facerec",
        version=version("facerec"),
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        dependencies=[Depends(known_parameters)],
    )
    _add_errors(app)
    _add_page(app)
    _add_state(app, service, workers)
    _add_verbs(app, service, settings, workers)
    _add_gallery(app, service, settings, workers)
    app.add_middleware(Gate, settings=settings, access=access)
    app.add_middleware(Watched, metrics=service.metrics, log=log or RequestLog())
    return app


async def _follow(service: Service) -> None:
    """Follow changes of the gallery also without requests, so that removed entries do not stay in memory."""
    while True:
        await asyncio.sleep(_FOLLOW_S)
        with contextlib.suppress(Exception):  # /health and the next request report the error
            await asyncio.to_thread(service.follow)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def _answer_error(request: Request, error: ApiError) -> Response:
        note(request.scope, error=error.code)
        return error.response()

    @app.exception_handler(FacerecError)
    async def _answer_refusal(request: Request, error: FacerecError) -> Response:
        return await _answer_error(request, ApiError.of(error))

    @app.exception_handler(GoneError)
    async def _answer_gone(request: Request, error: GoneError) -> Response:
        return await _answer_error(request, ApiError(499, "client_gone", "the client has disconnected"))

    @app.exception_handler(RequestValidationError)
    async def _answer_malformed(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return await _answer_error(request, ApiError(422, "bad_request", f"{place}: {first['msg']}"))

    @app.exception_handler(HTTPException)
    async def _answer_http(request: Request, error: HTTPException) -> Response:
        code = "not_found" if error.status_code == 404 else "bad_request"
        return await _answer_error(request, ApiError(error.status_code, code, error.detail))

    @app.exception_handler(Exception)
    async def _answer_failure(request: Request, error: Exception) -> Response:
        return await _answer_error(request, ApiError(500, "internal_error", type(error).__name__))


def _add_page(app: FastAPI) -> None:
    def file(name: str) -> Response:
        path = PAGE / name
        if path.parent != PAGE or path.suffix not in _KINDS or not path.is_file():
            raise ApiError(404, "not_found", "there is no such file of the page")
        headers = {"Content-Security-Policy": _PAGE_POLICY, "X-Content-Type-Options": "nosniff"}
        headers |= {"Referrer-Policy": "no-referrer", "Cache-Control": "no-cache"}
        return Response(path.read_bytes(), media_type=_KINDS[path.suffix], headers=headers)

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return file("index.html")

    @app.get("/page/{name}", include_in_schema=False)
    async def page_file(name: str) -> Response:
        return file(name)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(docs_page(app.openapi()))


def _add_state(app: FastAPI, service: Service, workers: Workers) -> None:
    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Report whether the service runs, and in "gallery" whether its gallery can be read."""
        gallery = await asyncio.to_thread(service.follow)
        return {
            "status": "ok" if gallery["status"] == "ok" else "failing",
            "gallery": gallery,
            "waiting": workers.waiting,
        }

    @app.get("/ready")
    async def ready() -> JSONResponse:
        """Report whether a request would be answered now: 200, or 503 while the gallery cannot be read."""
        gallery = await asyncio.to_thread(service.follow)
        if gallery["status"] != "ok":
            raise ApiError(503, gallery["status"], gallery["detail"])
        return JSONResponse({"status": "ready"})

    @app.get("/metrics")
    async def metrics() -> PlainTextResponse:
        """Counters of the service in Prometheus's text format."""
        gauges = {"requests_taken": workers.taken, "requests_waiting": workers.waiting}
        return PlainTextResponse(service.metrics.text(gauges), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_verbs(app: FastAPI, service: Service, settings: ServeSettings, workers: Workers) -> None:
    @app.post("/identify")
    async def identify(
        request: Request,
        photo: Photo,
        k: Annotated[int, Query(ge=1, le=100, description="Number of candidates listed.")] = 5,
        pictures: Annotated[
            bool, Query(description="Also return the photograph, and landmarks, crop and frontal view of each face.")
        ] = False,
    ) -> Response:
        """Identify the people in a photograph: one record per face, as `facerec identify --format jsonl`."""
        data, name = await photo.read(), _named(photo)
        pixels, probes, versions = await workers.run(request, lambda gone: service.identify(data, name, k, gone))
        people = [probe.person for probe in probes if probe.person]
        note(request.scope, faces=sum(probe.box is not None for probe in probes))
        note(request.scope, names={"file": name, "people": people})

        async def parts() -> AsyncIterator[str]:
            seen = pixels
            if pictures:
                if seen is None:
                    seen = await workers.draw(lambda: service.pixels(data))
                shown = None if seen is None else await workers.draw(functools.partial(photo_picture, seen))
                yield '{"photo":' + json.dumps(shown) + ',"faces":['
            else:
                yield '{"faces":['
            for number, probe in enumerate(probes):
                record = probe.as_json(versions)
                if pictures:
                    record |= {"landmarks": None, "signature": "", "pictures": {}}
                    if seen is not None:
                        record |= await workers.draw(functools.partial(face_pictures, seen, probe))
                yield ("," if number else "") + json.dumps(record)
            yield "]}"

        return JsonStream(request, parts())

    @app.post("/verify")
    async def verify(request: Request, first: Photo, second: Photo) -> JSONResponse:
        """Decide whether two photographs show the same person, as `facerec verify --json`."""
        a, b = [(_named(photo), await photo.read()) for photo in (first, second)]
        return await workers.answer(request, lambda: service.verify(a, b))

    @app.post("/landmarks")
    async def landmarks(request: Request, photo: Photo) -> JSONResponse:
        """The 68 landmarks of every face, as `facerec landmarks`."""
        data, name = await photo.read(), _named(photo)
        return await workers.answer(request, lambda: service.landmarks(data, name))

    @app.post("/frontalize", response_class=Response)
    async def frontalize(request: Request, photo: Photo) -> Response:
        """The frontal view of the largest face, PNG."""
        data = await photo.read()
        return Response(await workers.run(request, lambda gone: service.frontalize(data)), media_type="image/png")

    @app.post("/enroll")
    async def enroll(
        request: Request,
        photo: Photo,
        person: Person,
        face: Annotated[int | None, Form(ge=0, description="Number of the face; by default the largest.")] = None,
    ) -> JSONResponse:
        """Enrol a photograph of a person: its largest face, or the face with the given number."""
        data, name, wait_s = await photo.read(), _named(photo), settings.write_wait_s
        enrolled = functools.partial(service.enroll, data, name, person, face, wait_s)
        return await workers.answer(request, enrolled, file=name, people=[person])

    @app.post("/group")
    async def group(
        request: Request,
        signatures: Annotated[UploadFile, File(description="Signatures of /identify?pictures=true, one per line.")],
    ) -> JSONResponse:
        """Group faces that look like the same person: {"groups": lists of positions}. Nothing is stored."""
        texts = (await signatures.read()).decode("ascii", "replace").split()
        return await workers.answer(request, lambda: service.group(texts))


def _add_gallery(app: FastAPI, service: Service, settings: ServeSettings, workers: Workers) -> None:
    wait_s = settings.write_wait_s

    @app.get("/gallery/people")
    async def people(
        request: Request,
        poses: Annotated[bool, Query(description="Also return yaw and pitch of each of a person's entries.")] = False,
    ) -> JSONResponse:
        """The people of the gallery, as `facerec gallery list --json`."""
        return await workers.answer(request, lambda: service.people(poses))

    @app.patch("/gallery/people/{person:path}")
    async def mark(request: Request, person: str, nobody: Annotated[bool, Form()]) -> JSONResponse:
        """Mark a person as a known stranger (nobody=true), or as a person again, as `facerec gallery mark`."""
        return await workers.answer(request, lambda: service.mark(person, nobody, wait_s), people=[person])

    @app.delete("/gallery/people/{person:path}")
    async def remove(request: Request, person: str) -> JSONResponse:
        """Remove a person permanently."""
        return await workers.answer(request, lambda: service.remove(person, wait_s), people=[person])

    @app.post("/gallery/remove")
    async def remove_named(request: Request, person: Person) -> JSONResponse:
        """Remove a person permanently; for names that a URL cannot hold ("..")."""
        return await remove(request, person)

    @app.post("/gallery/rename")
    async def rename(request: Request, person: Person, to: Person) -> JSONResponse:
        """Rename a person; the new name must not be in use."""
        return await workers.answer(request, lambda: service.rename(person, to, wait_s), people=[person, to])

    @app.post("/gallery/merge")
    async def merge(request: Request, person: Person, into: Person) -> JSONResponse:
        """Merge two people: one person who was enrolled under two names."""
        return await workers.answer(request, lambda: service.merge(person, into, wait_s), people=[person, into])


def _named(photo: UploadFile) -> str:
    return Path(photo.filename or "photo").name or "photo"
