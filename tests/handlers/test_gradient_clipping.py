from __future__ import annotations

import pytest
import torch
from ignite.engine import Events

from lesion_app.handlers.gradient_clipping import GradientClipping


class Steep(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2))

    def forward(self, slabs, targets=None):
        return {"loss": (self.weight * torch.tensor([3.0, 4.0])).sum()}


@pytest.mark.parametrize(("max_norm", "weight"), [(10.0, [-0.3, -0.4]), (1.0, [-0.06, -0.08])])
def test_step_is_bounded_by_the_norm_and_the_norm_is_told(trainer, item, max_norm, weight):
    network = Steep()
    engine = trainer(network, [[item()]], [GradientClipping(network, max_norm)])
    norms = []
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: norms.append(e.state.metrics["gradient_norm"]))
    engine.run()
    torch.testing.assert_close(network.weight.data, torch.tensor(weight), atol=1e-6, rtol=0)
    assert norms == [pytest.approx(5.0)]
