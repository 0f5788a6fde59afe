"""What is compared: each arm is a way of labelling the training slices and a few config values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from lesion_app.bundle_run import find_bundle

TAU = 0.9


@dataclass(frozen=True)
class Arm:
    """One row of the table.

    Args:
        title: what the table calls it.
        labels: rule of :func:`lesion_app.data.datalist.prepare_deeplesion`.
        overrides: config values that differ from the scale's overlays.
        missing_rate: share of lesions without a label; None = the study's main rate.
        every_seed: main arms are run with every seed, the others with the first one.
        offline: mine once with the finished model of the arm named, then train: ``(arm, kind)``.
        table: where in Bai & Xia, or whose thought it is.
    """

    title: str
    labels: str = "partial"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    missing_rate: float | None = None
    every_seed: bool = False
    offline: tuple[str, Literal["mined", "negative"]] | None = None
    table: str = ""


def study_arms(scale: Mapping[str, Any]) -> dict[str, Arm]:
    """The arms of the study by name, in the order they are run.

    Args:
        scale: ``warmup``, iterations of the learning rate's, and ``decay_at``, half of all.
    """
    mine = {"mine": True}
    negatives = {"train_slices": "negative"}
    arms = {
        "complete": Arm(
            "complete labels, same slices",
            labels="complete-on-labelled-slices",
            overrides={"mine": False},
            every_seed=True,
            table="upper bound",
        ),
        "partial": Arm(
            "partial labels, no mining", overrides={"mine": False}, every_seed=True, table="Table I, R; lower bound"
        ),
        "ours": Arm("mining, tau 0.90, add", overrides=mine, every_seed=True, table="Table I, R + P+"),
        "ours-band": Arm(
            "mining, tau 0.90, add; 0.5 to 0.9 ignored",
            overrides={**mine, "ignore_threshold": 0.5},
            table="ours; doubtful boxes as in Lyu et al.",
        ),
        "band-0.30": Arm(
            "mining, tau 0.90, add; 0.3 to 0.9 ignored", overrides={**mine, "ignore_threshold": 0.3}, table="ours"
        ),
        "ignore": Arm("mining, tau 0.90, ignore", overrides={**mine, "policy": "ignore"}, table="Table III"),
    }
    for tau in (0.95, 0.85, 0.80):
        arms[f"tau-{tau:.2f}"] = Arm(
            f"mining, tau {tau:.2f}, add", overrides={**mine, "score_threshold": tau}, table="Table II"
        )
    arms["lr-decay"] = Arm(
        "mining, learning rate x 0.1 half-way",
        overrides={
            **mine,
            "lr_scheduler": {
                "_target_": "torch.optim.lr_scheduler.SequentialLR",
                "optimizer": "@optimizer",
                "schedulers": [
                    {
                        "_target_": "torch.optim.lr_scheduler.LinearLR",
                        "optimizer": "@optimizer",
                        "start_factor": "@lr_warmup_factor",
                        "total_iters": "@lr_warmup_iterations",
                    },
                    {
                        "_target_": "torch.optim.lr_scheduler.StepLR",
                        "optimizer": "@optimizer",
                        "step_size": scale["decay_at"] - scale["warmup"],
                        "gamma": 0.1,
                    },
                ],
                "milestones": ["@lr_warmup_iterations"],
            },
        },
        table="Table IV",
    )
    arms["hard-negatives"] = Arm(
        "mining, and hard negatives of a first model",
        overrides={**mine, **negatives},
        every_seed=True,
        offline=("ours", "negative"),
        table="Table I, R + P+ + P-",
    )
    # With hard negatives nearly all that is found from 0.90 on is right: is there room for a lower tau?
    arms["hard-negatives-0.70"] = Arm(
        "mining, tau 0.70, add, and hard negatives of a first model",
        overrides={**mine, **negatives, "score_threshold": 0.7},
        offline=("ours", "negative"),
        table="ours",
    )
    # What hard negatives do by themselves, on both bounds: they come with slices of their own.
    for name in ("partial", "complete"):
        bound = arms[name]
        arms[f"{name}-negatives"] = replace(
            bound,
            title=f"{bound.title}, and hard negatives of this model",
            overrides={**bound.overrides, **negatives},
            offline=(name, "negative"),
            table="ours; control of P-",
        )
    # The finished model of `ours` finds other negatives than that of `partial`: the same ones, and no mining.
    arms["same-negatives"] = Arm(
        "no mining, the hard negatives of the mining arms",
        overrides={"mine": False, **negatives},
        every_seed=True,
        offline=("ours", "negative"),
        table="ours; control of P-",
    )
    arms["offline"] = Arm(
        "mined once at 0.90 by the model without mining, trained anew",
        overrides={"mine": False, "use_mined": "add"},
        offline=("partial", "mined"),
        table="multi-stage peer",
    )
    # On slices that it was trained on, nine of ten finds of the model without mining are right from 0.5 on.
    arms["offline-0.50"] = Arm(
        "mined once at 0.50 by the model without mining, trained anew",
        overrides={"mine": False, "use_mined": "add", "score_threshold": 0.5},
        offline=("partial", "mined"),
        table="multi-stage peer",
    )
    for rate in (0.3, 0.5, 0.7):
        for name, title, options in (
            ("partial", "no mining", {"mine": False}),
            ("ours", "mining, tau 0.90, add", mine),
        ):
            arms[f"missing-{rate:.1f}-{name}"] = Arm(
                f"{100 * rate:.0f} % missing, {title}", overrides=options, missing_rate=rate, table="missing fraction"
            )
    # Beyond the paper. A check needs something to refuse: at 0.85 a third of what is mined is wrong.
    overlay = json.loads((find_bundle() / "configs" / "mined_box_bank.json").read_text())
    bank = {**mine, **{key: value for key, value in overlay.items() if key != "_desc_"}}
    laine = "ours; temporal ensembling, Laine & Aila 2017"
    arms["bank"] = Arm(
        "mining, tau 0.85, add; found in 2 of the last 3 visits",
        overrides={**bank, "score_threshold": 0.85},
        table=laine,
    )
    arms["bank-0.90"] = Arm("mining, tau 0.90, add; found in 2 of the last 3 visits", overrides=bank, table=laine)
    arms["bank-negatives"] = Arm(
        "mining, tau 0.90, add; found in 2 of the last 3 visits, and hard negatives of a first model",
        overrides={**bank, **negatives},
        every_seed=True,
        offline=("ours", "negative"),
        table=laine,
    )
    # No method, since no user has the truth: these tell what the wrong boxes cost.
    only_right = {**mine, "mining_checks": [{"_target_": "missing_labels.truth_check.OnlyRight"}]}
    for tau in (TAU, 0.50):
        arms[f"oracle-{tau:.2f}"] = Arm(
            f"mining, tau {tau:.2f}, add; wrong boxes taken away by the truth",
            overrides={**only_right, "score_threshold": tau},
            table="ours; diagnosis",
        )
    arms["complete-all"] = Arm(
        "complete labels, all key slices",
        labels="complete-on-key-slices",
        overrides={"mine": False},
        table="more slices as well",
    )
    return arms
