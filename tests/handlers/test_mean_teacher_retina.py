"""The detectors of docs/retina_unet.md under the mean teacher: boxes without masks are mined and learnt from."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.inferers import SimpleInferer

from lesion_app.data.batches import sum_losses
from lesion_app.data.outlined_batches import prepare_outlined_batch
from lesion_app.handlers.mean_teacher import MeanTeacher
from lesion_app.networks.inference_detector import inference_detector
from tests.networks.tiny_retina import DETECTORS, image, make_tiny


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("policy", ["add", "ignore"])
def test_two_iterations_mine_teach_and_average(name: str, policy: str) -> None:
    student = make_tiny(name, detection_score=0.01)
    seen = []
    student.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]) if len(inputs) > 1 else None)
    teacher = copy.deepcopy(student)
    teacher._forward_pre_hooks.clear()
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    label = torch.tensor([[6.0, 6, 16, 16]])

    def batch() -> list[dict]:
        return [
            {"image": image(seed=n), "boxes": label, "labels": torch.tensor([1]), "ignore": torch.zeros(0, 4)}
            for n in range(2)
        ]

    handler = MeanTeacher(
        student, teacher, score_threshold=0.02, gt_nms_iou=0.7, ema_decay=0.9, policy=policy, prepare=inference_detector
    )
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=[batch(), batch()],
        network=student,
        optimizer=torch.optim.Adam(student.parameters(), 1e-3),
        loss_function=sum_losses,
        inferer=SimpleInferer(),
        prepare_batch=partial(prepare_outlined_batch, masks="ellipse"),
        train_handlers=[handler],
        decollate=False,
    )
    mined: list[float] = []
    trainer.add_event_handler(IterationEvents.MODEL_COMPLETED, lambda e: mined.append(e.state.mining["mined_boxes"]))
    trainer.run()
    assert sum(mined) > 0
    targets = [target for given in seen for target in given]
    assert len(targets) == 4
    assert all(len(target["masks"]) == 1 for target in targets)
    extra = sum(len(t["boxes"]) - 1 + len(t["ignore"]) for t in targets)
    assert 0 < extra <= sum(mined)  # slivers are dropped
    if policy == "ignore":
        assert all(len(target["boxes"]) == 1 for target in targets)
    changed = [k for k, v in teacher.state_dict().items() if not torch.equal(v, before[k])]
    assert changed
    assert all(torch.isfinite(p).all() for p in student.parameters())


def test_mined_box_leaves_the_segmentation_gradient_of_its_pixels_at_zero() -> None:
    """The same picture with and without a find: pixels outside of it are taught the same, pixels in it nothing."""
    network = make_tiny("retina_unet")
    caught: list[torch.Tensor] = []

    def catch(_module: object, _inputs: object, logits: torch.Tensor) -> None:
        logits.retain_grad()
        caught.append(logits)

    network.segmentation.register_forward_hook(catch)
    mask = torch.zeros(1, 48, 64, dtype=torch.bool)
    mask[0, 6:16, 6:16] = True
    boxes = torch.tensor([[6.0, 6, 16, 16], [30, 20, 44, 40]])
    for count in (1, 2):
        target = {"boxes": boxes[:count], "labels": torch.ones(count, dtype=torch.int64), "masks": mask}
        network([image()], [target])["loss_segmentation"].backward()
    alone, with_find = (logits.grad[0] for logits in caught)
    assert alone[:, 20:40, 30:44].any()
    assert not with_find[:, 20:40, 30:44].any()
    outside = torch.ones(64, 64, dtype=torch.bool)
    outside[20:40, 30:44] = outside[48:] = False
    sign = (alone[:, outside].sign() == with_find[:, outside].sign()).float().mean()
    assert sign == 1
