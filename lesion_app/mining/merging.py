"""What the student is told about mined lesions: positives, or regions to leave alone."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lesion_app.mining.selection import Detections

Policy = Literal["add", "ignore"]
POLICIES: tuple[Policy, ...] = ("add", "ignore")


def merge_with_ground_truth(target: dict[str, Tensor], mined: Detections, policy: Policy) -> dict[str, Tensor]:
    """Join the labels of one image with its mined lesions (Bai & Xia, equation 5 and Table III).

    Args:
        target: ``{boxes [G, 4], labels [G], ignore [M, 4] (optional)}``; not changed.
        mined: lesions of :func:`select_mined` in the same view.
        policy: ``add`` makes them positives; ``ignore`` makes them ignore regions.

    Returns:
        a new target; it holds ``ignore`` when the old one did or the policy adds to it.

    Raises:
        ValueError: on another policy.
    """
    if policy not in POLICIES:
        raise ValueError(f"the policy for mined lesions must be one of {POLICIES}, got {policy!r}")
    merged = dict(target)
    boxes = mined["boxes"].to(target["boxes"])
    if policy == "add":
        merged["boxes"] = torch.cat((target["boxes"], boxes))
        merged["labels"] = torch.cat((target["labels"], mined["labels"].to(target["labels"])))
    elif len(boxes):
        known = target.get("ignore", boxes.new_zeros((0, 4)))
        merged["ignore"] = torch.cat((known, boxes))
    return merged
