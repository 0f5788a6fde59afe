"""A detector that is several: looks of one or more networks at an image, their boxes merged once over all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lesion_app.inferers.weighted_box_clustering import cluster_boxes, cluster_mean, merged_scores, ranked_clusters
from lesion_app.inferers.whole_volume import own_memory

_Method = TypeVar("_Method", bound=Callable[..., Any])
_DIMENSION = {"x": -1, "y": -2, "z": -3}


@dataclass(frozen=True)
class Look:
    """A network and the axes along which its images are mirrored (``""``, ``"x"``, ``"xy"`` ...)."""

    network: nn.Module
    mirrored: str = ""


@dataclass
class LookFeatures:
    """Features of one three-slice image for every look, for whole-volume inference that encodes it once."""

    of_look: list[Any]

    @property
    def nbytes(self) -> int:
        """Memory of all of them."""
        return sum(features.nbytes for features in self.of_look)


class PooledViews(nn.Module):
    """Detector protocol over many looks: the boxes of all are pooled and go through weighted box clustering once.

    Ensembles within ensembles (mirrored views of several checkpoints) are taken apart to their looks, so that the
    paper's 5 checkpoints x 4 mirrored views are 20 expected members of one clustering and not two steps of it. A
    2.5D network's streaming halves ``slice_features`` and ``detect`` are offered likewise.

    Args:
        iou_threshold, min_score: see `weighted_box_clustering`.
        max_detections: most boxes of an image, the best.

    Raises:
        ValueError: when an argument is out of its range.
    """

    def __init__(self, iou_threshold: float = 1e-5, min_score: float = 0.01, max_detections: int | None = None) -> None:
        super().__init__()
        if not 0 <= iou_threshold < 1 or not 0 <= min_score < 1:
            raise ValueError(f"iou_threshold and min_score must lie in [0, 1), got {iou_threshold} and {min_score}")
        if max_detections is not None and max_detections < 1:
            raise ValueError(f"max_detections must be >= 1, got {max_detections}")
        self.iou_threshold = iou_threshold
        self.min_score = min_score
        self.max_detections = max_detections

    def looks(self) -> list[Look]:
        """Every look, with plain networks."""
        raise NotImplementedError

    @property
    def num_slices(self) -> int | None:
        """Slices of a slab, where the networks tell."""
        return getattr(self.looks()[0].network, "num_slices", None)

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> list[dict[str, Tensor]]:
        """Detections of every image, as of a single network: ``{boxes, scores, labels(, masks)}`` by falling score.

        Args:
            images: ``[S, H, W]`` slabs, or volumes whose last three dimensions are (z, y, x).
            targets: not used.

        Raises:
            ValueError: in training mode; the networks are trained one by one.
        """
        if self.training:
            raise ValueError("views are merged for inference only; train the network itself, or call eval() first")
        found = [
            [restored(d, look.mirrored, image.shape) for d, image in zip(look.network(mirrored), images)]
            for look in self.looks()
            for mirrored in [[mirror(image, look.mirrored) for image in images]]
        ]
        return [self.merge([of_look[i] for of_look in found]) for i in range(len(images))]

    @property
    def slice_features(self) -> Callable[[Tensor], list[LookFeatures]]:
        """``slice_features(images)``: features of three-slice images ``[B, 3, H, W]``, of every look.

        An attribute only of ensembles whose networks all have it; whole volumes go slab by slab through the others.
        """
        return self._halves(self._slice_features)

    @property
    def detect(self) -> Callable[[Sequence[Sequence[LookFeatures]], tuple[int, int]], list[dict[str, Tensor]]]:
        """``detect(slabs, size)``: detections of slabs given as the features of their images; likewise.

        ``size`` is (height, width) of the slices.
        """
        return self._halves(self._detect)

    def _halves(self, method: _Method) -> _Method:
        if not all(hasattr(look.network, name) for look in self.looks() for name in ("slice_features", "detect")):
            raise AttributeError("a network of this ensemble does not offer slice_features and detect")
        return method

    def _slice_features(self, images: Tensor) -> list[LookFeatures]:
        of_looks = [look.network.slice_features(mirror(images, look.mirrored)) for look in self.looks()]  # type: ignore[operator]
        for features in of_looks:
            for one in features:
                own_memory(one)
        return [LookFeatures(list(of_image)) for of_image in zip(*of_looks)]

    def _detect(self, slabs: Sequence[Sequence[LookFeatures]], size: tuple[int, int]) -> list[dict[str, Tensor]]:
        found = []
        for number, look in enumerate(self.looks()):
            parts = [[features.of_look[number] for features in slab] for slab in slabs]
            if "z" in look.mirrored:
                parts = [slab[::-1] for slab in parts]
            detections = look.network.detect(parts, size)  # type: ignore[operator]
            found.append([restored(d, look.mirrored, size) for d in detections])
        return [self.merge([of_look[i] for of_look in found]) for i in range(len(slabs))]

    def merge(self, detections: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """One image's detections of all looks as one; masks are averaged as coordinates are."""
        pooled = {key: torch.cat([d[key] for d in detections]) for key in ("boxes", "scores", "labels")}
        boxes, scores, labels = pooled["boxes"], pooled["scores"], pooled["labels"]
        members = torch.repeat_interleave(
            torch.arange(len(detections)), torch.tensor([len(d["scores"]) for d in detections])
        )
        clusters = cluster_boxes(boxes, scores, labels, None, self.iou_threshold)
        merged = merged_scores(clusters, scores, len(detections), members)
        kept = ranked_clusters(merged, self.min_score)[: self.max_detections]
        result = {
            "boxes": cluster_mean(clusters, scores, boxes)[kept].to(boxes),
            "scores": merged[kept].to(scores),
            "labels": labels[clusters.leaders.to(labels.device)][kept.to(labels.device)],
        }
        if all("masks" in d for d in detections):
            masks = torch.cat([d["masks"] for d in detections])
            mean = cluster_mean(clusters, scores, masks)[kept]
            kind = masks.dtype if masks.is_floating_point() else torch.float32
            result["masks"] = mean.to(masks.device, kind)
        return result


def looks_of(network: nn.Module) -> list[Look]:
    """The looks of an ensemble, or the one of a plain network."""
    return network.looks() if isinstance(network, PooledViews) else [Look(network)]


def mirror(image: Tensor, axes: str) -> Tensor:
    """``image`` [..., (z,) y, x] mirrored along the axes named."""
    return image.flip([_DIMENSION[axis] for axis in axes]) if axes else image


def restored(detections: Mapping[str, Tensor], axes: str, shape: Sequence[int]) -> dict[str, Tensor]:
    """Detections of a mirrored image in the coordinates of the image itself.

    Args:
        detections: boxes ``[N, 4]`` or ``[N, 6]``, masks (if any) ``[N, ..., (D,) H, W]``, others untouched.
        axes: along which the image was mirrored; z leaves the boxes of a slab's middle slice where they are.
        shape: of the image, ``(..., (D,) H, W)``.
    """
    found = dict(detections)
    half = detections["boxes"].shape[1] // 2
    turned = [axis for axis in axes if axis in "xyz"[:half]]
    if not turned:
        return found
    boxes = detections["boxes"].clone()
    for axis in turned:
        low = "xyz".index(axis)
        boxes[:, low] = shape[_DIMENSION[axis]] - detections["boxes"][:, low + half]
        boxes[:, low + half] = shape[_DIMENSION[axis]] - detections["boxes"][:, low]
    found["boxes"] = boxes
    if "masks" in found:
        found["masks"] = found["masks"].flip([_DIMENSION[axis] for axis in turned])
    return found
