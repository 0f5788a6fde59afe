from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from lesion_app.inferers.volume_detector import VolumeDetector
from lesion_app.inferers.whole_volume import WholeVolumeInferer
from lesion_app.networks.faster_rcnn_25d import FasterRCNN25D
from lesion_app.networks.inference_detector import inference_detector
from lesion_app.tracking.kalman_linker import KalmanLinker
from transforms.view import View


@pytest.fixture
def inferer() -> WholeVolumeInferer:
    return WholeVolumeInferer(KalmanLinker(min_hits=1), lambda hu: (hu.float() + 1024) / 16)


def test_finds_what_the_inferer_finds_and_names_it_as_monai_does(
    inferer: WholeVolumeInferer, make_tiny_detector: Callable[..., FasterRCNN25D]
) -> None:
    network = make_tiny_detector(box_detections_per_image=2).eval()
    volume = torch.randint(-1000, 400, (5, 48, 48), generator=torch.Generator().manual_seed(0), dtype=torch.int16)
    about: dict[str, Any] = {"spacing_mm": (1.0, 1.0, 5.0), "view": View(0.5, 0.5, -4.0, -2.0)}
    prepared = inference_detector(network, "float32")
    expected = inferer([{"image": volume, **about}], prepared)[0]
    detector = VolumeDetector(inferer, min_score=0.0, precision="float32")
    detector.network = network
    (found,) = detector(MetaTensor(volume, meta=about)[None], use_inferer=True)
    assert len(expected) > 0
    assert found["box"].numpy() == pytest.approx(np.array([one.extent for one in expected]), abs=1e-3)
    assert found["label"].tolist() == [0] * len(expected)
    assert found["label_scores"].tolist() == pytest.approx([one.score for one in expected], abs=1e-5)
    low = sorted(one.score for one in expected)[0]
    detector.min_score = low + 1e-4
    assert len(detector(MetaTensor(volume, meta=about)[None])[0]["box"]) < len(expected)


def test_image_alone_is_refused(inferer: WholeVolumeInferer) -> None:
    detector = VolumeDetector(inferer)
    with pytest.raises(ValueError, match="no network"):
        detector(torch.zeros(1, 3, 32, 32))
