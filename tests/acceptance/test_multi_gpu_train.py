"""multi_gpu_train.json with two processes on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from lesion_app.bundle_run import run_bundle

WORKER = """
import hashlib, json, sys
from pathlib import Path
import torch.distributed as dist
from lesion_app.bundle_run import run_bundle
from lesion_app.handlers.process_group import join_process_group, leave_process_group

out, shared = Path(sys.argv[1]), json.loads(sys.argv[2])
join_process_group("cpu")

def digest(module):
    return hashlib.sha256(b"".join(v.numpy().tobytes() for v in module.state_dict().values())).hexdigest()

def train(name, epochs, resume=False):
    folder = out / name
    values = {
        "output_dir": str(folder),
        "ckpt_dir": str(folder / "models"),
        "tracking_uri": f"sqlite:///{folder / 'mlruns.db'}",
        "epochs": epochs,
        "resume": resume,
        "finalize": [],
    }
    parser = run_bundle(["train", "demo", "multi_gpu_train"], {**shared, **values})
    report = {name: digest(parser.get_parsed_content(name)) for name in ("teacher", "network")}
    report["validated"] = len(parser.get_parsed_content("validate#dataloader"))
    report["draws"] = sorted(parser.get_parsed_content("train#sampler").__dict__.items())
    return report

report = {"straight": train("straight", 2)}
train("halves", 1)
report["resumed"] = train("halves", 2, resume=True)
(out / f"rank{dist.get_rank()}.json").write_text(json.dumps(report))
leave_process_group()
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_processes_train_one_teacher_and_resume_exactly(
    tiny_phantom: Path, tiny_training: dict[str, Any], tmp_path: Path
) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    shared = {**tiny_training, "batch_size": 1, "dataset_dir": str(tiny_phantom), "device": "$torch.device('cpu')"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    done = subprocess.run(
        [*command, str(tmp_path), json.dumps(shared)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    for report in (first, second):
        for name in ("teacher", "network"):
            assert report["straight"][name] == first["straight"][name], f"the processes' {name} drifted apart"
            assert report["resumed"][name] == report["straight"][name], f"{name} differs after a resume"
        assert report["straight"]["validated"] == 1  # each one of the two volumes
        assert dict(report["resumed"]["draws"])["start"] == 2 * 1 * 2  # iterations x batch x processes
    assert [dict(r["straight"]["draws"])["rank"] for r in (first, second)] == [0, 1]
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'straight' / 'mlruns.db'}")
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert run.info.status == "FINISHED"
    assert "teacher_p3d_ap" in run.data.metrics
    assert len(list((tmp_path / "straight").glob("events.out.tfevents.*"))) == 2  # figures and pictures, of one process


def test_several_processes_need_torchrun(tiny_phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    values = {"dataset_dir": str(tiny_phantom), "ckpt_dir": str(tmp_path), "output_dir": str(tmp_path)}
    with pytest.raises(ValueError, match="torchrun"):
        run_bundle(["train", "demo", "multi_gpu_train"], values)
