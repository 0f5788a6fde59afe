"""The toy data sets of Retina U-Net: one object of two classes in noise, three tasks, seeded."""

from lesion_app.data.toy.images import TASKS, ToyImage, ToySettings, ToyTask, draw_toy_image
from lesion_app.data.toy.write import ToySummary, write_toy

__all__ = ["TASKS", "ToyImage", "ToySettings", "ToySummary", "ToyTask", "draw_toy_image", "write_toy"]
