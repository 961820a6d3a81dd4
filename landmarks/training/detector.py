"""Training of the face detector: the loop with its rounds of mining, and the threshold."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from facerec.landmarks.detection.detector import DetectorSettings, FaceDetector
from facerec.landmarks.detection.detector_network import (
    DetectorNetwork,
    network_of,
    normalize,
    runner,
)
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.precision import training_autocast
from facerec.landmarks.sets.ytf import ytf_people
from facerec.landmarks.training.detector_pictures import (
    AnnotatedPicture,
    background_files,
    cfp_pictures,
    frame_pictures,
    halvings,
    read_rgb,
    set_pictures,
)
from facerec.landmarks.training.detector_scenes import Decoy, SceneMaker, SceneSettings
from facerec.landmarks.training.detector_targets import detection_loss, targets
from facerec.landmarks.training.normalisation import restore_normalisation
from facerec.landmarks.training.people import held_out_people, person_key, training_people
from facerec.landmarks.training.picture_set import PictureSet
from facerec.landmarks.training.schedule import cosine_rate
from facerec.landmarks.types import Box, Image

Report = Callable[[str], None]
"""Takes one line of progress."""


@dataclass(frozen=True)
class DetectorTraining:
    """How the detector is trained.

    Attributes:
        seed: of the network's first weights and of every scene.
        steps: steps in all; the learning rate follows them. 2,600 steps of 32 are three quarters of an hour on 2 cores
            that others use too.
        batch: scenes per step.
        rate: peak learning rate of AdamW, reached after `warm_up` steps, then a half cosine down to nothing.
        decay: weight decay.
        mining: after these shares of the steps the backgrounds are searched for false faces, and the frames for faces
            that nobody annotated.
        average: decay of the running mean of the weights, which is what is exported.
        box_loss, point_loss: weights beside the score's loss.
        calibration_every: of the training backgrounds, one in so many is kept for the threshold and never trained on.
        false_share: largest share of calibration looks with a false face at the threshold.
        save_every: seconds between checkpoints.
        loaders: processes that make scenes beside the network's; 0 makes them in this process.
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
    loaders: int = 1
    scenes: SceneSettings = field(default_factory=SceneSettings)


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

    @property
    def set_sources(self) -> list[str]:
        """Names of the sets whose faces were turned or wear something."""
        return sorted(
            {p.name.rpartition("/")[0] for p in self.pictures if p.kind not in ("profile", "frontal", "frame")}
        )


def read_training_data(
    cfp: Path,
    ytf: Path,
    backgrounds: Path,
    settings: DetectorTraining,
    skip: Container[str] = (),
    sets: Iterable[Path] = (),
) -> TrainingData:
    """Read the training people's pictures and the training backgrounds; held-out ones stay unread.

    Args:
        cfp: official tree of CFP (`Data/Images`, `Data/Fiducials`, `Data/list_name.txt`).
        ytf: `frames/*/NAME_VF.jpg` and `landmarks68.csv`.
        backgrounds: folder of JPEG photographs without faces.
        settings: for the share kept for calibration.
        skip: file names of backgrounds that do show a face after all. Even a few undo much: mining picks them out.
        sets: files of `PictureSet`: turned faces and faces that wear something.

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
        *(picture for path in sets for picture in set_pictures(PictureSet.load(path))),
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
            for box in detector.detect(_rescale(image, scale))[:4]:
                false.append([number, *(np.array([box.x0, box.y0, box.x1, box.y1]) / scale)])
    for i, picture in enumerate(data.pictures):
        if picture.kind == "frame" and rng.random() < 1 / 3:
            own = Box.around(picture.outline)
            for box in detector.detect(picture.levels[0]):
                if box.score >= UNANNOTATED_SCORE and box.iou(own) < 0.2:
                    unannotated.append([i, box.x0, box.y0, box.x1, box.y1])
    return _Mined(np.array(false).reshape(-1, 5), np.array(unannotated).reshape(-1, 5))


def _rescale(image: Image, scale: float) -> Image:
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
        for look in (image, np.ascontiguousarray(image[:, ::-1]), _rescale(image, 1.5), _rescale(image, 0.7)):
            found = detector.detect(look)
            best.append(found[0].score if found else 0.0)
    ordered = np.sort(best)[::-1]
    return float(np.clip(ordered[int(false_share * len(ordered))] + 1e-3, 2 * floor, 0.9))


@dataclass(frozen=True)
class TimeLimit:
    """When a training stops before all its steps are done.

    Attributes:
        minutes: of this run; the checkpoint lets it go on.
        finish_in: minutes of the whole training: learning rate and mining follow the clock where it is ahead of the
            steps, so that the training ends properly. The result then depends on the machine's speed.
    """

    minutes: float = math.inf
    finish_in: float = math.inf


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """How a training run ended.

    Attributes:
        step: steps done.
        network: with the averaged weights; None when the time ran out first: run again to continue from the checkpoint.
        threshold: the score from which on a find is a face; None when not finished.
    """

    step: int
    network: DetectorNetwork | None = None
    threshold: float | None = None


def train_detector(
    data: TrainingData,
    work: Path,
    settings: DetectorTraining | None = None,
    *,
    device: str = "cpu",
    limit: TimeLimit | None = None,
    start: Mapping[str, NDArray[Any]] | None = None,
    report: Report = lambda line: None,
) -> TrainingResult:
    """Train the detector, or continue a training that `work` holds.

    Args:
        data: see `read_training_data`.
        work: folder for the checkpoint; made when missing.
        settings: must be those the checkpoint was made with.
        device: "cpu" or a CUDA device.
        limit: when to stop before all steps are done.
        start: arrays of a trained detector to begin with, when `work` holds no checkpoint.
        report: gets a line of progress now and then.
    """
    settings = settings or DetectorTraining()
    # A loader forked while OpenCV's own threads run would wait for them for ever.
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        learner = _Learner(settings, device)
        learner.restore(work)
        if start is not None and learner.step == 0:
            scenes = _maker(data, learner.mined, settings)
            learner.begin_with(network_of(start), np.stack([scenes.scene(2**40 + k).image for k in range(64)]))
        if learner.step:
            report(f"going on from step {learner.step}")
        finished = _run(learner, data, work, limit or TimeLimit(), report)
        if not finished:
            return TrainingResult(learner.step)
        threshold = calibrate(learner.mean, data.calibration, settings.false_share, device)
        report(f"threshold {threshold:.3f}")
        return TrainingResult(learner.step, learner.mean, threshold)
    finally:
        cv2.setNumThreads(threads)


def _run(learner: _Learner, data: TrainingData, work: Path, limit: TimeLimit, report: Report) -> bool:
    """Train until all is done (true) or the run's time is over; `work` gets the checkpoints."""
    settings = learner.settings
    work.mkdir(parents=True, exist_ok=True)
    milestones = [round(share * settings.steps) for share in settings.mining]
    began = saved = time.monotonic()
    # Of an interrupted training the minutes count that were spent before.
    zero = began - 60 * learner.minutes
    until = began + 60 * limit.minutes
    out_of_time = False
    while learner.position < settings.steps and not out_of_time:
        last = min([m for m in milestones if m > learner.position], default=settings.steps)
        first = learner.step * settings.batch
        loader = DataLoader(
            _Scenes(_maker(data, learner.mined, settings), first, last * settings.batch - first),
            batch_size=settings.batch,
            num_workers=settings.loaders,
            worker_init_fn=_one_thread,
            prefetch_factor=4 if settings.loaders else None,
        )
        shown = torch.zeros(3)
        for batch in loader:
            shown += learner.learn(batch) / 50
            now = time.monotonic()
            learner.minutes = (now - zero) / 60
            learner.position = max(learner.step, math.floor(settings.steps * learner.minutes / limit.finish_in))
            if learner.step % 50 == 0:
                score, box, point = shown.tolist()
                report(
                    f"step {learner.step}/{settings.steps}  score {score:.3f}  box {box:.3f}  points {point:.4f}  "
                    f"{(now - began) / 60:.1f} min"
                )
                shown = torch.zeros(3)
            if now - saved > settings.save_every:
                learner.save(work)
                saved = now
            out_of_time = now > until
            if out_of_time or learner.position >= last:
                break
        if last in milestones and learner.position >= last:
            mined = _mine(learner.mean, data, learner.device, np.random.default_rng([settings.seed, last]))
            report(f"mined {len(mined.false)} false faces, {len(mined.unannotated)} unannotated ones")
            learner.mined = mined
        learner.save(work)
        saved = time.monotonic()
    return learner.position >= settings.steps


class _Learner:
    """What a training changes: the network, the mean of its weights, the optimiser, what was mined.

    `position` is the place in the schedule, in steps: those done, or more where a clock is ahead of them.
    """

    def __init__(self, settings: DetectorTraining, device: str) -> None:
        self.settings, self.device = settings, device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            network = DetectorNetwork()
        self.network: DetectorNetwork = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.mean = DetectorNetwork().to(device)
        self.mean.load_state_dict(self.network.state_dict())
        matrices = [p for p in self.network.parameters() if p.ndim > 1]
        vectors = [p for p in self.network.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": settings.decay}, {"params": vectors, "weight_decay": 0.0}],
            lr=settings.rate,
        )
        self.step = self.position = 0
        self.minutes = 0.0
        self.mined = _Mined.nothing()

    def begin_with(self, trained: DetectorNetwork, pictures: NDArray[np.uint8]) -> None:
        """Take over a network without normalisation; `pictures` (N, S, S, 3) give the normalisation its statistics.

        A layer's normalisation is set so that it changes nothing for data of the statistics measured here.
        """
        trained = trained.to(self.device)
        parts = dict(trained.named_modules())
        for name, module in self.network.named_modules():
            if isinstance(module, nn.Sequential) and len(module) > 1 and isinstance(module[1], nn.BatchNorm2d):
                convolution = parts[f"{name}.0"]
                assert isinstance(convolution, nn.Conv2d)
                convolution.register_forward_hook(partial(restore_normalisation, module))
        self.network.answer.load_state_dict(trained.answer.state_dict())
        with torch.no_grad():
            shown = torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)))
            trained(normalize(shown.to(self.device)))
        self.mean.load_state_dict(self.network.state_dict())

    def learn(self, batch: Sequence[Tensor]) -> Tensor:
        """One step on pictures (B, 3, S, S) and their stacked `Targets`; returns the three losses (3,)."""
        settings = self.settings
        pictures, state, boxes, points = (part.to(self.device) for part in batch)
        for group in self.optimizer.param_groups:
            group["lr"] = settings.rate * cosine_rate(
                (self.position + 1) / settings.steps, settings.warm_up / settings.steps
            )
        self.network.train()
        with training_autocast(self.device):
            answers = self.network(normalize(pictures))
        losses = detection_loss(answers, state, boxes, points, pictures.shape[-1])
        total = losses[0] + settings.box_loss * losses[1] + settings.point_loss * losses[2]
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
        self.optimizer.step()
        keep = min(settings.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for ours, theirs in zip(self.mean.state_dict().values(), self.network.state_dict().values(), strict=True):
                if ours.dtype.is_floating_point:
                    ours.lerp_(theirs, 1 - keep)
                else:
                    ours.copy_(theirs)
        self.step += 1
        self.position = max(self.position, self.step)
        return torch.stack([loss.detach().cpu() for loss in losses])

    def save(self, work: Path) -> None:
        """Write the checkpoint into `work`, over an earlier one."""
        from safetensors.torch import save_file

        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"mean.{k}": v for k, v in self.mean.state_dict().items()}
        state = self.optimizer.state_dict()["state"]
        tensors |= {f"optimizer.{i}.{k}": v for i, entry in state.items() for k, v in entry.items()}
        tensors["mined.false"] = torch.from_numpy(self.mined.false)
        tensors["mined.unannotated"] = torch.from_numpy(self.mined.unannotated)
        plain = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
        place = {"step": str(self.step), "position": str(self.position), "minutes": str(self.minutes)}
        save_file(plain, work / "checkpoint.new", place | {"settings": self._settings_text()})
        (work / "checkpoint.new").replace(work / "checkpoint.safetensors")

    def restore(self, work: Path) -> None:
        """Take up the checkpoint in `work`, when there is one.

        Raises:
            InvalidInputError: it is of other settings.
        """
        from safetensors import safe_open

        path = work / "checkpoint.safetensors"
        if not path.exists():
            return
        with safe_open(path, "pt") as stored:
            metadata = stored.metadata()
            if metadata.get("settings") != self._settings_text():
                raise InvalidInputError(
                    f"expected a checkpoint made with seed, steps, batch, rate, decay and mining "
                    f"{self._settings_text()} in {path}; got {metadata.get('settings')}; name another work folder"
                )
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 (not a dict)
        self.network.load_state_dict({k[8:]: v for k, v in tensors.items() if k.startswith("network.")})
        self.mean.load_state_dict({k[5:]: v for k, v in tensors.items() if k.startswith("mean.")})
        entries: dict[int, dict[str, Any]] = {}
        for key, value in tensors.items():
            if key.startswith("optimizer."):
                _, number, name = key.split(".", 2)
                entries.setdefault(int(number), {})[name] = value
        whole = self.optimizer.state_dict()
        whole["state"] = entries
        self.optimizer.load_state_dict(whole)
        self.step = int(metadata["step"])
        self.position, self.minutes = int(metadata.get("position", self.step)), float(metadata.get("minutes", 0.0))
        self.mined = _Mined(tensors["mined.false"].numpy(), tensors["mined.unannotated"].numpy())

    def _settings_text(self) -> str:
        s = self.settings
        return json.dumps([s.seed, s.steps, s.batch, s.rate, s.decay, s.mining])
