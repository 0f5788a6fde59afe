from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lesion_app.handlers.mean_teacher import MeanTeacher
from lesion_app.handlers.mining_pictures import MiningPictures, overlay


def run(trainer, scripted, batches, said, folder, **options):
    student, teacher = scripted(), scripted(said)
    handlers = [MeanTeacher(student, teacher, start_iteration=options.pop("start_iteration", 1))]
    handlers.append(MiningPictures(folder, **options))
    trainer(student, batches, handlers).run()


def test_sheet_shows_the_latest_slabs_with_mined_boxes(trainer, scripted, item, said, tmp_path):
    run(trainer, scripted, [[item()]] * 3, [said((30, 30, 40, 40, 0.95))], tmp_path, every=100, sheet_tiles=2)
    with Image.open(tmp_path / "mined_lesions.png") as sheet:
        assert min(sheet.size) > 64


def test_histogram_and_picture_go_to_tensorboard_at_the_interval(trainer, scripted, item, said, tmp_path):
    spoken = [said((30, 30, 40, 40, 0.95), (2, 2, 9, 9, 0.25))]
    run(trainer, scripted, [[item()]] * 5, spoken, tmp_path, every=2)
    events = EventAccumulator(str(tmp_path), size_guidance={"histograms": 0, "images": 0}).Reload()
    histograms = events.Histograms("teacher_scores")
    assert [h.step for h in histograms] == [2, 4]
    assert [h.histogram_value.num for h in histograms] == [4, 4]  # counted anew after each
    assert [i.step for i in events.Images("mined_lesions")] == [2, 4]


def test_nothing_is_written_where_nothing_was_mined(trainer, scripted, item, said, tmp_path):
    run(trainer, scripted, [[item()]] * 2, [said()], tmp_path / "a", every=100)
    run(trainer, scripted, [[item()]] * 2, [said((3, 3, 9, 9, 0.95))], tmp_path / "b", start_iteration=9)
    assert not list(tmp_path.rglob("*.*"))


def test_overlay_draws_on_the_central_slice(item, said):
    slab = item([(10, 10, 20, 20)], truth_boxes=torch.tensor([[40.0, 40.0, 50.0, 50.0]]))
    picture = {**slab, "image": torch.full((64, 64), 50.0), "mined": said((30, 30, 40, 40, 0.95))}
    drawn = overlay(picture)
    assert drawn.dtype == np.uint8
    assert drawn.shape[2] == 3
    colours = {tuple(c) for c in drawn.reshape(-1, 3).tolist()}
    assert any(g > r + 40 and g > b + 40 for r, g, b in colours), "labels are green"
    assert any(b > r + 40 for r, g, b in colours), "mined boxes are blue"
    assert any(r > b + 40 for r, g, b in colours), "hidden lesions are orange"
