from __future__ import annotations

import pytest
import torch
from ignite.engine import Events
from monai.engines.utils import IterationEvents
from torch.testing import assert_close

from lesion_app.handlers.mean_teacher import MeanTeacher, mining_figures
from lesion_app.mining.calibrated_threshold import CalibratedThreshold
from lesion_app.networks.inference_detector import InferenceDetector, inference_detector
from transforms.view import View


def mean_teacher(student, teacher, **options):
    return MeanTeacher(student, teacher, **{"score_threshold": 0.9, "ema_decay": 0.5, "ema_warmup": False, **options})


def target_seen(scripted, trainer, batch, said, **options):
    """The target the student's forward pass got for the first item, when the teacher says ``said``."""
    student, teacher = scripted(), scripted(said)
    trainer(student, [batch], [mean_teacher(student, teacher, **options)]).run()
    return student.targets[0]


def test_teacher_predicts_before_the_student_trains_and_averages_after_the_step(scripted, trainer, item, said):
    student, teacher = scripted(), scripted([said((30, 30, 40, 40, 0.95))])
    happened: list[str] = []
    student.register_forward_pre_hook(lambda *_: happened.append(f"student forward, teacher spoke {teacher.calls}"))
    engine = trainer(student, [[item()]], [mean_teacher(student, teacher)])
    engine.add_event_handler(
        IterationEvents.BACKWARD_COMPLETED, lambda e: happened.append(f"before step {teacher.weight.item():.3f}")
    )
    engine.add_event_handler(
        IterationEvents.MODEL_COMPLETED, lambda e: happened.append(f"averaged {teacher.weight.item():.3f}")
    )
    engine.run()
    # learning rate 0.1 and gradient 1 take the student from 1 to 0.9; half of that reaches the teacher
    assert happened == ["student forward, teacher spoke ['eval']", "before step 1.000", "averaged 0.950"]


def test_average_follows_the_student_with_the_stated_decay(scripted, trainer, item, said):
    student, teacher = scripted(), scripted([said()])
    trainer(student, [[item()]] * 2, [mean_teacher(student, teacher)]).run()
    assert_close(teacher.weight.data, torch.tensor([0.5 * 0.95 + 0.5 * 0.8]))


def test_warmed_up_average_nearly_copies_the_student_at_first(scripted, trainer, item, said):
    student, teacher = scripted(), scripted([said()])
    trainer(student, [[item()]] * 2, [mean_teacher(student, teacher, ema_decay=0.999, ema_warmup=True)]).run()
    first = 0.1 * 1.0 + 0.9 * 0.9  # decay 1/10
    assert_close(teacher.weight.data, torch.tensor([2 / 11 * first + 9 / 11 * 0.8]))


def test_fresh_run_starts_with_the_teacher_equal_to_the_student(scripted, trainer, item, said):
    student, teacher = scripted(weight=1.0), scripted([said()], weight=7.0)
    engine = trainer(student, [[item()]], [mean_teacher(student, teacher, ema_decay=1.0)])
    engine.run()
    assert teacher.weight.item() == 1.0


def test_resumed_run_keeps_the_teacher(scripted, trainer, item, said):
    student, teacher = scripted(weight=1.0), scripted([said()], weight=7.0)
    engine = trainer(student, [[item()]] * 2, [mean_teacher(student, teacher, ema_decay=1.0)], epochs=2)
    engine.state.iteration, engine.state.epoch = 2, 1
    engine.run()
    assert engine.state.iteration == 4
    assert teacher.weight.item() == 7.0


def test_added_lesion_becomes_a_target_in_the_students_view(scripted, trainer, item, said):
    # teacher's px = original / 2 - (4, 0); student's px = original * 0.75 + (3, -6)
    batch = [item([(10, 10, 20, 20)], student_image=torch.zeros(9, 100, 100), student_view=View(0.75, 0.75, 3.0, -6.0))]
    target = target_seen(scripted, trainer, batch, [said((36, 30, 46, 44, 0.95))])
    label = [(10 + 4) * 2 * 0.75 + 3, 10 * 2 * 0.75 - 6, (20 + 4) * 2 * 0.75 + 3, 20 * 2 * 0.75 - 6]
    mined = [(36 + 4) * 2 * 0.75 + 3, 30 * 2 * 0.75 - 6, (46 + 4) * 2 * 0.75 + 3, 44 * 2 * 0.75 - 6]
    assert_close(target["boxes"], torch.tensor([label, mined]))
    assert target["labels"].tolist() == [1, 1]
    assert len(target["ignore"]) == 0


def test_ignored_lesion_becomes_an_ignore_region_in_the_students_view(scripted, trainer, item, said):
    batch = [
        item(
            [(10, 10, 20, 20)],
            ignore=torch.tensor([[2.0, 40.0, 8.0, 50.0]]),
            student_image=torch.zeros(9, 64, 64),
            student_view=View(0.5, 0.5, 1.0, 2.0),
        )
    ]
    target = target_seen(scripted, trainer, batch, [said((36, 30, 46, 44, 0.95))], policy="ignore")
    assert_close(target["boxes"], torch.tensor([[15.0, 12.0, 25.0, 22.0]]))
    assert_close(target["ignore"], torch.tensor([[7.0, 42.0, 13.0, 52.0], [41.0, 32.0, 51.0, 46.0]]))


def test_student_without_a_view_of_its_own_gets_the_teachers_boxes(scripted, trainer, item, said):
    target = target_seen(scripted, trainer, [item([(10, 10, 20, 20)])], [said((30, 30, 40, 40, 0.9))])
    assert target["boxes"].tolist() == [[10, 10, 20, 20], [30, 30, 40, 40]]


def test_detection_of_a_label_or_below_the_threshold_or_in_an_ignore_region_is_not_mined(scripted, trainer, item, said):
    batch = [item([(10, 10, 20, 20)], ignore=torch.tensor([[40.0, 40.0, 60.0, 60.0]]))]
    spoken = said(
        (10, 10, 20, 19, 0.99),  # IoU 0.9 with the label
        (10, 10, 20, 17, 0.98),  # IoU 0.7, no more than the limit: another lesion
        (30, 5, 40, 15, 0.89),  # not sure enough
        (44, 44, 54, 54, 0.99),  # inside the ignore region
    )
    target = target_seen(scripted, trainer, batch, [spoken])
    assert target["boxes"].tolist() == [[10, 10, 20, 20], [10, 10, 20, 17]]


def test_gt_nms_threshold_is_the_one_given(scripted, trainer, item, said):
    spoken = [said((10, 10, 20, 14, 0.99))]  # IoU 0.4
    batch = [item([(10, 10, 20, 20)])]
    assert len(target_seen(scripted, trainer, batch, spoken, gt_nms_iou=0.3)["boxes"]) == 1
    assert len(target_seen(scripted, trainer, batch, spoken, gt_nms_iou=0.5)["boxes"]) == 2


def test_baseline_that_does_not_mine_still_averages(scripted, trainer, item, said):
    student, teacher = scripted(), scripted([said((30, 30, 40, 40, 0.99))])
    engine = trainer(student, [[item()]], [mean_teacher(student, teacher, mine=False)])
    engine.run()
    assert teacher.calls == []
    assert student.targets[0]["boxes"].tolist() == [[10, 10, 20, 20]]
    assert engine.state.mining == {}
    assert engine.state.teacher_scores is None
    assert_close(teacher.weight.data, torch.tensor([0.95]))


def test_mining_begins_at_its_first_iteration(scripted, trainer, item, said):
    student, teacher = scripted(), scripted([said((30, 30, 40, 40, 0.99))])
    counts = []
    engine = trainer(student, [[item()] for _ in range(4)], [mean_teacher(student, teacher, start_iteration=3)])
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: counts.append(len(student.targets[0]["boxes"])))
    engine.run()
    assert counts == [1, 1, 2, 2]


def test_teacher_gets_no_gradient_and_stays_in_evaluation_mode(make_tiny_detector, trainer, item):
    student, teacher = make_tiny_detector(0), make_tiny_detector(1)
    modes = []
    engine = trainer(student, [[item()]] * 2, [mean_teacher(student, teacher, score_threshold=0.0)], learning_rate=0.01)
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: modes.append((teacher.training, student.training)))
    engine.run()
    assert modes == [(False, True)] * 2
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in student.parameters())


def test_mined_boxes_change_what_a_real_student_learns(make_tiny_detector, trainer, item):
    states = {}
    for mine in (True, False):
        student, teacher = make_tiny_detector(0), make_tiny_detector(0)
        torch.manual_seed(5)
        handler = mean_teacher(student, teacher, mine=mine, score_threshold=0.0)
        engine = trainer(student, [[item()]], [handler], learning_rate=0.01)
        engine.run()
        states[mine] = student.state_dict()
    assert engine.state.mining == {}
    assert not torch.equal(
        states[True]["roi_heads.box_head.fc6.weight"], states[False]["roi_heads.box_head.fc6.weight"]
    )


@pytest.mark.parametrize("buffers", ["average", "copy"])
def test_batch_norm_statistics_follow_the_rule(make_tiny_detector, trainer, item, buffers):
    student, teacher = make_tiny_detector(0), make_tiny_detector(0)
    name = "backbone.trunk.norm0.running_mean"
    before = student.state_dict()[name].clone()
    trainer(student, [[item()]], [mean_teacher(student, teacher, mine=False, buffers=buffers)]).run()
    after = student.state_dict()[name]
    assert not torch.equal(before, after)
    assert_close(teacher.state_dict()[name], (before + after) / 2 if buffers == "average" else after)
    assert int(teacher.state_dict()["backbone.trunk.norm0.num_batches_tracked"]) == 1


def test_score_histogram_counts_all_detections_before_selection(scripted, trainer, item, said):
    student = scripted()
    teacher = scripted([said((0, 0, 9, 9, 0.05), (0, 0, 9, 9, 0.95)), said((0, 0, 9, 9, 1.0))])
    engine = trainer(student, [[item(), item()]], [mean_teacher(student, teacher)])
    engine.run()
    assert engine.state.teacher_scores.tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 2]


def test_lesion_in_a_region_to_ignore_is_not_hidden(item, said):
    truth = torch.tensor([[10.0, 10.0, 20.0, 20.0], [30.0, 30.0, 40.0, 40.0], [50.0, 50.0, 60.0, 60.0]])
    regions = torch.tensor(
        [[30.0, 30.0, 40.0, 35.0], [50.0, 50.0, 60.0, 54.0]]
    )  # half of one lesion, less of the other
    looked_at = item([(10, 10, 20, 20)], truth_boxes=truth, ignore=regions)
    figures = mining_figures([looked_at], [said((50, 50, 60, 60, 0.95))])
    assert (figures["hidden_lesions"], figures["hidden_found"], figures["mined_right"]) == (1.0, 1.0, 1.0)


def test_figures_count_mined_boxes_and_compare_them_with_the_truth(scripted, trainer, item, said):
    student = scripted()
    truth = torch.tensor([[10.0, 10.0, 20.0, 20.0], [30.0, 30.0, 40.0, 40.0], [50.0, 50.0, 60.0, 60.0]])
    teacher = scripted([said((30, 30, 40, 41, 0.95), (5, 45, 15, 55, 0.92))])
    engine = trainer(student, [[item([(10, 10, 20, 20)], truth_boxes=truth)]], [mean_teacher(student, teacher)])
    engine.run()
    assert engine.state.mining == {
        "mined_boxes": 2.0,
        "ground_truth_boxes": 1.0,
        "mined_per_ground_truth": 2.0,
        "mined_right": 1.0,
        "hidden_lesions": 2.0,
        "hidden_found": 1.0,
        "mined_precision": 0.5,
        "mined_recall": 0.5,
    }


def test_figures_hold_no_precision_where_the_truth_is_unknown(item, said):
    figures = mining_figures([item([])], [said((1, 1, 5, 5, 0.9))])
    assert figures == {"mined_boxes": 1.0, "ground_truth_boxes": 0.0, "mined_per_ground_truth": 1.0}


@pytest.mark.parametrize(
    "wrong", [{"score_threshold": 1.5}, {"gt_nms_iou": -0.1}, {"ema_decay": 2}, {"policy": "drop"}]
)
def test_values_out_of_range_are_refused(scripted, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MeanTeacher(scripted(), scripted(), **wrong)


def test_doubtful_find_is_neither_lesion_nor_background(scripted, trainer, item, said):
    batch = [item([(10, 10, 20, 20)])]
    words = [said((30, 30, 40, 40, 0.95), (50, 50, 60, 60, 0.6), (2, 50, 8, 60, 0.4), (10, 10, 20, 20, 0.7))]
    target = target_seen(scripted, trainer, batch, words, ignore_threshold=0.5)
    assert target["boxes"].tolist() == [[10, 10, 20, 20], [30, 30, 40, 40]]
    assert target["ignore"].tolist() == [[50, 50, 60, 60]]


def test_box_that_a_check_refuses_is_ignored_when_it_is_still_doubtful(scripted, trainer, item, said):
    class RefuseAll:
        def confirm(self, items, mined, predict):
            return [{name: value[:0] for name, value in found.items()} for found in mined]

    words = [said((30, 30, 40, 40, 0.95))]
    target = target_seen(
        scripted, trainer, [item([(10, 10, 20, 20)])], words, checks=[RefuseAll()], ignore_threshold=0.5
    )
    assert target["boxes"].tolist() == [[10, 10, 20, 20]]
    assert target["ignore"].tolist() == [[30, 30, 40, 40]]


def test_find_on_a_known_negative_is_not_mined(scripted, trainer, item, said):
    batch = [item([(10, 10, 20, 20)], negatives=torch.tensor([[28.0, 28, 42, 42]]))]
    target = target_seen(scripted, trainer, batch, [said((30, 30, 40, 40, 0.95))])
    assert target["boxes"].tolist() == [[10, 10, 20, 20]]
    assert target["negatives"].tolist() == [[28, 28, 42, 42]]


def test_calibrated_threshold_is_asked_for_each_box(scripted, trainer, item, said):
    by_size = CalibratedThreshold(edges_px=[10])
    by_size.values = torch.tensor([0.5, 0.9])
    words = [said((30, 30, 36, 36, 0.6), (40, 40, 60, 60, 0.6))]
    target = target_seen(scripted, trainer, [item([])], words, score_threshold=by_size)
    assert target["boxes"].tolist() == [[30, 30, 36, 36]]


def test_prepared_copy_looks_and_is_made_anew_only_when_the_teacher_has_changed(make_tiny_detector, trainer, item):
    student, teacher = make_tiny_detector(0), make_tiny_detector(1)
    made: list[InferenceDetector] = []

    def prepare(network):
        made.append(inference_detector(network, "float32"))
        return made[-1]

    handler = mean_teacher(student, teacher, score_threshold=0.0, prepare=prepare)
    image = item()["image"]
    [plain] = mean_teacher(student, teacher).predict_teacher([image], "cpu")
    [prepared] = handler.predict_teacher([image], "cpu")
    assert_close(prepared["boxes"], plain["boxes"], atol=1e-3, rtol=1e-3)
    handler.predict_teacher([image], "cpu")
    assert len(made) == 1
    trainer(student, [[item()]] * 3, [handler], learning_rate=0.01).run()
    # The run starts with the student's weights, and they are averaged after every iteration.
    assert len(made) == 4
    assert not torch.equal(made[-1].rpn.head.bbox_pred.weight, made[-2].rpn.head.bbox_pred.weight)
    handler.predict_teacher([image], "cpu")
    assert len(made) == 5
    assert_close(made[-1].rpn.head.bbox_pred.weight, teacher.rpn.head.bbox_pred.weight, atol=0, rtol=0)
