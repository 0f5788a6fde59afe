import torch

from lesion_app.networks.slab_batch import slab_batch


def test_slabs_lie_in_the_upper_left_corner_with_zeros_around():
    batch = slab_batch([torch.full((3, 5, 9), 7.0), torch.full((3, 8, 4), 9.0)], multiple=8)
    assert batch.shape == (2, 3, 8, 16)
    assert (batch[0, :, :5, :9] == 7).all()
    assert (batch[1, :, :8, :4] == 9).all()
    assert batch.sum() == 3 * (5 * 9 * 7 + 8 * 4 * 9)


def test_a_batch_is_not_smaller_than_the_least_side():
    assert slab_batch([torch.zeros(1, 5, 40)], multiple=32, least=64).shape == (1, 1, 64, 64)
