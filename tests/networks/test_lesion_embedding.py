"""The lesion embedding: unit vectors of fixed-size crops, learnt from pairs."""

from __future__ import annotations

import pytest
import torch

from lesion_app.mining.contrastive import NTXentLoss
from lesion_app.networks.lesion_embedding import LesionEmbedding, embed_lesions


@pytest.fixture
def network():
    torch.manual_seed(0)
    return LesionEmbedding(channels=(4, 8), dimension=5)


def test_embeddings_have_length_one_and_do_not_depend_on_the_batch(network):
    crops = torch.randn(6, 3, 16, 16) * 200
    vectors = network(crops)
    assert vectors.shape == (6, 5)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(6))
    torch.testing.assert_close(network(crops[2:3]), vectors[2:3])


def test_volume_boxes_are_embedded_as_their_crops_would_be(network):
    volume = torch.randn(7, 60, 80).mul(300).to(torch.int16)
    boxes = torch.tensor([[10.0, 12.0, 20.0, 22.0], [50.0, 30.0, 70.0, 44.0]])
    found = embed_lesions(network, volume, [2, 5], boxes, (1.0, 1.0, 2.0), size_mm=16.0, size_px=16)
    # spacing 1 mm and even box centres: the crops are plain windows
    windows = torch.stack([volume[1:4, 9:25, 7:23], volume[4:7, 29:45, 52:68]]).float()
    torch.testing.assert_close(found, network(windows).detach(), atol=1e-5, rtol=1e-4)
    assert embed_lesions(network, volume, [], [], (1.0, 1.0, 2.0)).shape == (0, 0)
    with pytest.raises(ValueError, match="one slice a box"):
        embed_lesions(network, volume, [2], boxes, (1.0, 1.0, 2.0))


def test_training_on_pairs_brings_looks_at_one_lesion_together(network):
    generator = torch.Generator().manual_seed(1)
    lesions = torch.randn(16, 3, 16, 16, generator=generator) * 300

    def looks():
        return torch.cat([lesions, lesions]) + 60 * torch.randn(32, 3, 16, 16, generator=generator)

    def gap(vectors):
        distance = torch.cdist(vectors[:16], vectors[16:])
        others = distance[~torch.eye(16, dtype=torch.bool)]
        return float(distance.diagonal().mean() / others.mean())

    loss = NTXentLoss(0.2)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    with torch.no_grad():
        before = gap(network(looks()))
    for _ in range(60):
        optimizer.zero_grad()
        loss(network(looks())).backward()
        optimizer.step()
    with torch.no_grad():
        assert gap(network(looks())) < 0.6 * before
