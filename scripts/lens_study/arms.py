"""What is compared: each arm is a training with some of LENS's steps, evaluated in one or more ways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

SINGLE_TYPE = ("luna16", "lits", "nih-ln")
ALL = ("deeplesion", *SINGLE_TYPE)
Strategies = tuple[str, ...]
MINED: Strategies = ("cross-slice", "intra-patient", "cross-dataset")


@dataclass(frozen=True)
class Evaluation:
    """One way of looking at a trained arm, a row of a table.

    Args:
        name: of its folder.
        title: what the table calls it.
        table: ``I``, ``III`` or ``IV`` of the paper, ``ours``, or ``experts``: what stands behind row (c).
        published: the paper's average sensitivity, per cent; None where it has no such row.
        overrides: config values.
        second_opinion: average the scores with the false-positive reduction's.
    """

    name: str
    title: str
    table: Literal["I", "III", "IV", "ours", "experts"]
    published: float | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    second_opinion: bool = False


@dataclass(frozen=True)
class Arm:
    """One training.

    Args:
        experts: data sets of the network.
        pooled: single-type sets that the DeepLesion expert learns from as if they were its own.
        mined: strategies whose boxes join DeepLesion's datalist; needs the arm ``multi`` of the seed.
        join: slices of DeepLesion that are drawn from.
        unlabelled_types: lesion types (1..8) whose labels are taken out of DeepLesion's training split.
        positives_only: the single-type sets teach lesions, but no background.
        uncertain_as_lesions: boxes mined across data sets are lesions instead of ignored.
        online: under the online mean teacher.
        every_seed: run with every seed; the others with the first one.
        needs: arms whose models this one looks at when it is evaluated, beside its own.
        evaluations: rows.
    """

    experts: tuple[str, ...]
    pooled: tuple[str, ...] = ()
    mined: Strategies = ()
    join: Literal["labelled", "mined", "all"] = "labelled"
    unlabelled_types: tuple[int, ...] = ()
    positives_only: bool = False
    uncertain_as_lesions: bool = False
    online: bool = False
    every_seed: bool = False
    needs: tuple[str, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()


ARMS: dict[str, Arm] = {
    "single": Arm(
        ("deeplesion",),
        every_seed=True,
        evaluations=(Evaluation("alone", "(a) DeepLesion alone, centerness proposals", "I", 36.8),),
    ),
    "multi": Arm(
        ALL,
        every_seed=True,
        evaluations=(
            Evaluation(
                "expert",
                "(b) four data sets, DeepLesion's expert",
                "I",
                37.3,
                {"network_def#expert": "deeplesion"},
            ),
            Evaluation("fused", "(c) proposal fusion", "I", 39.4),
            *(
                Evaluation(name, f"{name}'s expert", "experts", None, {"network_def#expert": name})
                for name in SINGLE_TYPE
            ),
            Evaluation("surer", "fused, boxes of score >= 0.1 only", "experts", None, {"linker#min_score": 0.1}),
        ),
    ),
    "mined": Arm(
        ALL,
        mined=MINED,
        join="all",
        every_seed=True,
        evaluations=(
            Evaluation("fused", "(d) retrained on mined annotations", "I", 47.6),
            Evaluation("second-opinion", "(e) 3D false-positive reduction", "I", 50.4, second_opinion=True),
        ),
    ),
    "online": Arm(
        ALL,
        online=True,
        every_seed=True,
        evaluations=(Evaluation("fused", "four data sets under the online mean teacher", "ours"),),
    ),
    "cross-slice": Arm(
        ("deeplesion",),
        mined=MINED[:1],
        join="mined",
        evaluations=(Evaluation("alone", "+ cross-slice", "III", 37.7),),
    ),
    "intra-patient": Arm(
        ("deeplesion",),
        mined=MINED[:2],
        join="mined",
        evaluations=(Evaluation("alone", "+ intra-patient", "III", 40.7),),
    ),
    "cross-dataset": Arm(
        ("deeplesion",),
        mined=MINED,
        join="mined",
        evaluations=(Evaluation("alone", "+ cross-dataset", "III", 44.6),),
    ),
    "unlabelled": Arm(
        ("deeplesion",),
        mined=MINED,
        join="all",
        evaluations=(Evaluation("alone", "+ unlabelled slices", "III", 46.8),),
    ),
    "pooled": Arm(
        ("deeplesion",),
        pooled=SINGLE_TYPE,
        evaluations=(Evaluation("alone", "data pooling", "IV", 39.4),),
    ),
    "positives": Arm(
        ("deeplesion",),
        pooled=SINGLE_TYPE,
        positives_only=True,
        evaluations=(Evaluation("alone", "positive data pooling", "IV", 32.8),),
    ),
    "only-luna16": Arm(("luna16",)),
    "only-lits": Arm(("lits",)),
    "only-nih-ln": Arm(
        ("nih-ln",),
        needs=("single", "only-luna16", "only-lits"),
        evaluations=(Evaluation("separate", "separate models, fused", "IV", 39.6),),
    ),
    "uncertain-as-lesions": Arm(
        ALL,
        mined=MINED,
        join="all",
        uncertain_as_lesions=True,
        evaluations=(Evaluation("fused", 'uncertain boxes as lesions ("ignored as GT")', "IV", 44.9),),
    ),
    # The premise of fusion made true: of what the specialists know, DeepLesion shows no label.
    "types-unlabelled": Arm(
        ALL,
        unlabelled_types=(3, 4, 5),
        evaluations=(
            Evaluation(
                "expert",
                "no mediastinum, liver and lung in DeepLesion's labels: its expert",
                "experts",
                None,
                {"network_def#expert": "deeplesion"},
            ),
            Evaluation("fused", "no mediastinum, liver and lung in DeepLesion's labels: fused", "experts"),
        ),
    ),
}
