"""Training of the face detector: targets, loss, the loop with its rounds of mining, and the threshold.

Scores learn the overlap of their own box with the face (the quality focal loss of Li et al. 2020, "Generalized Focal
Loss", equation 2), so the best box of a face has the best score; boxes learn the generalised IoU (Rezatofighi et al.
2019).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from facerec.landmarks.checkpoint import WeightRecord, save_weights
from facerec.landmarks.detection.detector import DetectorSettings, FaceDetector
from facerec.landmarks.detection.detector_graph import STRIDES
from facerec.landmarks.detection.detector_network import (
    DetectorNetwork,
    cell_centers,
    decode,
    detector_arrays,
    normalize,
    runner,
)
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.sets.ytf import ytf_people
from facerec.landmarks.training.detector_scenes import (
    AnnotatedPicture,
    Decoy,
    Scene,
    SceneMaker,
    SceneSettings,
    background_files,
    cfp_pictures,
    frame_pictures,
    halvings,
    read_rgb,
)
from facerec.landmarks.training.people import held_out_people, person_key, training_people
from facerec.landmarks.training.schedule import cosine_rate
from facerec.landmarks.types import Box, Image

Report = Callable[[str], None]
"""Takes one line of progress."""

LEVEL_SIZES = ((0.0, 48.0), (40.0, 96.0), (80.0, 192.0), (160.0, math.inf))
"""Face sizes (square root of the box's area, px) each stride answers to: 2 to 6 cells, neighbours overlapping."""

NEAR_SIZE = 1.4
"""A level is not punished for a face up to this factor outside its sizes."""

CORE = 0.2
"""Cells within this share of the face's width and height from its centre must answer (at least the nearest cells)."""

RIM = 0.38
"""Cells up to this share are not punished for answering."""

LICENCE = "research use: learnt from CFP and YouTube Faces"


@dataclass(frozen=True)
class DetectorTraining:
    """How the detector is trained.

    Attributes:
        seed: of the network's first weights and of every scene.
        steps: steps in all; the learning rate follows them. 2,600 steps of 32 are three quarters of an hour on 2 cores
            that others use too.
        batch: scenes a step.
        rate: peak learning rate of AdamW, reached after `warm_up` steps, then a half cosine down to nothing.
        decay: weight decay.
        mining: after these shares of the steps the backgrounds are searched for false faces, and the frames for faces
            that nobody annotated.
        average: decay of the running mean of the weights, which is what is exported.
        box_loss, point_loss: weights beside the score's loss.
        calibration_every: of the training backgrounds, one in so many is kept for the threshold and never trained on.
        false_share: largest share of calibration looks with a false face at the threshold.
        save_every: seconds between checkpoints.
    """

    seed: int = 0
    steps: int = 2600
    batch: int = 32
    rate: float = 2e-3
    decay: float = 0.05
    warm_up: int = 150
    mining: tuple[float, ...] = (0.3, 0.55, 0.75)
    average: float = 0.998
    box_loss: float = 2.0
    point_loss: float = 0.5
    calibration_every: int = 8
    false_share: float = 0.004
    save_every: float = 180.0
    scenes: SceneSettings = field(default_factory=SceneSettings)


@dataclass(frozen=True, eq=False)
class Targets:
    """What every cell of a scene should answer, the levels' cells one after the other.

    Attributes:
        state: (N,) int8: 1 a face, 0 none, -1 either.
        boxes: (N, 4) float32 px, where state is 1.
        points: (N, 5, 2) float32 px, NaN where unknown.
    """

    state: NDArray[np.int8]
    boxes: NDArray[np.float32]
    points: NDArray[np.float32]


def targets(scene: Scene) -> Targets:
    """Targets of a scene; of two faces that claim a cell the smaller has it."""
    side = scene.image.shape[0]
    centers = [cell_centers(side, side, stride).numpy() for stride in STRIDES]
    total = sum(len(c) for c in centers)
    state = np.zeros(total, dtype=np.int8)
    boxes = np.zeros((total, 4), dtype=np.float32)
    points = np.full((total, 5, 2), np.nan, dtype=np.float32)
    sizes = np.sqrt(np.prod(scene.boxes[:, 2:] - scene.boxes[:, :2], axis=1))
    start = 0
    for center, stride, (low, high) in zip(centers, STRIDES, LEVEL_SIZES, strict=True):
        here = slice(start, start + len(center))
        start += len(center)
        for box in scene.ignored:
            inside = ((center >= box[:2] - stride / 2) & (center <= box[2:] + stride / 2)).all(axis=1)
            state[here][inside] = -1
        # Rims first: a face's core is never lost to another face's rim. Large faces first: the smaller keeps a cell.
        order = np.argsort(-sizes, kind="stable")
        for i in order:
            if low / NEAR_SIZE <= sizes[i] <= high * NEAR_SIZE:
                box = scene.boxes[i]
                off = np.abs(center - (box[:2] + box[2:]) / 2)
                rim = (off <= np.maximum(RIM * (box[2:] - box[:2]), stride)).all(axis=1)
                state[here][rim] = -1
        for i in order:
            if low <= sizes[i] < high:
                box = scene.boxes[i]
                off = np.abs(center - (box[:2] + box[2:]) / 2)
                # 0.71 strides: the cells around the centre, one to four of them, however small the face.
                core = (off <= np.maximum(CORE * (box[2:] - box[:2]), 0.71 * stride)).all(axis=1)
                state[here][core] = 1
                boxes[here][core] = box
                points[here][core] = scene.points[i]
    return Targets(state, boxes, points)


def box_overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU of the rows of `a` and `b`, (N, 4) x0 y0 x1 y1."""
    common = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(dim=1)
    area_a, area_b = ((box[:, 2:] - box[:, :2]).clamp(min=0).prod(dim=1) for box in (a, b))
    union = area_a + area_b - common
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(dim=1)
    iou = common / union.clamp(min=1e-6)
    return iou, iou - (hull - union) / hull.clamp(min=1e-6)


def detection_loss(
    answers: list[Tensor], state: Tensor, boxes: Tensor, points: Tensor, side: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Score, box and point loss of a batch, each over the number of face cells.

    Args:
        answers: the network's maps.
        state, boxes, points: `Targets` of each scene, stacked: (B, N), (B, N, 4), (B, N, 5, 2).
        side: of the scenes, px.
    """
    logits, found, found_points = decode(answers, side, side)
    face = state == 1
    count = face.sum().clamp(min=1)
    iou, giou = box_overlap(found[face], boxes[face])
    quality = torch.zeros_like(logits)
    quality[face] = iou.detach().clamp(0, 1)
    error = (torch.sigmoid(logits) - quality).abs().square()
    score = error * F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    score_loss = score[state >= 0].sum() / count
    box_loss = (1 - giou).sum() / count
    size = (boxes[face][:, 2:] - boxes[face][:, :2]).prod(dim=1).sqrt()[:, None, None]
    wanted = points[face]
    known = torch.isfinite(wanted)
    off = torch.where(known, (found_points[face] - torch.where(known, wanted, 0.0)) / size, 0.0)
    point_loss = F.smooth_l1_loss(off, torch.zeros_like(off), beta=0.1, reduction="sum") / (10 * count)
    return score_loss, box_loss, point_loss


class _Scenes(Dataset[tuple[NDArray[np.uint8], NDArray[np.int8], NDArray[np.float32], NDArray[np.float32]]]):
    def __init__(self, maker: SceneMaker, first: int, count: int) -> None:
        self.maker, self.first, self.count = maker, first, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(
        self, index: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.int8], NDArray[np.float32], NDArray[np.float32]]:
        scene = self.maker.scene(self.first + index)
        wanted = targets(scene)
        return np.ascontiguousarray(scene.image.transpose(2, 0, 1)), wanted.state, wanted.boxes, wanted.points


def _one_thread(_: int) -> None:
    # Inside the loader's own process: it shares the cores with the network.
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What the detector learns from.

    Attributes:
        pictures: annotated faces of training people.
        backgrounds: photographs without faces, to train on.
        calibration: photographs without faces, for the threshold.
    """

    pictures: list[AnnotatedPicture]
    backgrounds: list[Image]
    calibration: list[Image]


def read_training_data(
    cfp: Path, ytf: Path, backgrounds: Path, settings: DetectorTraining, skip: Container[str] = ()
) -> TrainingData:
    """Read the training people's pictures and the training backgrounds; held-out ones stay unread.

    Args:
        cfp: official tree of CFP (`Data/Images`, `Data/Fiducials`, `Data/list_name.txt`).
        ytf: `frames/*/NAME_VF.jpg` and `landmarks68.csv`.
        backgrounds: folder of JPEG photographs without faces.
        settings: for the share kept for calibration.
        skip: file names of backgrounds that do show a face after all. Even a few undo much: mining picks them out.

    Raises:
        InvalidInputError: a folder does not hold what it should.
    """
    for path in (cfp / "Data" / "list_name.txt", ytf / "landmarks68.csv", backgrounds):
        if not path.exists():
            raise InvalidInputError(f"expected {path} for training the detector; it is not there")
    held = held_out_people(ytf, cfp)
    names = {name for name in ytf_people(ytf) if person_key(name) not in held}
    pictures = [
        *cfp_pictures(cfp, training_people(ytf, cfp), ("frontal", "profile")),
        *frame_pictures(ytf, names),
    ]
    files = [path for path in background_files(backgrounds, held_out=False) if path.name not in skip]
    kept = [path for i, path in enumerate(files) if i % settings.calibration_every == 0]
    used = [path for i, path in enumerate(files) if i % settings.calibration_every != 0]
    return TrainingData(pictures, [read_rgb(path) for path in used], [read_rgb(path) for path in kept])


@dataclass(frozen=True, eq=False)
class _Mined:
    """What mining found: false faces (background, box) and unannotated faces (picture, box)."""

    false: NDArray[np.float64]
    unannotated: NDArray[np.float64]

    @staticmethod
    def nothing() -> _Mined:
        return _Mined(np.zeros((0, 5)), np.zeros((0, 5)))


MINING_SCORE = 0.25
"""A false face that scores more is worth unlearning: the threshold will lie about twice as high."""

UNANNOTATED_SCORE = 0.75
"""A find in a frame that scores more is taken for a real face that nobody annotated."""


def _mine(network: DetectorNetwork, data: TrainingData, device: str, rng: np.random.Generator) -> _Mined:
    """Search backgrounds as they are and at another size, and a third of the frames beside their annotated face."""
    twin = DetectorNetwork(network.shape)
    twin.load_state_dict(network.state_dict())
    # One look each: mining is to cost less than a tenth of the training.
    looks = DetectorSettings(thumbnail_side=DetectorSettings.working_side, score_threshold=MINING_SCORE)
    detector = FaceDetector(runner(twin.fused(), device), MINING_SCORE, looks)
    false, unannotated = [], []
    for number, image in enumerate(data.backgrounds):
        for scale in (1.0, math.exp(rng.uniform(math.log(0.5), math.log(1.6)))):
            for box in detector.detect(_scaled(image, scale))[:4]:
                false.append([number, *(np.array([box.x0, box.y0, box.x1, box.y1]) / scale)])
    for i, picture in enumerate(data.pictures):
        if picture.kind == "frame" and rng.random() < 1 / 3:
            own = Box.around(picture.outline)
            for box in detector.detect(picture.levels[0]):
                if box.score >= UNANNOTATED_SCORE and box.iou(own) < 0.2:
                    unannotated.append([i, box.x0, box.y0, box.x1, box.y1])
    return _Mined(np.array(false).reshape(-1, 5), np.array(unannotated).reshape(-1, 5))


def _scaled(image: Image, scale: float) -> Image:
    if scale == 1.0:
        return image
    height, width = (max(1, round(v * scale)) for v in image.shape[:2])
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=way).astype(np.uint8, copy=False)


def _maker(data: TrainingData, mined: _Mined, settings: DetectorTraining) -> SceneMaker:
    levels = [halvings(image) for image in data.backgrounds]
    pictures = list(data.pictures)
    for number in np.unique(mined.unannotated[:, 0]).astype(int):
        ignored = mined.unannotated[mined.unannotated[:, 0] == number, 1:]
        pictures[number] = replace(pictures[number], ignored=ignored)
    decoys = [Decoy(levels[int(row[0])], row[1:]) for row in mined.false]
    return SceneMaker(pictures, levels, decoys, settings.scenes, settings.seed)


def calibrate(network: DetectorNetwork, images: Sequence[Image], false_share: float, device: str) -> float:
    """The lowest threshold at which at most `false_share` of looks at pictures without faces find one.

    Each picture counts four times: as it is, mirrored, enlarged and shrunk, so that a false face must persist to count
    fully and one picture moves the share by little.
    """
    floor = 0.05
    detector = FaceDetector(runner(network.fused(), device), floor, DetectorSettings(score_threshold=floor))
    best = []
    for image in images:
        for look in (image, np.ascontiguousarray(image[:, ::-1]), _scaled(image, 1.5), _scaled(image, 0.7)):
            found = detector.detect(look)
            best.append(found[0].score if found else 0.0)
    ordered = np.sort(best)[::-1]
    return float(np.clip(ordered[int(false_share * len(ordered))] + 1e-3, 2 * floor, 0.9))


@dataclass(frozen=True)
class TrainingResult:
    """How a training run ended.

    Attributes:
        finished: False when the time ran out first: run again to go on from the checkpoint.
        step: steps done.
        record: the exported weights' record; None when not finished.
    """

    finished: bool
    step: int
    record: WeightRecord | None


def train_detector(
    data: TrainingData,
    work: Path,
    settings: DetectorTraining | None = None,
    *,
    device: str = "cpu",
    max_minutes: float = math.inf,
    loaders: int = 1,
    report: Report = lambda line: None,
    export_root: Path | None = None,
    command: str = "facerec train detector DATA",
    export: bool = True,
) -> TrainingResult:
    """Train the detector, or go on with a training that `work` holds.

    Args:
        data: see `read_training_data`.
        work: folder for the checkpoint; made when missing.
        settings: must be those the checkpoint was made with.
        device: "cpu" or a CUDA device.
        max_minutes: stop, with a checkpoint, after so many minutes.
        loaders: processes that make scenes beside the network's; 0 makes them in this process.
        report: gets a line of progress now and then.
        export_root: folder of the stages to export into; the installed package by default.
        command: how this training was started, for the weights' record.
        export: whether a finished training replaces the weights of `export_root`.
    """
    settings = settings or DetectorTraining()
    # A loader forked while OpenCV's own threads run would wait for them for ever.
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        return _train(data, work, settings, device, max_minutes, loaders, report, export_root, export, command)
    finally:
        cv2.setNumThreads(threads)


def _train(
    data: TrainingData,
    work: Path,
    settings: DetectorTraining,
    device: str,
    max_minutes: float,
    loaders: int,
    report: Report,
    export_root: Path | None,
    export: bool,
    command: str,
) -> TrainingResult:
    began = time.monotonic()
    work.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = DetectorNetwork()
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    mean = DetectorNetwork().to(device)
    mean.load_state_dict(network.state_dict())
    optimizer = _optimizer(network, settings)
    step, mined = _resume(work, network, mean, optimizer, settings)
    if step:
        report(f"going on from step {step}")
    milestones = [round(share * settings.steps) for share in settings.mining]
    saved = time.monotonic()
    out_of_time = False
    while step < settings.steps and not out_of_time:
        until = min([m for m in milestones if m > step], default=settings.steps)
        loader = DataLoader(
            _Scenes(_maker(data, mined, settings), step * settings.batch, (until - step) * settings.batch),
            batch_size=settings.batch,
            num_workers=loaders,
            worker_init_fn=_one_thread,
            prefetch_factor=4 if loaders else None,
        )
        shown = torch.zeros(3)
        for batch in loader:
            losses = _step(network, mean, optimizer, batch, step, settings, device)
            step += 1
            shown += losses / 50
            now = time.monotonic()
            if step % 50 == 0:
                score, box, point = shown.tolist()
                report(
                    f"step {step}/{settings.steps}  score {score:.3f}  box {box:.3f}  points {point:.4f}  "
                    f"{(now - began) / 60:.1f} min"
                )
                shown = torch.zeros(3)
            if now - saved > settings.save_every:
                _save(work, network, mean, optimizer, step, mined, settings)
                saved = now
            out_of_time = now - began > 60 * max_minutes
            if out_of_time:
                break
        if step in milestones:
            mined = _mine(mean, data, device, np.random.default_rng([settings.seed, step]))
            report(f"mined {len(mined.false)} false faces, {len(mined.unannotated)} unannotated ones")
        _save(work, network, mean, optimizer, step, mined, settings)
        saved = time.monotonic()
    if step < settings.steps:
        return TrainingResult(False, step, None)
    threshold = calibrate(mean, data.calibration, settings.false_share, device)
    report(f"threshold {threshold:.3f}")
    if not export:
        return TrainingResult(True, step, None)
    record = export_detector(mean, threshold, settings, command, root=export_root)
    return TrainingResult(True, step, record)


def export_detector(
    network: DetectorNetwork,
    threshold: float,
    settings: DetectorTraining,
    command: str,
    metric: dict[str, float | int | str] | None = None,
    root: Path | None = None,
) -> WeightRecord:
    """Write the package's detector weights and their record. `metric`: figures of `benchmarks/detector.py`."""
    return save_weights(
        "landmarks",
        "detector",
        detector_arrays(network, threshold),
        what="Finds faces from frontal to profile: boxes (of the 68 landmarks) and five points.",
        training_sets=("Celebrities in Frontal-Profile", "YouTube Faces", "background photographs without faces"),
        split=(
            "trained on CFP people 1-300 and YouTube Faces except every seventh name, none who is a held-out person of "
            "the other set; background photographs except every fifth; threshold from one in "
            f"{settings.calibration_every} of the training backgrounds, unseen by the training"
        ),
        metric=metric or {"score_threshold": round(threshold, 4)},
        licence=LICENCE,
        command=command,
        root=root,
    )


def _optimizer(network: DetectorNetwork, settings: DetectorTraining) -> torch.optim.AdamW:
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": settings.decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=settings.rate,
    )


def _step(
    network: DetectorNetwork,
    mean: DetectorNetwork,
    optimizer: torch.optim.AdamW,
    batch: Sequence[Tensor],
    step: int,
    settings: DetectorTraining,
    device: str,
) -> Tensor:
    pictures, state, boxes, points = (part.to(device) for part in batch)
    for group in optimizer.param_groups:
        group["lr"] = settings.rate * cosine_rate((step + 1) / settings.steps, settings.warm_up / settings.steps)
    network.train()
    # bfloat16 in the convolutions: twice as fast on CPUs and GPUs that have it, and the loss itself stays float32.
    with torch.autocast(torch.device(device).type, torch.bfloat16):
        answers = network(normalize(pictures))
    losses = detection_loss(answers, state, boxes, points, pictures.shape[-1])
    total = losses[0] + settings.box_loss * losses[1] + settings.point_loss * losses[2]
    optimizer.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
    optimizer.step()
    keep = min(settings.average, (1 + step) / (10 + step))
    with torch.no_grad():
        for ours, theirs in zip(mean.state_dict().values(), network.state_dict().values(), strict=True):
            if ours.dtype.is_floating_point:
                ours.lerp_(theirs, 1 - keep)
            else:
                ours.copy_(theirs)
    return torch.stack([loss.detach().cpu() for loss in losses])


def _save(
    work: Path,
    network: DetectorNetwork,
    mean: DetectorNetwork,
    optimizer: torch.optim.AdamW,
    step: int,
    mined: _Mined,
    settings: DetectorTraining,
) -> None:
    from safetensors.torch import save_file

    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    tensors |= {f"mean.{k}": v for k, v in mean.state_dict().items()}
    state = optimizer.state_dict()["state"]
    tensors |= {f"optimizer.{i}.{k}": v for i, entry in state.items() for k, v in entry.items()}
    tensors |= {"mined.false": torch.from_numpy(mined.false), "mined.unannotated": torch.from_numpy(mined.unannotated)}
    told = {"step": str(step), "settings": _told(settings)}
    save_file({k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}, work / "checkpoint.new", told)
    (work / "checkpoint.new").replace(work / "checkpoint.safetensors")


def _told(settings: DetectorTraining) -> str:
    return json.dumps([settings.seed, settings.steps, settings.batch, settings.rate, settings.decay, settings.mining])


def _resume(
    work: Path,
    network: DetectorNetwork,
    mean: DetectorNetwork,
    optimizer: torch.optim.AdamW,
    settings: DetectorTraining,
) -> tuple[int, _Mined]:
    from safetensors import safe_open

    path = work / "checkpoint.safetensors"
    if not path.exists():
        return 0, _Mined.nothing()
    with safe_open(path, "pt") as stored:
        told = stored.metadata()
        if told.get("settings") != _told(settings):
            raise InvalidInputError(
                f"expected a checkpoint made with seed, steps, batch, rate, decay and mining {_told(settings)} "
                f"in {path}; got {told.get('settings')}; name another work folder"
            )
        tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 (not a dict)
    network.load_state_dict({k[8:]: v for k, v in tensors.items() if k.startswith("network.")})
    mean.load_state_dict({k[5:]: v for k, v in tensors.items() if k.startswith("mean.")})
    entries: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, number, name = key.split(".", 2)
            entries.setdefault(int(number), {})[name] = value
    whole = optimizer.state_dict()
    whole["state"] = entries
    optimizer.load_state_dict(whole)
    mined = _Mined(tensors["mined.false"].numpy(), tensors["mined.unannotated"].numpy())
    return int(told["step"]), mined
