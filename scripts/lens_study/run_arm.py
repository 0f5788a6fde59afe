"""Trains and evaluates one arm in a process of its own: ``python run_arm.py OUT ARM SEED SCALE``.

Every step leaves a file behind and is not done again.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lens_study.arms import ALL, ARMS, MINED, SINGLE_TYPE, Arm, Evaluation
from lens_study.datalists import positives_only, with_strategies, without_types
from lens_study.scales import SCALES

FIGURES = "evaluation.json"


@dataclass(frozen=True)
class Places:
    """Where a seed's data and arms lie."""

    out: Path
    seed: int

    @property
    def data(self) -> Path:
        return self.out / "data" / f"seed{self.seed}"

    def arm(self, name: str) -> Path:
        return self.out / "arms" / name / f"seed{self.seed}"

    def model(self, name: str) -> Path:
        return self.arm(name) / "models" / "model.pt"

    @property
    def mining(self) -> Path:
        return self.out / "mining" / f"seed{self.seed}"


def run_arm(out: Path, name: str, seed: int, scale_name: str) -> None:
    """Train (taking up an interrupted training), then evaluate in every way asked for; all by the bundle's configs."""
    from lesion_app.bundle_run import run_bundle

    arm, scale, places = ARMS[name], SCALES[scale_name], Places(out, seed)
    folder = places.arm(name)
    folder.mkdir(parents=True, exist_ok=True)
    if arm.mined:
        mine(places, scale)
    overlay = folder / "overlay.json"
    overlay.write_text(json.dumps(settings(arm, places, scale), indent=1))
    configs = [*scale["training"], *(["lens_mean_teacher"] if arm.online else []), str(overlay)]
    values = {"ckpt_dir": str(folder / "models"), "seed": seed}
    if not (folder / "trained").is_file():
        run_bundle(configs, {**values, "output_dir": str(folder / "training"), "resume": True})
        (folder / "trained").touch()
    for evaluation in arm.evaluations:
        if not (folder / evaluation.name / FIGURES).is_file():
            evaluate(evaluation, name, places, scale, configs, values)


def settings(arm: Arm, places: Places, scale: dict[str, Any]) -> dict[str, Any]:
    """The config values that make the arm."""
    data = places.data
    own: dict[str, Any] = {"root": str(data / "deeplesion"), "mined": "add", "join": arm.join}
    if arm.mined:
        mark = "+".join(arm.mined) + ("-as-lesions" if arm.uncertain_as_lesions else "")
        own["datalist"] = str(places.mining / "arms" / f"{mark}.json")
        if not Path(own["datalist"]).is_file():
            with_strategies(places.mining / "datalist.json", Path(own["datalist"]), arm.mined, arm.uncertain_as_lesions)
    if arm.unlabelled_types:
        own["datalist"] = str(data / "unlabelled-types" / ("-".join(map(str, arm.unlabelled_types)) + ".json"))
        if not Path(own["datalist"]).is_file():
            root = data / "deeplesion"
            without_types(root / "datalist.json", root / "truth.json", Path(own["datalist"]), arm.unlabelled_types)
    collections: dict[str, Any] = {"deeplesion": own}
    for name in SINGLE_TYPE:
        collection: dict[str, Any] = {"root": str(data / name), "mined": "add", "join": "all"}
        if name in arm.pooled:
            collection["expert"] = "deeplesion"
        if arm.positives_only:
            collection |= {"datalist": str(data / "positives" / f"{name}.json"), "join": "labelled"}
            if not Path(collection["datalist"]).is_file():
                positives_only(data / name / "datalist.json", Path(collection["datalist"]))
        collections[name] = collection
    values = {
        **scale.get("shared", {}),
        "dataset_dir": str(data / "deeplesion"),
        "datalist": str(data / "deeplesion" / "datalist.json"),
        "datasets": list(arm.experts),
        "collections": collections,
    }
    return values | (scale["online"] if arm.online else {})


def mine(places: Places, scale: dict[str, Any]) -> None:
    """Enrich DeepLesion's datalist by what the arm ``multi`` of the seed finds in it."""
    if (places.mining / "datalist.json").is_file():
        return
    places.mining.mkdir(parents=True, exist_ok=True)
    with (places.mining / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two arms of a seed may come here at once
        if not (places.mining / "datalist.json").is_file():
            _mine(places, scale)


def _mine(places: Places, scale: dict[str, Any]) -> None:
    from lesion_app.bundle_run import run_bundle

    data = places.data / "deeplesion"
    shared = {
        "dataset_dir": str(data),
        "output_dir": str(places.mining),
        "seed": places.seed,
        **scale.get("shared", {}),
    }
    weights = places.mining / "embedding.pt"
    if not weights.is_file():
        run_bundle(
            [*scale["training"], "lens_embedding"],
            {
                **shared,
                "datalist": str(data / "datalist.json"),
                "embedding_weights": str(weights),
                **scale["embedding"],
            },
        )
    crop = {k: v for k, v in scale["embedding"].items() if k.startswith("embedding_crop")}
    run_bundle(
        ["inference", *scale["inference"], "lens_mine"],
        {
            **crop,
            **{k: v for k, v in scale.get("shared", {}).items() if k == "max_size_px"},
            "dataset_dir": str(data),
            "output_dir": str(places.mining),
            "weights": str(places.model("multi")),
            "embedding_weights": str(weights),
            "datasets": list(ALL),
            **scale["mining"],
            "cross_dataset": True,
        },
        workflow_type="infer",
    )


def evaluate(
    evaluation: Evaluation,
    name: str,
    places: Places,
    scale: dict[str, Any],
    configs: list[str],
    values: dict[str, Any],
) -> None:
    """Average sensitivity on the test patients, by LENS's metric."""
    from lesion_app.bundle_run import run_bundle

    folder = places.arm(name)
    overlays = [*configs, "evaluate", "lens_evaluate"]
    extra = {**values, "output_dir": str(folder / evaluation.name), **evaluation.overrides}
    needed = ARMS[name].needs
    if needed:
        separate = folder / "separate.json"
        separate.write_text(json.dumps(separate_models([places.model(n) for n in (*needed, name)]), indent=1))
        overlays.append(str(separate))
    if evaluation.second_opinion:
        learn_second_opinion(name, places, scale)
        as_trained = ("fpr_patch", "fpr_network_def", "fpr_min_candidate_score")
        grid = {k: v for k, v in scale["second_opinion"].items() if k.startswith(as_trained)}
        grid.pop("fpr_network_def#pretrained", None)
        overlays.append("false_positive_evaluate")
        extra |= {"fpr_weights": str(folder / "models" / "false_positive.pt"), **grid}
    run_bundle(overlays, extra)


def separate_models(weights: list[Path]) -> dict[str, Any]:
    """Config of the models of several arms, asked one after the other."""
    loaded = [
        {
            "_target_": "lesion_app.networks.checkpoint.load_weights",
            "network": {"_target_": "copy.deepcopy", "x": "@network"},
            "path": str(path),
            "device": "@device",
        }
        for path in weights
    ]
    return {
        "separate_detectors": loaded,
        "validate#evaluator#network": {
            "_target_": "lesion_app.networks.separate_detectors.SeparateDetectors",
            "detectors": "@separate_detectors",
            "fusion_nms_iou": "@network_def#fusion_nms_iou",
            "detections_per_image": "@network_def#box_detections_per_image",
        },
    }


def learn_second_opinion(name: str, places: Places, scale: dict[str, Any]) -> None:
    """Train the false-positive reduction on what the arm's model finds in the training split."""
    from lesion_app.bundle_run import run_bundle

    folder, data = places.arm(name), places.data / "deeplesion"
    enriched = places.mining / "arms" / f"{'+'.join(MINED)}.json"
    if not (folder / "candidates" / ".complete").is_file():
        run_bundle(
            ["inference", *scale["inference"], "false_positive_candidates"],
            {
                **{k: v for k, v in scale.get("shared", {}).items() if k == "max_size_px"},
                "dataset_dir": str(data),
                "candidate_datalist": str(data / "datalist.json"),
                "output_dir": str(folder / "candidates"),
                "weights": str(places.model(name)),
                "datasets": list(ALL),
                "progress": False,
            },
            workflow_type="infer",
        )
        (folder / "candidates" / ".complete").touch()
    if not (folder / "models" / "false_positive.pt").is_file():
        run_bundle(
            ["false_positive_train"],
            {
                "dataset_dir": str(data),
                "datalist": str(enriched),
                "detections_dir": str(folder / "candidates"),
                "fpr_weights": str(folder / "models" / "false_positive.pt"),
                "output_dir": str(folder / "second-opinion-training"),
                "seed": places.seed,
                **scale["second_opinion"],
            },
        )


if __name__ == "__main__":
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    run_arm(Path(sys.argv[1]).absolute(), sys.argv[2], int(sys.argv[3]), sys.argv[4])
