"""``configs/reviewed.json``: training goes on from a model, on what readers answered."""

from __future__ import annotations

import json

import torch
from monai.bundle import ConfigParser

from lesion_app.bundle_run import config_paths, find_bundle
from lesion_app.data.datalist import write_datalist
from lesion_app.labeling.decisions import apply_decisions, decide
from lesion_app.labeling.review_queue import review_queue


def parsed(configs, values):
    parser = ConfigParser(ConfigParser.load_config_files(config_paths(find_bundle(), configs)))
    parser.update({"bundle_root": str(find_bundle()), "device": "$torch.device('cpu')", "use_mlflow": False, **values})
    return parser


def test_training_starts_from_the_model_and_takes_the_answers(records, tmp_path):
    verdicts = ("rejected", "confirmed", "unknown")
    queue = sorted(review_queue(records), key=lambda one: one.slice)
    answers = [decide(one, verdict, "A") for one, verdict in zip(queue, verdicts)]
    records = apply_decisions(records, answers).records
    write_datalist(tmp_path / "datalist.json", {}, {"training": records, "validation": [], "test": []})
    small = {"network_def#backbone#block_config": [1, 1, 1], "pretrained": False}
    torch.manual_seed(0)
    network = parsed(["train", "demo"], small).get_parsed_content("network")
    torch.save(network.state_dict(), tmp_path / "start.pt")
    values = {**small, "dataset_dir": str(tmp_path), "start_weights": str(tmp_path / "start.pt")}
    parser = parsed(["train", "demo", "reviewed"], values)

    torch.manual_seed(1)
    begun = parser.get_parsed_content("network")
    assert all(torch.equal(a, b) for a, b in zip(begun.state_dict().values(), network.state_dict().values()))
    items = parser.get_parsed_content("train#dataset#data")
    found = [(i["slice"], len(i["boxes"]), len(i["ignore"]), len(i.get("negatives", []))) for i in items]
    # slice 5: the label and an unknown find, 3: rejected, 4: confirmed; 7 holds a find that nobody answered
    assert found == [(5, 1, 1, 0), (3, 0, 0, 1), (4, 1, 0, 0)]
    models = parser.get_parsed_content("ckpt_dir")
    assert models != parsed(["train"], {}).get_parsed_content("ckpt_dir")  # the first model stays
    assert json.loads((tmp_path / "datalist.json").read_text())["training"] == records
