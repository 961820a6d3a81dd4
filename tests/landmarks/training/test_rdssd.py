"""R-DSSD on drawn faces: the cascade, its training, its weight file, and the landmarker that uses it."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from facerec.landmarks.crop import PACK_SCALE, PACK_SIZE, Roi
from facerec.landmarks.dssd import HALF_PATCH, Dssd, DssdSettings
from facerec.landmarks.dssd_weights import cascade_arrays, cascade_from_arrays
from facerec.landmarks.errors import InvalidInputError
from facerec.landmarks.ferns import FernSettings
from facerec.landmarks.initial_shapes import InitialShapeSettings, normalised
from facerec.landmarks.landmarker import CascadeLandmarker, Landmarker, LandmarkerSettings
from facerec.landmarks.models import LANDMARK_MODELS
from facerec.landmarks.rdssd import CROP_SCALE, CROP_SIZE, RDSSD, VARIANTS, Cascade, CascadeSettings, Learning, pyramid
from facerec.landmarks.training import rdssd_solver
from facerec.landmarks.training.apg import SharableDetectors
from facerec.landmarks.training.augment import AugmentSettings
from facerec.landmarks.training.packs import LandmarkPack
from facerec.landmarks.training.rdssd import _decay_groups, _train_step, refinement_loss, train_cascade
from facerec.landmarks.training.rdssd_errors import locate_pack, pack_errors, plain_crops
from facerec.landmarks.training.rdssd_faces import CropSource, DssdTrainSettings, prepare
from facerec.landmarks.training.resume import TrainingRun
from facerec.landmarks.types import Box

Make = Callable[..., LandmarkPack]

SMALL = CascadeSettings(
    network=DssdSettings(filters=4, features=8, neighbours=3, latent=8, correction=16),
    initial=InitialShapeSettings(centres=20, starts=3, spread=6, cells=6),
    ferns=FernSettings(levels=1, ferns=6, features=3, pixels=60, shrinkage=10, rank=6),
    coarse=(50,),
    fine=(50, 100),
)
# Small changes only: few drawn faces suffice to learn where the points are.
GENTLE = AugmentSettings(degrees=8, scale=0.05, shift=0.06, light=0, blur=0, noise=0, jpeg=0, coarse=0, occluders=0.2)
TRAIN = DssdTrainSettings(
    cascade=SMALL,
    augment=GENTLE,
    coarse_faces=150,
    coarse_starts=2,
    samples=24,
    batch=4,
    rounds=2,
    solver_faces=24,
    learning_rate=1e-4,
)
# Enough for what does not depend on how well was learnt: one step, and a solver that sees six faces.
BRIEF = replace(TRAIN, samples=4, rounds=1, solver_faces=8)


def train(
    make_pack: Make,
    folder: Path,
    settings: DssdTrainSettings = TRAIN,
    checkpoint_minutes: float = 3.0,
    **options: object,
) -> Cascade:
    packs = [(make_pack(30), 1.0)]
    return train_cascade(packs, settings, TrainingRun(folder, checkpoint_minutes=checkpoint_minutes), **options)  # type: ignore[arg-type]


@dataclass
class Made:
    """A cascade and the folder of its run: trained once, by the first test that asks, and only read after that."""

    cascade: Cascade | None = None
    folder: Path | None = None


@pytest.fixture(scope="module")
def made() -> Made:
    return Made()


@pytest.fixture
def cascade(made: Made, make_pack: Make, tmp_path_factory: pytest.TempPathFactory) -> Cascade:
    if made.cascade is None:
        made.folder = tmp_path_factory.mktemp("made")
        made.cascade = train(make_pack, made.folder)
    return made.cascade


@pytest.fixture
def train_fine(cascade: Cascade, made: Made, make_pack: Make, tmp_path: Path) -> Callable[..., Cascade]:
    """Trains refinements in `tmp_path` upon the coarse stages of `cascade`, which are not learnt again."""
    assert made.folder is not None
    shutil.copy(made.folder / "coarse.npz", tmp_path)
    return partial(train, make_pack, tmp_path)


def test_the_crop_is_the_box_enlarged_by_thirty_per_cent(make_pack: Make) -> None:
    """A pack's face, whose box is its middle 128 px, cut as a photograph's box would be."""
    pack = make_pack(1)
    _, points = plain_crops(pack, np.array([0]))
    side = PACK_SIZE / PACK_SCALE
    middle = (PACK_SIZE - 1) / 2
    box = Box(middle - side / 2, middle - side / 2, middle + side / 2, middle + side / 2)
    assert np.allclose(Roi.around(box, CROP_SCALE).to_crop(pack.points[0], CROP_SIZE), points[0], atol=1e-3)


def test_every_scale_is_the_same_picture_with_one_norm() -> None:
    crops = np.random.default_rng(0).integers(0, 256, (2, CROP_SIZE, CROP_SIZE), dtype=np.uint8)
    scales = pyramid(crops, RDSSD)
    assert sorted(scales) == [50, 100, 200]
    assert torch.allclose(scales[200].mean(dim=(1, 2)), torch.zeros(2), atol=1e-4)
    assert torch.allclose(scales[200].std(dim=(1, 2), correction=0), torch.ones(2), atol=1e-4)
    assert torch.isclose(scales[50][0, 3, 5], scales[200][0, 12:16, 20:24].mean(), atol=1e-5)
    with pytest.raises(InvalidInputError, match="200, 200"):
        pyramid(crops[:, :100], RDSSD)


def test_the_papers_cascades_have_the_papers_stages() -> None:
    assert {name: (len(v.coarse), len(v.fine)) for name, v in VARIANTS.items()} == {
        "dssd": (0, 1),
        "rdssd": (2, 3),
        "rdssd-star": (1, 2),
    }
    assert RDSSD.fine == (50, 100, 200)
    assert (RDSSD.networks, replace(RDSSD, learning="joint").networks) == (1, 3)
    assert (RDSSD.network.neighbours, RDSSD.network.latent, RDSSD.initial.centres) == (5, 20, 500)


def test_training_brings_fresh_faces_nearer_stage_by_stage(cascade: Cascade, make_pack: Make) -> None:
    stages, truth = locate_pack(cascade, make_pack(20, seed=5), np.arange(20))
    assert stages.shape == (4, 20, 68, 2)
    errors = np.linalg.norm(stages - truth, axis=3).mean(axis=(1, 2))
    assert errors[1] < errors[0]
    assert errors[-1] < errors[1]
    report = pack_errors(cascade, make_pack(20, seed=5))["drawn"]
    assert report["n"] == 20
    assert np.isclose(report["nme_box"], report["stage_3"])
    assert report["nrmse"] > report["nme_box"]


def test_the_solver_keeps_the_latent_detectors_shared(cascade: Cascade) -> None:
    (network,) = cascade.networks
    assert isinstance(network, Dssd)
    assert network.basis.shape == (24, 8)
    assert network.weights.shape == (8, 136)
    assert network.basis.abs().sum() > 0


def test_gradients_move_what_the_solver_chose_and_leave_its_zeros(
    make_pack: Make, train_fine: Callable[..., Cascade]
) -> None:
    one = train_fine(BRIEF)
    one.networks.train().requires_grad_(True)
    (network,) = one.networks
    assert isinstance(network, Dssd)
    with torch.no_grad():
        network.basis[::2] = 0.0
        network.weights[:, ::3] = 0.0
    before = [part.detach().clone() for part in network.detectors()]
    optimizer = torch.optim.AdamW(_decay_groups(one.networks, 0.1), lr=1e-3)
    source = CropSource([(make_pack(5), 1.0)], TRAIN)
    for step in range(2):
        batch = prepare(one, source.faces(step, 4), np.random.default_rng(step))
        _train_step(one, optimizer, batch, [0, 1], 1e-3, 1.0)
    for part, old in zip(network.detectors(), before, strict=True):
        assert torch.equal(part == 0, old == 0)
        assert (part != old)[old != 0].float().mean() > 0.9


@pytest.mark.parametrize("spoilt", [True, False])
def test_detectors_that_spoil_unseen_faces_are_not_kept(
    spoilt: bool, make_pack: Make, train_fine: Callable[..., Cascade], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = train_fine(BRIEF)
    (network,) = one.networks
    assert isinstance(network, Dssd)
    before = [part.detach().clone() for part in network.detectors()]

    def solve(_cascade: Cascade, prepared: Iterator[object], *_rest: object, **_options: object) -> SharableDetectors:
        assert len(list(prepared)) == 1  # 40 faces in batches of 32: the second judges
        basis, weights = (part.numpy().astype(np.float64) for part in before)
        network.set_detectors(basis * (100 if spoilt else 1), weights)
        return SharableDetectors(basis, weights, (1.0, 0.5))

    if not spoilt:
        network.set_detectors(before[0].numpy() * 100, before[1].numpy())
    monkeypatch.setattr(rdssd_solver, "solve_detectors", solve)
    lines: list[str] = []
    source, settings = CropSource([(make_pack(5), 1.0)], TRAIN), replace(TRAIN, solver_faces=40)
    kept = rdssd_solver.solve_round(one, source, settings, 1, lines.append, first=False)
    assert len(kept) == (0 if spoilt else 1)
    assert ("not kept" in lines[0]) == spoilt
    assert all(torch.equal(part, old) for part, old in zip(network.detectors(), before, strict=True))


def test_a_step_that_goes_too_far_is_damped(make_pack: Make, train_fine: Callable[..., Cascade]) -> None:
    """Half of the way to twice the best detectors is kept, and what the solver made zero is zero there too."""
    one = train_fine(BRIEF)
    one.networks.eval()
    (network,) = one.networks
    assert isinstance(network, Dssd)
    rng = np.random.default_rng(0)
    batch = prepare(one, CropSource([(make_pack(5), 1.0)], TRAIN).faces(0, 8), rng)
    basis, weights = (rng.standard_normal(part.shape) for part in network.detectors())
    weights[:, 0] = 0.0
    network.set_detectors(basis, weights)
    best = [part.detach().clone() for part in network.detectors()]
    aim = one.refine(batch.crops, batch.start)[-1].shape
    batch = replace(batch, truth=aim)
    before, far = [best[0], best[1] * 0.0], [best[0], best[1] * 2.0]
    before[1][:, 0] = 1.0
    with torch.no_grad():
        for part, value in zip(network.detectors(), far, strict=True):
            part.copy_(value)
    share, stood, stands = rdssd_solver.damp(one, 0, before, [batch])
    assert share == 0.5
    assert stood > 0.01 > 10 * stands
    assert all(torch.allclose(part, value) for part, value in zip(network.detectors(), best, strict=True))
    assert torch.count_nonzero(network.detectors()[1][:, 0]) == 0


def test_the_solver_helps_faces_it_has_not_seen(make_pack: Make, train_fine: Callable[..., Cascade]) -> None:
    """Algorithm 1 on features of random weights: a turn, judged on faces of another pack and other steps."""
    one = train_fine(BRIEF)
    one.networks.eval()
    (network,) = one.networks
    assert isinstance(network, Dssd)
    network.set_detectors(*(0.1 * part.detach().numpy() for part in network.detectors()))
    settings = replace(TRAIN, solver_faces=192)
    other = CropSource([(make_pack(24, seed=9), 1.0)], TRAIN)
    fresh = [prepare(one, other.faces(step, 32), np.random.default_rng(step)) for step in range(4)]
    stood = rdssd_solver.distance_left(one, fresh)
    source = CropSource([(make_pack(40), 1.0)], TRAIN)
    kept = rdssd_solver.solve_round(one, source, settings, 1, lambda _: None, first=False)
    assert len(kept) == 1
    assert rdssd_solver.distance_left(one, fresh) < 0.99 * stood


def test_a_training_begins_with_the_networks_of_a_weight_file(
    cascade: Cascade, make_pack: Make, tmp_path: Path
) -> None:
    file = tmp_path / "rdssd.safetensors"
    save_file(cascade_arrays(cascade), file)
    kept = cascade_from_arrays(cascade_arrays(cascade))
    settings = replace(BRIEF, learning_rate=1e-9)
    run = TrainingRun(tmp_path / "run", start=file)
    again = train_cascade([(make_pack(5), 1.0)], settings, run)
    for old, new in zip(kept.coarse[0], again.coarse[0], strict=True):
        assert np.array_equal(old.leaves, new.leaves)
    (one,), (other,) = kept.networks, again.networks
    assert isinstance(one, Dssd)
    assert isinstance(other, Dssd)
    assert torch.allclose(one.reweight.weight, other.reweight.weight, atol=1e-5)
    longer = replace(SMALL, ferns=replace(SMALL.ferns, levels=2))
    with pytest.raises(InvalidInputError, match="of 2 levels"):
        train_cascade(
            [(make_pack(5), 1.0)], replace(settings, cascade=longer), TrainingRun(tmp_path / "other", start=file)
        )


def test_training_leaves_the_last_ferns_early_and_use_does_not(cascade: Cascade, make_pack: Make) -> None:
    crops = pyramid(plain_crops(make_pack(5), np.arange(4))[0], SMALL)
    whole = cascade.begin(crops)
    drawn = [cascade.begin(crops, np.random.default_rng(seed)) for seed in range(8)]
    early = [np.array_equal(shapes[-1], shapes[-2]) for shapes in drawn]
    assert any(early)
    assert not all(early)
    assert not np.array_equal(whole[-1], whole[-2])


def test_stages_weigh_alike_in_the_solver_and_q_is_left_its_share(
    make_pack: Make, train_fine: Callable[..., Cascade]
) -> None:
    one = train_fine(BRIEF)
    one.networks.eval()
    (network,) = one.networks
    assert isinstance(network, Dssd)
    batch = prepare(one, CropSource([(make_pack(5), 1.0)], TRAIN).faces(0, 6), np.random.default_rng(0))
    found = rdssd_solver.solver_inputs(one, batch, [0, 1])
    steps = one.refine(batch.crops, batch.start)
    for stage, (step, side) in enumerate(zip(steps, SMALL.fine, strict=True)):
        rows = slice(6 * stage, 6 * stage + 6)
        shape = batch.start if stage == 0 else steps[0].shape
        moved = (step.shape - shape) * (side / HALF_PATCH)
        correction = (moved - step.local).detach().numpy()
        assert np.allclose(found.whole[rows] - found.wanted[rows], correction, atol=1e-5)
        # Half patches of the largest crop: what weighed squares of the distances left add up to is the distances.
        left = ((batch.truth - step.shape) * (CROP_SIZE / HALF_PATCH)).norm(dim=2).detach().numpy()
        squares = (left * side / CROP_SIZE) ** 2 * found.trust[rows]
        far = left > rdssd_solver.NEAR
        assert far.any()
        assert np.allclose(squares[far], left[far], rtol=1e-3)


def test_the_same_seed_trains_the_same_cascade(cascade: Cascade, make_pack: Make, tmp_path: Path) -> None:
    again = train(make_pack, tmp_path / "again")
    one, other = cascade_arrays(cascade), cascade_arrays(again)
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_an_interrupted_training_ends_like_one_in_a_piece(cascade: Cascade, train_fine: Callable[..., Cascade]) -> None:
    class StopError(Exception):
        pass

    def stop(progress: object) -> None:
        if progress.samples == 16:  # type: ignore[attr-defined]
            raise StopError

    with pytest.raises(StopError):
        train_fine(on_progress=stop, checkpoint_minutes=0.0)
    resumed = train_fine()
    one, other = cascade_arrays(cascade), cascade_arrays(resumed)
    assert all(np.allclose(one[n].astype(float), other[n].astype(float), atol=1e-3) for n in one if n != "settings")
    with pytest.raises(InvalidInputError, match="same settings"):
        train_fine(replace(TRAIN, samples=40))
    with pytest.raises(InvalidInputError, match="same settings"):
        train_fine(replace(TRAIN, coarse_faces=160))


@pytest.mark.parametrize("learning", ["joint", "sequential"])
def test_other_learning_strategies_have_one_network_per_stage(
    learning: Learning, train_fine: Callable[..., Cascade]
) -> None:
    settings = replace(BRIEF, cascade=replace(SMALL, learning=learning))
    one = train_fine(settings)
    assert len(one.networks) == 2
    first, second = (dict(network.named_parameters()) for network in one.networks)
    assert not torch.equal(first["reweight.weight"], second["reweight.weight"])


def test_joint_training_carries_a_late_error_to_the_first_stage_and_sequential_does_not(
    make_pack: Make, train_fine: Callable[..., Cascade]
) -> None:
    settings = replace(BRIEF, cascade=replace(SMALL, learning="joint"))
    one = train_fine(settings)
    one.networks.requires_grad_(True)
    batch = prepare(one, CropSource([(make_pack(5), 1.0)], settings).faces(0, 4), np.random.default_rng(0))
    first = dict(one.networks[0].named_parameters())["reweight.weight"]
    refinement_loss(one, batch, [0, 1])["stage_2"].backward()  # type: ignore[no-untyped-call]
    assert first.grad is not None
    assert first.grad.abs().sum() > 0
    first.grad = None
    refinement_loss(one, batch, [1])["stage_2"].backward()  # type: ignore[no-untyped-call]
    assert first.grad is None


def test_plain_detectors_train_without_the_solver(make_pack: Make, train_fine: Callable[..., Cascade]) -> None:
    network = replace(SMALL.network, detectors="plain")
    lines: list[str] = []
    settings = replace(BRIEF, cascade=replace(SMALL, network=network))
    one = train_fine(settings, say=lines.append)
    assert not any("zeros in P" in line for line in lines)
    assert np.isfinite(locate_pack(one, make_pack(3), np.arange(3))[0]).all()


def test_weights_come_back_from_their_arrays(cascade: Cascade, make_pack: Make) -> None:
    arrays = cascade_arrays(cascade)
    kinds = {name.rpartition(".")[2]: a.dtype for name, a in arrays.items()}
    assert (kinds["leaves"], kinds["step"]) == (np.dtype(np.int8), np.dtype(np.float32))
    assert set(kinds.values()) <= {np.dtype(t) for t in (np.float16, np.int16, np.uint8, np.int8, np.float32)}
    levels = cascade.coarse[0]
    stored = arrays["coarse.0.0.leaves"] * arrays["coarse.0.0.leaves.step"]
    assert np.abs(stored - levels[0].leaves).max() <= arrays["coarse.0.0.leaves.step"].max() / 2 + 1e-9
    json.loads(arrays["settings"].tobytes().decode())
    back = cascade_from_arrays(arrays)
    crops, _ = plain_crops(make_pack(4), np.arange(4))
    # Half precision moves a threshold now and then; a point by less than a pixel in 200.
    assert np.abs(back.locate(crops).points - cascade.locate(crops).points).mean() < 1.0
    for lost in ("coarse.0.0.leaves", "network.0.mean", "settings"):
        with pytest.raises(InvalidInputError, match="expected"):
            cascade_from_arrays({name: array for name, array in arrays.items() if name != lost})


def test_packs_of_other_markups_train_too(make_pack: Make, tmp_path: Path) -> None:
    """A set with its own markup (as HELEN's 194) and no known mirror pairs: nothing is mirrored."""
    pack = make_pack(20)
    rows = np.r_[0:68, 20:40]
    other = LandmarkPack(pack.images, pack.points[:, rows], pack.state[:, rows], pack.yaw, pack.source)
    cascade = replace(SMALL, network=replace(SMALL.network, landmarks=88))
    settings = replace(BRIEF, cascade=cascade, coarse_faces=40)
    one = train_cascade([(other, 1.0)], settings, TrainingRun(tmp_path))
    crops, truth = plain_crops(other, np.arange(4))
    assert one.locate(crops).points.shape == truth.shape == (4, 88, 2)
    with pytest.raises(InvalidInputError, match="68 points"):
        train_cascade([(other, 1.0)], TRAIN, TrainingRun(tmp_path / "b"))
    with pytest.raises(InvalidInputError, match="68 landmarks"):
        CascadeLandmarker(one)


def test_the_landmarker_answers_in_the_pixels_of_the_photograph(cascade: Cascade, make_pack: Make) -> None:
    pack = make_pack(1, seed=7)
    image = np.repeat(np.kron(pack.images[0], np.ones((2, 2), dtype=np.uint8))[:, :, None], 3, axis=2)
    box = Box(64 - 0.5, 64 - 0.5, 320 - 0.5, 320 - 0.5)
    (marks,) = CascadeLandmarker(cascade).locate(image, [box])
    stages, truth = locate_pack(cascade, pack, np.array([0]))
    own = np.linalg.norm(stages[-1, 0] - truth[0], axis=1).mean() * box.width * CROP_SCALE / CROP_SIZE
    error = np.linalg.norm(marks.points - (2 * pack.points[0] + 0.5), axis=1).mean()
    assert abs(error - own) < 3.0
    assert marks.confidence.shape == marks.visible.shape == (68,)
    assert ((marks.confidence >= 0) & (marks.confidence <= 1)).all()
    twice = CascadeLandmarker(cascade, LandmarkerSettings(mirrored=True, boxes=3, batch=2)).locate(image, [box, box])
    assert np.allclose(twice[0].points, twice[1].points, atol=1e-3)


def test_missing_weights_name_the_training_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facerec.landmarks.landmarker.weight_records", list)
    for model in LANDMARK_MODELS:
        with pytest.raises(InvalidInputError, match=f"facerec train {model}"):
            Landmarker.load(model)


def test_unknown_points_count_for_nothing(make_pack: Make) -> None:
    pack = make_pack(6)
    points, state = pack.points.copy(), pack.state.copy()
    points[:, :10], state[:, :10] = np.nan, 0
    holes = LandmarkPack(pack.images, points, state, pack.yaw, pack.source)
    faces = CropSource([(holes, 1.0)], replace(TRAIN, augment=replace(GENTLE, mirror=0.0))).faces(0, 5)
    assert faces.known[:, 10:].all()
    assert not faces.known[:, :10].any()
    assert np.isfinite(faces.truth).all()
    assert np.allclose(normalised(np.array([99.5]), CROP_SIZE), 0.5)


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="divide 200"):
        CascadeSettings(fine=(60,))
    with pytest.raises(InvalidInputError, match="learning"):
        CascadeSettings(learning="other")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="coarse"):
        DssdTrainSettings(coarse_faces=3)
