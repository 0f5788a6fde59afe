"""Averaging a detector's scores with those of the classifier of its finds."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lesion_app.boxes.expert_tracklet import ExpertTracklet
from lesion_app.boxes.tracklet import Tracklet
from lesion_app.inferers.false_positive_reduction import FalsePositiveReduction, average_score, score_candidates
from lesion_app.networks.false_positive_net import FalsePositiveNet
from transforms.lesion_patch import PatchGrid
from transforms.view import View

GRID = PatchGrid(num_slices=4, interval_mm=2.0, size_px=16, pixel_mm=1.0)


class MeanInBox(nn.Module):
    """Says the mean HU in a candidate's box, in thousands, and how many it saw at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.batches: list[int] = []

    def forward(self, patches, boxes):
        assert not self.training
        self.batches.append(len(patches))
        means = []
        for patch, box in zip(patches, boxes.round().int().tolist()):
            x1, y1, z1, x2, y2, z2 = box
            means.append(patch[0, z1:z2, y1:y2, x1:x2].mean() / 1000)
        return torch.stack(means)[:, None]


def lesion(z, box, *scores):
    return Tracklet(tuple(range(z, z + len(scores))), (box,) * len(scores), scores)


@pytest.fixture
def volume():
    ct = torch.zeros(9, 40, 50, dtype=torch.int16)
    ct[4:6, 10:16, 20:28] = 2000
    return ct


BRIGHT, DARK = lesion(4, (20.0, 10.0, 28.0, 16.0), 0.2, 0.4), lesion(2, (5.0, 25.0, 11.0, 33.0), 0.7, 0.6)


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def reduction(found, **options):
    return FalsePositiveReduction(lambda items, network: [list(found)], MeanInBox(), GRID, **options)


def item(volume, view=None, spacing=(1.0, 1.0, 2.0)):
    return {"image": volume, "spacing_mm": spacing, "view": view or View()}


def test_scores_are_averaged_and_lesions_sorted_anew(volume):
    ((first, second),) = reduction([DARK, BRIGHT])([item(volume)], nn.Identity())
    assert (first.slices, first.boxes) == (BRIGHT.slices, BRIGHT.boxes)
    assert first.score == pytest.approx((0.4 + sigmoid(2)) / 2)
    assert first.scores[0] == pytest.approx((0.2 + sigmoid(2)) / 2)
    assert first.key_slice == BRIGHT.key_slice
    assert second.score == pytest.approx((0.7 + 0.5) / 2)


def test_weight_is_the_classifiers_share(volume):
    ((kept, _),) = reduction([DARK, BRIGHT], weight=0.0)([item(volume)], nn.Identity())
    assert kept == DARK
    ((alone, _),) = reduction([DARK, BRIGHT], weight=1.0)([item(volume)], nn.Identity())
    assert alone.score == pytest.approx(sigmoid(2))
    assert average_score(BRIGHT, 0.9, 0.25).score == pytest.approx(0.75 * 0.4 + 0.25 * 0.9)


def test_boxes_of_the_original_slices_are_found_in_a_resampled_view(volume):
    # the original has half the pixel size and begins 4 px further left, 6 px further up
    view = View(0.5, 0.5, -2.0, -3.0)
    original = lesion(4, (44.0, 26.0, 60.0, 38.0), 0.4, 0.2)
    ((found,),) = reduction([original])([item(volume, view, (0.5, 0.5, 2.0))], nn.Identity())
    assert found.score == pytest.approx((0.4 + sigmoid(2)) / 2)
    assert found.boxes == original.boxes


def test_candidates_go_through_in_batches_and_volumes_without_any_work(volume):
    inferer = reduction([BRIGHT] * 5, batch_size=2)
    inferer([item(volume)], nn.Identity())
    assert inferer.classifier.batches == [2, 2, 1]
    assert reduction([])([item(volume)], nn.Identity()) == [[]]


def test_low_scores_are_not_looked_at_and_stay_behind(volume):
    faint = lesion(4, BRIGHT.boxes[0], 0.05, 0.02)
    inferer = reduction([DARK, faint], min_score=0.1)
    ((first, last),) = inferer([item(volume)], nn.Identity())
    assert inferer.classifier.batches == [1]
    assert last.score == pytest.approx(0.05 / 2)
    assert first.slices == DARK.slices


def test_batch_size_changes_no_score(volume):
    torch.manual_seed(0)
    network = FalsePositiveNet(width=4, head_channels=8, pretrained=False)
    boxes = torch.tensor([[20.0, 10, 4, 28, 16, 6], [5, 25, 2, 11, 33, 3], [0, 0, 0, 50, 40, 9]])
    scores = [score_candidates(network, volume, boxes, (1, 1, 2), grid=GRID, batch_size=n) for n in (1, 3)]
    torch.testing.assert_close(*scores, atol=1e-6, rtol=1e-5)
    assert scores[0].dtype == torch.float32
    assert ((scores[0] > 0) & (scores[0] < 1)).all()
    assert score_candidates(network, volume, boxes[:0], (1, 1, 2), grid=GRID).shape == (0,)


@pytest.mark.parametrize("wrong", [{"weight": 1.5}, {"weight": -0.1}, {"batch_size": 0}])
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=r"weight in 0\.\.1 and a positive batch_size"):
        reduction([], **wrong)


def test_lesions_of_lens_keep_their_expert():
    lesion = ExpertTracklet((3, 4), ((1.0, 1.0, 5.0, 5.0),) * 2, (0.4, 0.8), 1, "luna16")
    after = average_score(lesion, 0.2)
    assert isinstance(after, ExpertTracklet)
    assert (after.expert, after.scores) == ("luna16", pytest.approx((0.3, 0.5)))
