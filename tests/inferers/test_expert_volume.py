"""Volumes through LENS: fused lesions that name their expert, each expert's own, streaming as naive windows."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lesion_app.boxes.expert_tracklet import ExpertTracklet
from lesion_app.handlers.lesion_writer import LesionWriter
from lesion_app.inferers.expert_volume import ExpertVolumeInferer, of_expert
from lesion_app.inferers.lesions_json import lesions_document, read_lesions_json, write_lesions_json
from lesion_app.networks.centerness_rpn import CenternessRPN
from lesion_app.networks.densenet_25d import DenseNet25D
from lesion_app.networks.lens import LENS
from lesion_app.tracking.slice_stacker import SliceStacker
from transforms.ct_source import CTSource
from transforms.geometry import VolumeGeometry
from transforms.scale_hu import ScaleHU
from transforms.view import View

EXPERTS = ("deeplesion", "luna16")


def found(*rows: tuple[float, float, float, float, float, int]) -> dict[str, Tensor]:
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    return {"boxes": table[:, :4], "scores": table[:, 4], "labels": table[:, 5].long()}


# a lesion both find, best by luna16 on slice 1; one of deeplesion's alone; nothing on the last slice
SLICES = [
    found((10, 10, 20, 20, 0.6, 1), (10, 10, 20, 21, 0.5, 2)),
    found((10, 10, 20, 20, 0.7, 1), (10, 10, 20, 21, 0.9, 2), (40, 40, 50, 50, 0.3, 1)),
    found((40, 40, 50, 50, 0.4, 1)),
    found(),
]


def inferer(**options: Any) -> ExpertVolumeInferer:
    settings = {"linker": SliceStacker(0.5), "intensity": ScaleHU(-1024, 3071), "experts": EXPERTS}
    return ExpertVolumeInferer(**{**settings, **options})


def scripted(monkeypatch: pytest.MonkeyPatch, slices: list[dict[str, Tensor]], **options: Any) -> tuple[Any, Any]:
    """Fused lesions and the item, when the network says ``slices``."""
    made, item = inferer(**options), {}
    monkeypatch.setattr(made, "detect_slices", lambda item, network: slices)
    return made([item], None)[0], item  # type: ignore[list-item, arg-type]


def test_fused_lesions_name_the_expert_of_their_key_slice(monkeypatch) -> None:
    lesions, _ = scripted(monkeypatch, SLICES)
    assert [(x.slices, x.expert, round(x.score, 3), x.label) for x in lesions] == [
        ((0, 1), "luna16", 0.9, 1),
        ((1, 2), "deeplesion", 0.4, 1),
    ]
    assert lesions[0].boxes == ((10, 10, 20, 20), (10, 10, 20, 21))  # each slice by the surer expert


def test_each_expert_s_own_lesions_are_left_in_the_item(monkeypatch) -> None:
    _, item = scripted(monkeypatch, SLICES)
    told = {name: [(x.slices, x.expert) for x in own] for name, own in item["expert_lesions"].items()}
    assert told == {
        "deeplesion": [((0, 1), "deeplesion"), ((1, 2), "deeplesion")],
        "luna16": [((0, 1), "luna16")],
    }


def test_expert_is_told_where_the_linker_moves_boxes(monkeypatch) -> None:
    def moving(slices):
        return [
            ExpertTracklet(x.slices, tuple((a + 1, b, c + 1, d) for a, b, c, d in x.boxes), x.scores)
            for x in SliceStacker(0.5)(slices)
        ]

    lesions, _ = scripted(monkeypatch, SLICES, linker=moving)
    assert [x.expert for x in lesions] == ["luna16", "deeplesion"]


def test_volume_without_detections_has_no_lesions(monkeypatch) -> None:
    lesions, item = scripted(monkeypatch, [found(), found()])
    assert lesions == []
    assert item["expert_lesions"] == {"deeplesion": [], "luna16": []}


def test_share_of_an_expert_is_one_class() -> None:
    (first, *_) = of_expert(SLICES, 2)
    assert first["labels"].tolist() == [1]
    assert first["boxes"].tolist() == [[10, 10, 20, 21]]


def tiny_lens(**settings: Any) -> LENS:
    torch.manual_seed(3)
    backbone = DenseNet25D(growth_rate=4, block_config=(1, 2, 2), num_init_features=8, bn_size=2, out_channels=16)
    small = partial(CenternessRPN, channels=8, pre_nms_test=50, post_nms_test=10, nms_iou=0.3, min_size=2.0)
    # few, well parted detections, so that rounding cannot change their order or their number
    made = LENS(
        backbone,
        EXPERTS,
        small,
        box_head_channels=32,
        box_score_threshold=0.0,
        box_nms_iou=0.2,
        box_detections_per_image=5,
        fuse=False,
        **settings,
    ).eval()
    for predictor in made.roi_heads.box_predictor:
        torch.nn.init.normal_(predictor.cls_score.weight, std=0.5)
    return made


@pytest.mark.parametrize("spacing", [1.25, 2, 5])
def test_streaming_equals_naive_windows(spacing: float) -> None:
    rng = torch.Generator().manual_seed(0)
    volume = torch.randint(-300, 300, (9, 40, 52), generator=rng, dtype=torch.int16)
    item = {"image": volume, "spacing_mm": (1.0, 1.0, spacing), "view": View()}
    network = tiny_lens()
    streamed, naive = (inferer(mode=mode).detect_slices(item, network) for mode in ("streaming", "naive"))
    for a, b in zip(streamed, naive):
        assert len(a["boxes"]) == len(b["boxes"]) > 0
        assert_close(a, b, atol=1e-4, rtol=1e-4)


# lesions.json

MODEL = {"network": "LENS", "file": "model.pt", "sha256": "0" * 64}
CONFIG = {"files": [{"file": "inference.json", "sha256": "0" * 64}]}
GRID = VolumeGeometry.from_file_grid((64, 64, 4), torch.diag(torch.tensor([1.0, 1, 2, 1])).numpy())


def document(lesions, **more):
    source = {"kind": "nifti", "name": "ct.nii.gz", "series_uid": None}
    return lesions_document(lesions, GRID, model=MODEL, config=CONFIG, source=source, score_threshold=0.1, **more)


def test_lesions_json_says_who_found_what(monkeypatch, tmp_path) -> None:
    lesions, item = scripted(monkeypatch, SLICES)
    path = write_lesions_json(document(lesions, experts=item["expert_lesions"]), tmp_path / "lesions.json")
    read = read_lesions_json(path)
    assert [x["expert"] for x in read["lesions"]] == ["luna16", "deeplesion"]
    assert [(e["name"], [x["id"] for x in e["lesions"]]) for e in read["experts"]] == [
        ("deeplesion", [1, 2]),
        ("luna16", [1]),
    ]


def test_other_detectors_lesions_json_stays_as_it_was(monkeypatch) -> None:
    plain = SliceStacker(0.5)(of_expert(SLICES, 1))
    told = document(plain)
    assert "experts" not in told
    assert all("expert" not in lesion for lesion in told["lesions"])


def test_lesion_of_an_expert_outside_the_grid_is_refused() -> None:
    stray = ExpertTracklet((9,), ((1.0, 1, 5, 5),), (0.5,), expert="luna16")
    with pytest.raises(ValueError, match="slice 9"):
        document([], experts={"luna16": [stray]})


def test_writer_leaves_out_what_experts_are_unsure_of(monkeypatch, tmp_path) -> None:
    lesions, item = scripted(monkeypatch, SLICES)
    source = CTSource(GRID, "nifti", lambda ks: ())
    writer = LesionWriter(tmp_path, MODEL, CONFIG, min_score=0.5, flat=True, sheet=False)
    writer.write({**item, "path": "ct.nii.gz", "source": source, "geometry": GRID}, lesions[:1])
    read = json.loads((tmp_path / "lesions.json").read_text())
    assert [(e["name"], len(e["lesions"])) for e in read["experts"]] == [("deeplesion", 1), ("luna16", 1)]
