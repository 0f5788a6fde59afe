"""What is compared: one row a detector and its settings, from the paper's Tables 2 to 4 and from this project.

"The paper" is Pianese, "Benchmarking SOTA visual object detection techniques for medical applications".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from detector_benchmark.scales import ADAM, Scale
from lesion_app.errors import InputError

Family = Literal["faster_rcnn", "yolov4", "ours", "retina_unet", "lens", "other"]
PRETRAINING = "pretraining"


_SGD = {
    "_target_": "torch.optim.SGD",
    "params": "$@network.parameters()",
    "lr": "@learning_rate",
    "momentum": "@momentum",
}
_UNBALANCED = {
    "train#sampler": {
        "_target_": "lesion_app.data.seeded_sampling.EndlessSampler",
        "length": "$len(@train#dataset)",
        "seed": "@seed",
    }
}
_ANY_LESION = {
    **{f"{part}#dataset#data#typed": False for part in ("train", "validate", "validate_training")},
    "num_classes": 1,
    "class_names": ["lesion"],
}
# Networks of 416 and 816 px in training and of 1024 px in inference see a field of view of 410 mm (DeepLesion's median:
# 512 px of 0.8 mm) at these pixels.
_MM_AT_416, _MM_AT_816, _MM_AT_1024 = 0.985, 0.502, 0.4
_COCO_ANCHORS = ((12, 16), (19, 36), (40, 28), (36, 75), (76, 55), (72, 146), (142, 110), (192, 243), (459, 401))
_PAPER_ANCHORS = ((15, 15), (21, 21), (29, 26), (34, 38), (50, 37), (46, 58), (69, 60), (97, 94), (156, 133))


@dataclass(frozen=True)
class Paper:
    """What the paper reports of a row, in per cent (Tables 3 and 4)."""

    map_train: int
    map_test: int
    iou_train: int
    iou_test: int
    best_epoch: int


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Args:
        title: what the table calls it.
        family: which of the scale's settings apply.
        configs: overlays beside ``train`` and ``typed_detection``.
        overrides: config values on top of the scale's.
        in_evaluation: config values that differ there.
        pretrained: starts from other weights.
        typed: tells the types apart; False: finds lesions of any type, so that only figures without types compare.
        source: where in the paper, or whose thought it is.
        paper: its figures.
    """

    title: str
    family: Family
    configs: tuple[str, ...] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)
    in_evaluation: Mapping[str, Any] = field(default_factory=dict)
    pretrained: bool = False
    typed: bool = True
    source: str = "ours"
    paper: Paper | None = None

    @property
    def weights_key(self) -> str:
        """Config key of the weights a pretrained row starts from."""
        return "darknet_weights" if self.family == "yolov4" else "detector_weights"


def benchmark_rows(
    scale: Scale, added: Mapping[str, Sequence[str]] | None = None, darknet: bool = False
) -> dict[str, Row]:
    """All rows by name, in the order they are run.

    Args:
        scale: learning rates and coarseness.
        added: further detectors, name to configs, each one an overlay on ``typed_detection`` that sets ``network_def``.
        darknet: YOLOv4 starts from a Darknet file, as in the paper; else from scratch.

    Raises:
        InputError: an added detector has the name of another row.
    """
    rows = {**_faster_rcnn(scale), **_yolo(scale, darknet), **_ours()}
    for name, configs in (added or {}).items():
        if name in rows or name == PRETRAINING:
            raise InputError(f"there is a row '{name}' already; give the detector of --detector another name")
        rows[name] = Row(name, "other", tuple(configs))
    return rows


def pretraining_row() -> Row:
    """The run whose weights stand in for COCO's where those cannot be had: any lesion, from the untyped rows."""
    return Row(
        "stand-in for COCO: any lesion, untyped rows",
        "faster_rcnn",
        ("faster_rcnn_resnet50", "faster_rcnn_scratch"),
        {
            **_ANY_LESION,
            **_UNBALANCED,
            # Patients of the official validation split are typed: nobody of them may be looked at here.
            "validate#dataset#data#records#split": "training",
            "validate#dataset#data#limit": 20,
            "training_images_measured": 20,
        },
        typed=False,
    )


def _faster_rcnn(scale: Scale) -> dict[str, Row]:
    scratch, coco = ("faster_rcnn_resnet50", "faster_rcnn_scratch"), ("faster_rcnn_resnet50",)
    adam: dict[str, Any] = {"optimizer": ADAM, "learning_rate": scale.adam_rate}
    sgd: dict[str, Any] = {"optimizer": _SGD, "learning_rate": scale.sgd_rate}

    def row(configs: tuple[str, ...], title: str, overrides: Mapping[str, Any], source: str, paper: Paper) -> Row:
        return Row(
            f"Faster R-CNN, {title}",
            "faster_rcnn",
            configs,
            overrides,
            pretrained=configs[:2] != scratch,
            source=source,
            paper=paper,
        )

    table = "Table 2, row"
    return {
        "frcnn-coco-unbalanced": row(
            coco, "pretrained, Adam, unbalanced", {**adam, **_UNBALANCED}, f"{table} 1", Paper(38, 12, 43, 21, 110)
        ),
        "frcnn-scratch": row(scratch, "scratch, Adam", adam, f"{table} 2", Paper(65, 15, 43, 17, 60)),
        "frcnn-coco": row(coco, "pretrained, Adam", adam, f"{table} 3", Paper(79, 19, 77, 22, 110)),
        "frcnn-scratch-sgd": row(scratch, "scratch, SGD", sgd, f"{table} 4", Paper(1, 0, 2, 0, 20)),
        "frcnn-coco-sgd": row(coco, "pretrained, SGD", sgd, f"{table} 5", Paper(0, 0, 1, 0, 10)),
        "frcnn-coco-augmented": row(
            (*coco, "rotated_views"), "pretrained, Adam, augmented", adam, f"{table} 6", Paper(49, 19, 38, 18, 110)
        ),
        "frcnn-coco-sgd-faster": Row(
            "Faster R-CNN, pretrained, SGD at 100 x the rate",
            "faster_rcnn",
            coco,
            {**sgd, "learning_rate": 100 * scale.sgd_rate},
            pretrained=True,
            source="ours: is it SGD or its learning rate?",
        ),
    }


def _yolo(scale: Scale, darknet: bool) -> dict[str, Row]:
    def anchors(shapes: Sequence[tuple[int, int]]) -> list[list[float]]:
        return [[w / scale.coarser, h / scale.coarser] for w, h in shapes]

    def mm(spacing: float) -> float:
        return spacing * scale.coarser

    common: dict[str, Any] = {
        "slice_repeats": 1,
        "network_def#num_classes": "@num_classes",
        "network_def#num_slices": 1,
        "network_def#score_threshold": scale.lowest_score,
    }
    start = "pretrained" if darknet else "scratch"
    return {
        "yolov4-416": Row(
            f"YOLOv4, {start}, 416 px",
            "yolov4",
            ("yolov4",),
            {
                **common,
                "network_def#anchors": anchors(_COCO_ANCHORS),
                "network_def#strides": [8, 16, 32],
                "pixel_spacing_mm": mm(_MM_AT_416),
                "max_size_px": 416,
            },
            pretrained=darknet,
            source="Table 4, row 1",
            paper=Paper(63, 18, 38, 22, 140),
        ),
        "yolov4-816": Row(
            f"YOLOv4, {start}, 816 px, stride 4",
            "yolov4",
            ("yolov4", "yolov4_stride4"),
            {
                **common,
                "network_def#anchors": anchors(_PAPER_ANCHORS),
                "network_def#strides": [4, 16, 32],
                "pixel_spacing_mm": mm(_MM_AT_816),
                "max_size_px": 816,
            },
            {"pixel_spacing_mm": mm(_MM_AT_1024), "max_size_px": 1024},
            pretrained=darknet,
            source="Table 4, row 2",
            paper=Paper(80, 20, 59, 32, 140),
        ),
    }


def _ours() -> dict[str, Row]:
    def row(slices: int) -> Row:
        return Row(
            f"2.5D Faster R-CNN, {slices} slice{'s' if slices > 1 else ''}",
            "ours",
            (),
            {
                "num_slices": slices,
                "slice_repeats": 3 if slices == 1 else 1,
                "network_def#backbone#num_images": max(slices // 3, 1),
            },
        )

    return {
        **{f"ours-{slices}": row(slices) for slices in (1, 3, 9)},
        "retina-unet": Row(
            "Retina U-Net, 3 slices",
            "retina_unet",
            ("retina_unet", "outlined_labels"),
            {"num_slices": 3, "slice_repeats": 1, "network_def#num_classes": "@num_classes", "detection_score": 0.05},
        ),
        "lens": Row(
            "LENS, 9 slices, any type",
            "lens",
            ("typed_lens",),
            typed=False,
        ),
    }
