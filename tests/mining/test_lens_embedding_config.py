"""The overlay that trains the lesion embedding, on a phantom of a few patients."""

from __future__ import annotations

from pathlib import Path

import torch

from lesion_app.bundle_run import run_bundle
from lesion_app.networks.checkpoint import load_weights
from lesion_app.networks.lesion_embedding import LesionEmbedding

BUNDLE = Path(__file__).resolve().parents[2] / "bundle"


def test_embedding_is_trained_and_written_and_repeatable(phantom_data, tiny_run, tmp_path, unchanged_process):
    weights = []
    for name in ("a", "b"):
        values = tiny_run(phantom_data, tmp_path / name)
        values |= {
            "embedding_iterations": 3,
            "embedding_batch_size": 4,
            "num_workers": 0,
            "pretrained": False,
            "embedding_def#channels": [4, 8],
            "embedding_crop#size_px": 16,
        }
        run_bundle(["train.json", "lens_embedding.json"], values, bundle=BUNDLE)
        network = LesionEmbedding(channels=[4, 8])
        load_weights(network, tmp_path / name / "models" / "embedding.pt")
        weights.append(network.state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
