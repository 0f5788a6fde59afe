"""NT-Xent against its equation, one sum a crop."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from lesion_app.mining.contrastive import NTXentLoss


def by_hand(vectors, temperature, unknown):
    """SimCLR's equation 1, term by term."""
    n = len(vectors) // 2
    total = 0.0
    for i in range(2 * n):
        similar = [float(vectors[i] @ vectors[k]) / temperature for k in range(2 * n)]
        partner = (i + n) % (2 * n)
        rest = [
            math.exp(similar[k]) for k in range(2 * n) if k != i and (k % n == i % n or not bool(unknown[i % n, k % n]))
        ]
        total += -similar[partner] + math.log(sum(rest))
    return total / (2 * n)


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_equation(seed):
    generator = torch.Generator().manual_seed(seed)
    vectors = normalize(torch.randn(10, 4, generator=generator, dtype=torch.float64), dim=1)
    unknown = torch.rand(5, 5, generator=generator) < 0.3
    unknown = unknown | unknown.T
    loss = NTXentLoss(0.3)
    assert float(loss(vectors, unknown)) == pytest.approx(by_hand(vectors, 0.3, unknown))
    nothing = torch.zeros(5, 5, dtype=torch.bool)
    assert float(loss(vectors)) == pytest.approx(by_hand(vectors, 0.3, nothing))


def test_unknown_pairs_give_no_gradient():
    vectors = torch.randn(4, 3, requires_grad=True)
    everything = torch.ones(2, 2, dtype=torch.bool)
    loss = NTXentLoss()(vectors, everything)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.0)
    assert float(vectors.grad.abs().max()) == pytest.approx(0.0, abs=1e-6)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="two embeddings a lesion"):
        NTXentLoss()(torch.randn(3, 2))
    with pytest.raises(ValueError, match=r"\[2, 2\]"):
        NTXentLoss()(torch.randn(4, 2), torch.zeros(3, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match="temperature"):
        NTXentLoss(0)
