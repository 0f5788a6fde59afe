"""Weighted box clustering: one box and score out of the boxes of many views of the same object.

Jaeger et al., "Retina U-Net: Embarrassingly Simple Exploitation of Segmentation Supervision for Medical Object
Detection", ML4H 2019, section 4.3 ("consolidation of box predictions ... via clustering and weighted averaging of
scores and coordinates"); the rules are those of its published program (medicaldetectiontoolkit, ``predictor.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lesion_app.boxes.overlap import box_iou, box_overlap_3d

# Sum of weights below which boxes have no area at all; their mean is then a plain one.
_NO_WEIGHT = 1e-30


@dataclass(frozen=True)
class BoxClusters:
    """Which boxes stand for one object, and what each of them counts.

    Args:
        cluster: ``[N]`` int64, number of each box's cluster, 0 .. K - 1 by falling score of the cluster's best box.
        weights: ``[N]`` float64, w_i of :func:`weighted_box_clustering`, >= 0, with a positive sum in every cluster.
        leaders: ``[K]`` int64, row of each cluster's best box.
    """

    cluster: Tensor
    weights: Tensor
    leaders: Tensor


def weighted_box_clustering(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    patch_weights: Tensor | None = None,
    iou_threshold: float = 1e-5,
    expected: int | Tensor = 1,
    *,
    members: Tensor | None = None,
    min_score: float = 0.01,
    use_area: bool = True,
    missing_weight: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Merge the boxes of one image that several views of it (tiles, mirrored images, checkpoints) gave.

    Within each label, the best box and all boxes whose IoU with it is greater than ``iou_threshold`` form a cluster;
    the rest goes on likewise. With the weight of box i, ``w_i = f_i a_i p_i`` (IoU with the best box of the cluster,
    area or volume, patch-centre weight), a cluster becomes one box::

        score      = sum(s_i w_i) / (sum(w_i) + n_missing mean(w))
        coordinate = sum(c_i s_i w_i) / sum(s_i w_i)
        n_missing  = max(0, n_expected - number of different members in the cluster)

    so an object that few of the views saw loses score: seen by one of three with 0.33 it gets 0.11. Sizes are those of
    half-open boxes, as everywhere in the project; the published program adds 1 px to every side.

    Args:
        boxes: ``[N, 4]`` (x1, y1, x2, y2) or ``[N, 6]`` (x1, y1, z1, x2, y2, z2), float, half-open, px or voxels of the
            image that all views show.
        scores: ``[N]``, 0..1.
        labels: ``[N]`` int, classes, which are merged apart from each other.
        patch_weights: ``[N]`` p_i, see :func:`patch_centre_weights`; None = 1, as for views of the whole image.
        iou_threshold: 0 to below 1; the paper's program uses 1e-5, objects of an image hardly ever touching there.
        expected: n_expected: views that looked at an object, one number or one for every box ``[N]`` (members times the
            tiles over its place), of which a cluster takes the mean.
        members: ``[N]`` int, the view each box came from; boxes of one view count once. None = a view each, which is
            nnDetection's rule.
        min_score: clusters must have a greater score.
        use_area: False leaves a_i out, as nnDetection does.
        missing_weight: factor of ``n_missing``, nnDetection's.

    Returns:
        boxes ``[K, 4 | 6]``, scores ``[K]``, labels ``[K]`` by falling score, of the dtypes and on the device given.

    Raises:
        ValueError: shapes that do not fit, a number that is not finite, or an argument out of its range.
    """
    clusters = cluster_boxes(boxes, scores, labels, patch_weights, iou_threshold, use_area=use_area)
    merged = merged_scores(clusters, scores, expected, members, missing_weight)
    kept = ranked_clusters(merged, min_score)
    mean = cluster_mean(clusters, scores, boxes)[kept]
    return (
        mean.to(boxes.device, boxes.dtype),
        merged[kept].to(scores.device, scores.dtype),
        labels[clusters.leaders.to(labels.device)][kept.to(labels.device)],
    )


def cluster_boxes(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    patch_weights: Tensor | None = None,
    iou_threshold: float = 1e-5,
    *,
    use_area: bool = True,
) -> BoxClusters:
    """The clusters of :func:`weighted_box_clustering` and the weights in them; arguments and errors as there.

    Of boxes with equal scores the lower label leads, then the lower coordinates: the order given plays no part.
    """
    weights = torch.ones_like(scores) if patch_weights is None else patch_weights
    _check(boxes, scores, labels, weights, iou_threshold)
    box = boxes.detach().cpu().double()
    score, label = scores.detach().cpu().double(), labels.detach().cpu().long()
    order = _order(box, score, label)
    cluster = torch.full((len(box),), -1, dtype=torch.int64)
    overlap = torch.zeros(len(box), dtype=torch.float64)
    leaders: list[int] = []
    waiting = order
    while len(waiting):  # one turn a cluster
        iou = _iou(box[waiting[:1]], box[waiting])[0]
        joins = (iou > iou_threshold) & (label[waiting] == label[waiting[0]])
        joins[0] = True  # a box without area does not even overlap itself
        leaders.append(int(waiting[0]))
        cluster[waiting[joins]] = len(leaders) - 1
        overlap[waiting[joins]] = iou[joins]
        waiting = waiting[~joins]
    weight = overlap * weights.detach().cpu().double()
    if use_area:
        half = box.shape[1] // 2
        weight = weight * (box[:, half:] - box[:, :half]).clamp(min=0).prod(dim=1)
    total = torch.zeros(len(leaders), dtype=torch.float64).index_add(0, cluster, weight)
    weight = torch.where(total[cluster] > _NO_WEIGHT, weight, torch.ones_like(weight))
    return BoxClusters(cluster, weight, torch.tensor(leaders, dtype=torch.int64))


def merged_scores(
    clusters: BoxClusters,
    scores: Tensor,
    expected: int | Tensor = 1,
    members: Tensor | None = None,
    missing_weight: float = 1.0,
) -> Tensor:
    """The score of every cluster, float64 ``[K]``; arguments as in :func:`weighted_box_clustering`."""
    n, count = len(clusters.cluster), len(clusters.leaders)
    wanted = torch.as_tensor(expected, dtype=torch.float64).detach().cpu()
    if wanted.ndim not in (0, 1) or (wanted.ndim == 1 and len(wanted) != n) or bool((wanted < 1).any()):
        raise ValueError(f"expected must be a number from 1, or one for each of {n} boxes, got {expected}")
    if members is not None and members.shape != (n,):
        raise ValueError(f"members must be [{n}], one for each box, got {list(members.shape)}")
    if missing_weight < 0:
        raise ValueError(f"missing_weight must not be negative, got {missing_weight}")
    score = scores.detach().cpu().double()
    boxes_in = _sum(clusters, torch.ones(n, dtype=torch.float64))
    of_cluster = _sum(clusters, wanted.expand(n)) / boxes_in
    if members is None:
        seen_by = boxes_in
    else:
        pairs = torch.stack([clusters.cluster, members.detach().cpu().long()], dim=1)
        seen_by = torch.bincount(torch.unique(pairs, dim=0)[:, 0], minlength=count).double()
    total = _sum(clusters, clusters.weights)
    missing = (of_cluster - seen_by).clamp(min=0) * missing_weight
    return _sum(clusters, clusters.weights * score) / (total + missing * total / boxes_in)


def cluster_mean(clusters: BoxClusters, scores: Tensor, values: Tensor) -> Tensor:
    """Mean of ``values`` ``[N, ...]`` (coordinates, masks) over each cluster, weighted by s_i w_i.

    Float64 ``[K, ...]``. Where all scores of a cluster are 0 the weights w_i alone count.
    """
    part = clusters.weights * scores.detach().cpu().double()
    part = torch.where(_sum(clusters, part)[clusters.cluster] > _NO_WEIGHT, part, clusters.weights)
    share = part / _sum(clusters, part)[clusters.cluster]
    weighted = values.detach().cpu().double() * share.reshape(-1, *[1] * (values.ndim - 1))
    return weighted.new_zeros(len(clusters.leaders), *values.shape[1:]).index_add(0, clusters.cluster, weighted)


def patch_centre_weights(boxes: Tensor, patch_size: Sequence[float]) -> Tensor:
    """p_i: how near a box lies to the middle of the patch in which it was found, where a network sees most around it.

    The mean over the dimensions of ``exp(-(c - m)^2 / (2 (0.8 m)^2))`` with c the box's centre and m the patch's.

    Args:
        boxes: ``[N, 4]`` or ``[N, 6]``, px or voxels counted from the patch's corner, half-open.
        patch_size: (width, height) or (width, height, depth), px or voxels, > 0.

    Returns:
        ``[N]`` of the boxes' dtype, 0..1.

    Raises:
        ValueError: boxes and patch differ in their number of dimensions.
    """
    half = len(patch_size)
    if boxes.ndim != 2 or boxes.shape[1] != 2 * half or min(patch_size) <= 0:
        raise ValueError(f"boxes {list(boxes.shape)} do not lie in a patch of size {tuple(patch_size)}")
    middle = torch.as_tensor(patch_size, dtype=boxes.dtype, device=boxes.device) / 2
    centre = (boxes[:, :half] + boxes[:, half:]) / 2
    return torch.exp(-((centre - middle) ** 2) / (2 * (0.8 * middle) ** 2)).mean(dim=1)


def ranked_clusters(scores: Tensor, min_score: float) -> Tensor:
    """Clusters above ``min_score``, by falling score; equals as they were found."""
    if not 0 <= min_score < 1:
        raise ValueError(f"min_score must lie in [0, 1), got {min_score}")
    order = torch.argsort(scores, descending=True, stable=True)
    return order[scores[order] > min_score]


def _sum(clusters: BoxClusters, values: Tensor) -> Tensor:
    return torch.zeros(len(clusters.leaders), dtype=torch.float64).index_add(0, clusters.cluster, values)


def _iou(box: Tensor, boxes: Tensor) -> Tensor:
    return box_iou(box, boxes) if boxes.shape[1] == 4 else box_overlap_3d(box, boxes)


def _order(boxes: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
    order = torch.arange(len(scores))
    for key in (*boxes.flip(1).unbind(1), labels.double(), -scores):  # the last sort is the first criterion
        order = order[torch.argsort(key[order], stable=True)]
    return order


def _check(boxes: Tensor, scores: Tensor, labels: Tensor, patch_weights: Tensor, iou_threshold: float) -> None:
    n = len(boxes)
    if boxes.ndim != 2 or boxes.shape[1] not in (4, 6):
        raise ValueError(f"boxes must be [N, 4] or [N, 6], got {list(boxes.shape)}")
    if any(values.shape != (n,) for values in (scores, labels, patch_weights)):
        raise ValueError(
            f"{n} boxes need as many scores, labels and patch weights, got {list(scores.shape)}, "
            f"{list(labels.shape)} and {list(patch_weights.shape)}"
        )
    if not (boxes.isfinite().all() and scores.isfinite().all() and patch_weights.isfinite().all()):
        raise ValueError("boxes, scores and patch weights must be finite numbers")
    if bool((scores < 0).any()) or bool((patch_weights < 0).any()):
        raise ValueError("scores and patch weights must not be negative")
    if not 0 <= iou_threshold < 1:
        raise ValueError(f"iou_threshold must lie in [0, 1), got {iou_threshold}")
