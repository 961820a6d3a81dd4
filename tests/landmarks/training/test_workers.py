import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from facerec.landmarks.training.packs import LandmarkPack
from facerec.landmarks.training.workers import Workers, started_workers

TWO = """
import sys
from pathlib import Path
import torch
from facerec.landmarks.training.resume import TrainingRun
from facerec.landmarks.training.packs import LandmarkPack
from facerec.landmarks.godp_graph import GodpSettings
from facerec.landmarks.training.godp import TrainSettings, train_godp
from facerec.landmarks.training.workers import Workers, started_workers

torch.set_num_threads(1)
folder = Path(sys.argv[1])
with started_workers("cpu") as device:
    rank = Workers.here().rank
    settings = TrainSettings(GodpSettings(width=0.03), samples=8, batch=2)
    pack = LandmarkPack.load(folder / "pack.npz")
    seen = []
    network = train_godp([(pack, 1.0)], settings, TrainingRun(folder / "run", device),
                         on_progress=lambda p: seen.append(p.samples))
    assert seen == [4, 8], seen
    torch.save({k: v for k, v in network.state_dict().items() if "running" not in k}, folder / f"{rank}.pt")
"""


@pytest.mark.slow
def test_two_processes_train_one_network(tmp_path: Path, make_pack: Callable[..., LandmarkPack]) -> None:
    make_pack(8).save(tmp_path / "pack.npz")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    (tmp_path / "two.py").write_text(TWO)
    done = subprocess.run(
        [*command, str(tmp_path / "two.py"), str(tmp_path)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    # Their own faces differ, so only shared gradients keep the weights together.
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    assert (tmp_path / "run" / "checkpoint.pt").exists()


def test_a_process_alone_is_a_group_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with started_workers("cpu") as device:
        assert device == torch.device("cpu")
        workers = Workers.here()
    assert (workers.count, workers.first, workers.agreed(0.25, device)) == (1, True, 0.25)
    layer = torch.nn.Linear(2, 1)
    layer(torch.ones(1, 2)).sum().backward()
    assert layer.weight.grad is not None
    before = layer.weight.grad.clone()
    workers.average_gradients(layer)
    assert torch.equal(layer.weight.grad, before)
