"""How near is too near? LENS's delta for an embedding other than LesaNet's, from pairs known to be different lesions.

Yan et al. (LENS, IEEE TMI 40(10), 2021, section VI-B) chose delta = 0.15 by hand for LesaNet's embedding. In another
one distances mean something else. What is known without further labels: two places in one scan are two lesions, or a
lesion and none. The way of choosing is ours.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from lesion_app.boxes.overlap import box_iou
from lesion_app.data.record import Record
from lesion_app.mining.cross_slice import key_slice_iou
from lesion_app.mining.enrich import Proposals


def distances_within_scans(
    records: Iterable[Record], proposals: dict[str, Proposals], theta: float = 0.5
) -> NDArray[np.float64]:
    """Distance of finds to the nearest annotated lesion of their own scan, which they are known not to be.

    Finds that may be that lesion after all are left out: those whose key-slice IoU with it is > theta, and those that
    share a pixel with it in any of their slices (one lesion may be found in two pieces).

    Args:
        records: of the sub-volumes.
        proposals: by record ``id``, with embeddings; records without are passed over.
        theta: as in `key_slice_iou`.

    Returns:
        [N], L2 distances.
    """
    found: list[NDArray[np.float64]] = []
    for record in records:
        one = proposals.get(record["id"])
        marks = [a for a in record["annotations"] if a["kind"] == "lesion"]
        if one is None or one.embeddings is None or one.annotation_embeddings is None or not one.tracklets or not marks:
            continue
        boxes = torch.tensor([a["box"] for a in marks], dtype=torch.float64)
        slices = [a["slice"] - record["slices"][0] for a in marks]
        same = key_slice_iou(one.tracklets, slices, boxes.numpy()) > theta
        extents = torch.tensor([t.extent for t in one.tracklets], dtype=torch.float64)[:, [0, 1, 3, 4]]
        same |= box_iou(extents, boxes).numpy() > 0
        distance = np.linalg.norm(
            np.asarray(one.embeddings, dtype=np.float64)[:, None]
            - np.asarray(one.annotation_embeddings, dtype=np.float64)[None],
            axis=2,
        )
        distance[same] = np.inf
        nearest = distance.min(axis=1)
        found.append(nearest[np.isfinite(nearest)])
    return np.concatenate([np.empty(0), *found])


def delta_for_false_share(distances: NDArray[np.float64], false_share: float) -> float | None:
    """The delta below which that share of the pairs known to be different lies.

    Args:
        distances: of `distances_within_scans`.
        false_share: in (0, 1), e.g. 0.02: one in fifty finds would be matched to a lesion that it is not.

    Returns:
        their quantile; None without any pair, or when it is 0.

    Raises:
        ValueError: a share out of range.
    """
    if not 0 < false_share < 1:
        raise ValueError(f"false_share must lie in (0, 1), got {false_share}")
    delta = float(np.quantile(distances, false_share)) if len(distances) else 0.0
    return delta if delta > 0 else None
