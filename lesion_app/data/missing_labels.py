"""Which lesions of a CT sub-volume carry a label: DeepLesion's law of missing annotations, fitted to data.

Measured on the 1,071 completely annotated sub-volumes of the official test split (Cai et al., "Lesion Harvester",
IEEE TMI 2021, Revised-Test1071) against the original marks (RECIST-Box-Test): 1,640 of 3,665 lesions (45 %) are
marked. Nearly every sub-volume has at least one mark, rarely more than three, and larger lesions are preferred.

The law rests on one number a lesion, its conspicuity: ln of its long side, clipped to ``side_range_mm`` (below the
range small lesions are equally unlikely, above it large ones equally likely to be marked). It has two steps. Given
``n`` lesions, ``k - 1`` of the other ``n - 1`` are marked with a beta-binomial distribution whose mean falls with
``n`` and rises with the mean conspicuity; then the ``k`` marked ones are drawn with probability proportional to the
product of ``exp(size_exponent * conspicuity)`` (conditional logistic model, the sub-volume being the stratum), so
that larger lesions come first without always winning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq, minimize
from scipy.special import expit
from scipy.stats import betabinom

BoxLists = Mapping[str, Sequence[Sequence[float]]]

BOX_PADDING_PX = 5.0
"""DeepLesion's boxes are the extent of the RECIST mark plus this margin on every side (DL_info.csv)."""

# fmt: off
LESION_COUNTS: dict[int, int] = {
    1: 328, 2: 249, 3: 137, 4: 108, 5: 68, 6: 52, 7: 34, 8: 26, 9: 15, 10: 14, 11: 8, 12: 8, 13: 6, 14: 2, 15: 2,
    16: 2, 17: 1, 18: 2, 19: 2, 20: 1, 22: 2, 34: 1, 38: 1, 44: 1,
}
# fmt: on
"""Number of lesions -> number of sub-volumes, over the 1,070 non-empty ones of Revised-Test1071 (mean 3.42)."""

_REFERENCE_SIDE_MM = 12.0  # median of the 3,665 lesions
_MATCH_TOLERANCE_PX = 0.01  # both label files carry the same numbers, rounded to three decimals


@dataclass(frozen=True)
class MissingLabelLaw:
    """Constants of the law described at the top of this file.

    Args:
        side_range_mm: long sides (mm, without padding) between which size matters.
        size_exponent: weight of a lesion is its clipped long side to this power; 0 = no preference for large ones.
        count_intercept: logit of the chance that a lesion beyond the first is marked, at ``n`` = 2 and a mean
            conspicuity of ln(`_REFERENCE_SIDE_MM`).
        count_slope: change of that logit per unit of ln(n - 1).
        size_slope: change of that logit per unit of mean conspicuity.
        concentration: ``a + b`` of the beta distribution around that chance; small = marks come in bursts.
        missing_rate: share of all lesions without a mark in the data the law was fitted to.
    """

    side_range_mm: tuple[float, float]
    size_exponent: float
    count_intercept: float
    count_slope: float
    size_slope: float
    concentration: float
    missing_rate: float

    def conspicuity(self, long_side_mm: ArrayLike) -> NDArray[np.float64]:
        """Clipped ln of the long sides (mm), any shape."""
        return np.log(np.clip(np.asarray(long_side_mm, dtype=np.float64), *self.side_range_mm))

    def mark_chance(self, long_side_mm: NDArray[np.float64]) -> float:
        """Chance that a lesion beyond the first is marked, for the sub-volume with these [n >= 2] long sides (mm)."""
        size = self.conspicuity(long_side_mm).mean() - np.log(_REFERENCE_SIDE_MM)
        others = np.log(len(long_side_mm) - 1.0)
        return float(expit(self.count_intercept + self.count_slope * others + self.size_slope * size))


DEEPLESION_LAW = MissingLabelLaw(
    side_range_mm=(7.739, 21.437),
    size_exponent=2.337,
    count_intercept=-0.900,
    count_slope=-0.251,
    size_slope=1.023,
    concentration=6.252,
    missing_rate=0.553,
)
"""`fit_missing_law` on Revised-Test1071 against RECIST-Box-Test, spacings from DL_info.csv (the test split's rows)."""

Law = MissingLabelLaw | Literal["random", "none"]


def match_labels(complete: BoxLists, original: BoxLists) -> dict[str, NDArray[np.bool_]]:
    """Say which boxes of the complete annotation carry an original mark.

    Args:
        complete: sub-volume -> ``[[z, x1, y1, x2, y2], ...]``, all lesions (px, either box convention).
        original: the same layout and convention with the original marks; sub-volumes may be missing.

    Returns:
        Sub-volume -> bool [lesions], in the order of ``complete``; sub-volumes without lesions are left out.
    """
    matched = {}
    for name, boxes in complete.items():
        if len(boxes):
            ours, marks = np.reshape(boxes, (-1, 1, 5)), np.reshape(original.get(name, []), (1, -1, 5))
            matched[name] = (np.abs(ours - marks).max(axis=-1) < _MATCH_TOLERANCE_PX).any(axis=1)
    return matched


def long_sides_mm(boxes: Sequence[Sequence[float]], spacing_mm: float) -> NDArray[np.float64]:
    """Longer side of ``[z, x1, y1, x2, y2]`` boxes (px, with DeepLesion's padding) in mm, padding taken off."""
    corners = np.reshape(boxes, (-1, 5))[:, 1:]
    return ((corners[:, 2:] - corners[:, :2]).max(axis=1) - 2 * BOX_PADDING_PX) * spacing_mm


def fit_missing_law(complete: BoxLists, original: BoxLists, spacing_mm: Mapping[str, float]) -> MissingLabelLaw:
    """Fit the law to a complete annotation and the original marks by maximum likelihood.

    Args:
        complete: sub-volume -> ``[[z, x1, y1, x2, y2], ...]`` with every lesion (1-based DeepLesion px).
        original: the original marks in the same layout.
        spacing_mm: sub-volume -> in-plane pixel spacing in mm.

    Returns:
        The fitted constants. Sub-volumes without any original mark are left out: DeepLesion has none by design.

    Raises:
        ValueError: when no sub-volume holds two lesions, one of them marked (nothing to fit).
    """
    matches = match_labels(complete, original)
    strata = [
        (long_sides_mm(complete[name], spacing_mm[name]), marked)
        for name, marked in matches.items()
        if len(marked) > 1 and marked.any()
    ]
    if not strata:
        raise ValueError("no sub-volume with two or more lesions and a mark: the law cannot be fitted")
    lesions = np.array([len(marked) for _, marked in strata])
    marks = np.array([marked.sum() for _, marked in strata])
    present = np.arange(lesions.max()) < lesions[:, None]
    log_sides, marked = np.zeros(present.shape), np.zeros(present.shape, dtype=bool)
    log_sides[present] = np.log(np.maximum(np.concatenate([sides for sides, _ in strata]), 1e-3))
    marked[present] = np.concatenate([marks_of_one for _, marks_of_one in strata])

    def size_loss(parameters: NDArray[np.float64]) -> float:
        exponent, low, high = parameters
        weights = exponent * (np.clip(log_sides, low, max(low, high)) - np.log(_REFERENCE_SIDE_MM))
        totals = _subset_sums(np.where(present, np.exp(weights), 0.0), int(marks.max()))[0]
        return float(np.log(totals[np.arange(len(marks)), marks]).sum() - weights[marked].sum())

    options = {"xatol": 1e-6, "fatol": 1e-8, "maxiter": 4000, "maxfev": 4000}
    start = np.array([2.0, *np.quantile(log_sides[present], [0.25, 0.75])])
    exponent, low, high = minimize(size_loss, start, method="Nelder-Mead", options=options).x

    conspicuity = np.where(present, np.clip(log_sides, low, high) - np.log(_REFERENCE_SIDE_MM), 0).sum(axis=1) / lesions
    features = np.stack([np.ones(len(lesions)), np.log(lesions - 1.0), conspicuity], axis=1)

    def count_loss(parameters: NDArray[np.float64]) -> float:
        chance, spread = expit(features @ parameters[:3]), np.exp(parameters[3])
        return -float(betabinom.logpmf(marks - 1, lesions - 1, chance * spread, (1 - chance) * spread).sum())

    counts = minimize(count_loss, np.array([-1.0, -0.3, 0.0, 1.0]), method="Nelder-Mead", options=options).x
    return MissingLabelLaw(
        side_range_mm=(float(np.exp(low)), float(np.exp(high))),
        size_exponent=float(exponent),
        count_intercept=float(counts[0]),
        count_slope=float(counts[1]),
        size_slope=float(counts[2]),
        concentration=float(np.exp(counts[3])),
        missing_rate=1.0 - float(np.concatenate(list(matches.values())).mean()),
    )


def draw_labelled(
    long_side_mm: ArrayLike,
    rng: np.random.Generator,
    law: Law | Literal["deeplesion"] = "deeplesion",
    missing_rate: float | None = None,
) -> NDArray[np.bool_]:
    """Draw which lesions of ONE sub-volume keep their label; at least one does.

    Args:
        long_side_mm: [lesions] longer box side in mm without padding, > 0.
        rng: source of the draw.
        law: ``"deeplesion"`` (= `DEEPLESION_LAW`) or another fitted law; ``"random"``: every lesion loses its label
            independently of the others; ``"none"``: every lesion keeps it.
        missing_rate: expected share of lesions without a label over a data set with DeepLesion's `LESION_COUNTS`;
            None = the measured rate (0.553), 0 = all labelled, at most `highest_missing_rate`.

    Returns:
        bool [lesions], True = labelled.

    Raises:
        ValueError: when a side is not positive, the rate outside [0, `highest_missing_rate`], or the law unknown.
    """
    sides = np.asarray(long_side_mm, dtype=np.float64).reshape(-1)
    if not (sides > 0).all():
        raise ValueError("long sides must be positive millimetres")
    if missing_rate is not None and not 0 <= missing_rate <= highest_missing_rate():
        raise ValueError(
            f"missing_rate is {missing_rate}, expected 0 to {highest_missing_rate():.3f}: one lesion a sub-volume "
            "keeps its label"
        )
    if law == "none" or missing_rate == 0 or len(sides) < 2:
        return np.ones(len(sides), dtype=bool)
    if law == "random":
        return _draw_independent(len(sides), rng, DEEPLESION_LAW.missing_rate if missing_rate is None else missing_rate)
    fitted = DEEPLESION_LAW if law == "deeplesion" else law
    if not isinstance(fitted, MissingLabelLaw):
        raise ValueError(f"the law is {law!r}, expected 'deeplesion', 'random', 'none' or a MissingLabelLaw")
    chance = _scaled_chance(fitted, sides, missing_rate)
    conspicuity, spread = fitted.conspicuity(sides), fitted.concentration
    others = len(sides) - 1
    if chance <= 0.0 or chance >= 1.0:
        kept = 1 + round(others * chance)
    else:
        kept = 1 + int(rng.binomial(others, rng.beta(chance * spread, (1 - chance) * spread)))
    return _draw_subset(np.exp(fitted.size_exponent * (conspicuity - conspicuity.mean())), kept, rng)


def highest_missing_rate() -> float:
    """Share of lesions without a label when every sub-volume keeps exactly one, over `LESION_COUNTS` (0.708)."""
    lesions, volumes = _counts()
    return float((volumes * (lesions - 1)).sum() / (volumes * lesions).sum())


def _counts() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.array(list(LESION_COUNTS), dtype=float), np.array(list(LESION_COUNTS.values()), dtype=float)


def _scaled_chance(law: MissingLabelLaw, sides: NDArray[np.float64], missing_rate: float | None) -> float:
    """Mark chance moved towards 1 or 0 so that the missing share scales from the law's own to ``missing_rate``."""
    chance = law.mark_chance(sides)
    if missing_rate is None:
        return chance
    if missing_rate <= law.missing_rate:
        return 1 - (1 - chance) * missing_rate / law.missing_rate
    return chance * (highest_missing_rate() - missing_rate) / (highest_missing_rate() - law.missing_rate)


def _draw_independent(lesions: int, rng: np.random.Generator, missing_rate: float) -> NDArray[np.bool_]:
    counts, volumes = _counts()

    # Where every lesion would lose its label one keeps it, so the chance of losing it exceeds the wanted share.
    def excess(loss: float) -> float:
        return float((volumes * (counts * loss - loss**counts)).sum() / (volumes * counts).sum()) - missing_rate

    loss = 1.0 if excess(1.0) <= 0 else brentq(excess, 0.0, 1.0)
    labelled = rng.random(lesions) >= loss
    survivor = int(rng.integers(lesions))
    if not labelled.any():
        labelled[survivor] = True
    return labelled


def _subset_sums(weights: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Sums over the j-member subsets of ``weights[..., i:]`` of their products, as [i, ..., j], j = 0..size."""
    lesions = weights.shape[-1]
    sums = np.zeros((lesions + 1, *weights.shape[:-1], size + 1))
    sums[..., 0] = 1.0
    for i in range(lesions - 1, -1, -1):
        sums[i, ..., 1:] = sums[i + 1, ..., 1:] + weights[..., i, None] * sums[i + 1, ..., :-1]
    return sums


def _draw_subset(weights: NDArray[np.float64], size: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw ``size`` members with P(subset) proportional to the product of its weights."""
    sums = _subset_sums(weights, size)
    chosen = np.zeros(len(weights), dtype=bool)
    for i, uniform in enumerate(rng.random(len(weights))):
        left = size - int(chosen.sum())
        chosen[i] = left > 0 and uniform * sums[i, left] < weights[i] * sums[i + 1, left - 1]
    return chosen
