"""LENS's second mining strategy: a lesion marked in one scan of a patient is found again in the others.

Yan et al., "Learning from multiple datasets with heterogeneous and partial labels for universal lesion detection in
CT", IEEE TMI 40(10), 2021, section V-B, with delta = 0.15 (section VI-B). The paper compares embeddings of LesaNet,
whose weights cannot be had; here any embedding will do (`lesion_app.networks.lesion_embedding` is ours), and delta
means distance in the one that is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class LesionMatch:
    """A tracklet that is the lesion of an annotation; indices into the arguments, and their L2 distance."""

    tracklet: int
    annotation: int
    distance: float


def match_within_patients(
    annotation_embeddings: ArrayLike,
    annotation_patients: Sequence[str],
    tracklet_embeddings: ArrayLike,
    tracklet_patients: Sequence[str],
    delta: float = 0.15,
    *,
    annotation_volumes: Sequence[str] | None = None,
    tracklet_volumes: Sequence[str] | None = None,
) -> list[LesionMatch]:
    """Pairs of one patient whose embeddings lie closer than delta.

    Args:
        annotation_embeddings: [A, D].
        annotation_patients: A patients.
        tracklet_embeddings: [T, D].
        tracklet_patients: T patients.
        delta: L2 distance, > 0; strictly below counts.
        annotation_volumes, tracklet_volumes: sub-volume of each. When given, pairs of one sub-volume are passed over: a
            second find in the very scan of an annotation is another lesion, however alike (ours; the paper compares
            all pairs of a patient).

    Returns:
        one match a tracklet, with its nearest annotation (the first of equals), by tracklet.

    Raises:
        ValueError: shapes that do not fit, delta not positive, only one of the two lists of volumes.
    """
    marks, finds = _matrix(annotation_embeddings), _matrix(tracklet_embeddings)
    if len(marks) != len(annotation_patients) or len(finds) != len(tracklet_patients):
        raise ValueError(
            f"expected one patient an embedding, got {len(marks)} and {len(finds)} embeddings with "
            f"{len(annotation_patients)} and {len(tracklet_patients)} patients"
        )
    if not delta > 0:
        raise ValueError(f"delta must be positive, got {delta}")
    if (annotation_volumes is None) != (tracklet_volumes is None):
        raise ValueError("give the volumes of annotations and of tracklets, or neither")
    if len(marks) and len(finds) and marks.shape[1] != finds.shape[1]:
        raise ValueError(f"embeddings of {marks.shape[1]} and of {finds.shape[1]} numbers cannot be compared")
    whose_mark, whose_find = np.asarray(annotation_patients, dtype=object), np.asarray(tracklet_patients, dtype=object)
    in_mark = None if annotation_volumes is None else np.asarray(annotation_volumes, dtype=object)
    in_find = None if tracklet_volumes is None else np.asarray(tracklet_volumes, dtype=object)
    matches = []
    # Patient by patient: the whole of DeepLesion at once would be a matrix of 22,000 annotations by all tracklets.
    for patient in sorted(set(whose_mark) & set(whose_find)):
        a, t = np.flatnonzero(whose_mark == patient), np.flatnonzero(whose_find == patient)
        distance = np.linalg.norm(finds[t][:, None] - marks[a][None], axis=2)
        if in_mark is not None and in_find is not None:
            distance[in_find[t][:, None] == in_mark[a][None]] = np.inf
        nearest = distance.argmin(axis=1)
        shortest = distance[np.arange(len(t)), nearest]
        matches += [
            LesionMatch(int(t[i]), int(a[nearest[i]]), float(shortest[i])) for i in np.flatnonzero(shortest < delta)
        ]
    return sorted(matches, key=lambda match: match.tracklet)


def _matrix(embeddings: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(embeddings, dtype=np.float64)
    if array.size == 0:
        return array.reshape(0, array.shape[1] if array.ndim == 2 else 0)
    if array.ndim != 2 or not np.isfinite(array).all():
        raise ValueError(f"expected finite embeddings [N, D], got shape {list(array.shape)}")
    return array
