from __future__ import annotations

import functools

import pytest
import torch
from ignite.engine import Events

from lesion_app.data.seeded_sampling import EndlessSampler
from lesion_app.errors import InputError
from lesion_app.handlers.training_state import TrainingState


class Noisy(torch.nn.Module):
    """Its loss draws from the global generator, and depends on the item."""

    def __init__(self, width: int = 2):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(width))

    def forward(self, slabs, targets=None):
        return {
            "loss": (self.weight * torch.randn(len(self.weight)) * slabs[0].mean()).sum() + self.weight.square().sum()
        }


class Batches:
    """Endless batches of two items whose images are their numbers; knows no more than its sampler."""

    def __init__(self, sampler: EndlessSampler, item):
        self.sampler, self.item = sampler, item

    def __iter__(self):
        draws = iter(self.sampler)
        while True:
            yield [{**self.item(), "image": torch.full((9, 8, 8), float(next(draws).index))} for _ in range(2)]


@pytest.fixture
def build(trainer, item, tmp_path):
    def make(folder: str, epochs: int = 3, resume: bool = False, network=None, epoch_length: int = 4, **more):
        network = network or Noisy()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
        sampler = EndlessSampler(5, seed=1)
        objects = {"student": network, "optimizer": optimizer, **more}
        handler = TrainingState(tmp_path / folder / "state.pt", objects, sampler, batch_size=2, resume=resume)
        batches = Batches(sampler, item)
        engine = trainer(network, batches, [handler], epochs=epochs, epoch_length=epoch_length, optimizer=optimizer)
        engine.logger.disabled = True
        return engine, network

    return make


@pytest.mark.parametrize("killed_at", [4, 5, 7, 11])
def test_resumed_run_equals_the_uninterrupted_one_bit_for_bit(build, tmp_path, killed_at):
    torch.manual_seed(7)
    engine, whole = build("whole")
    engine.run()
    torch.manual_seed(7)
    engine, _ = build("broken")
    engine.add_event_handler(Events.ITERATION_COMPLETED(once=killed_at + 1), lambda e: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        engine.run()
    torch.manual_seed(99)  # a new process has drawn other numbers before
    engine, resumed = build("broken", resume=True)
    engine.run()
    assert engine.state.iteration == 12
    assert torch.equal(whole.weight, resumed.weight)
    first, second = (torch.load(tmp_path / f / "state.pt", weights_only=True) for f in ("whole", "broken"))
    assert torch.equal(
        first["objects"]["optimizer"]["state"][0]["momentum_buffer"],
        second["objects"]["optimizer"]["state"][0]["momentum_buffer"],
    )
    assert torch.equal(first["random"][0]["torch"], second["random"][0]["torch"])


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_scale_of_the_gradients_is_resumed(build, tmp_path, monkeypatch):
    growing = functools.partial(torch.amp.GradScaler, "cpu", init_scale=2.0, growth_interval=1)
    monkeypatch.setattr(torch.cuda.amp, "GradScaler", growing)
    for epochs, resume in ((1, False), (2, True)):
        engine, _ = build("scaled", epochs=epochs, resume=resume)
        engine.amp = True
        engine.run()
    assert engine.scaler.get_scale() == 2.0 * 2**8


def test_resuming_a_finished_run_changes_nothing(build, tmp_path):
    engine, trained = build("run", epochs=2)
    engine.run()
    before = (tmp_path / "run" / "state.pt").read_bytes()
    engine, resumed = build("run", epochs=2, resume=True)
    completed = []
    engine.add_event_handler(Events.COMPLETED, lambda e: completed.append(e.state.iteration))
    engine.run()
    assert completed == [8]
    assert torch.equal(resumed.weight, trained.weight)
    assert (tmp_path / "run" / "state.pt").read_bytes() == before


def test_finished_run_goes_on_with_more_epochs(build):
    torch.manual_seed(7)
    build("long", epochs=3)[0].run()
    torch.manual_seed(7)
    build("short", epochs=2)[0].run()
    engine, longer = build("short", epochs=3, resume=True)
    engine.run()
    _, whole = build("long", epochs=3, resume=True)
    assert engine.state.iteration == 12
    assert torch.equal(longer.weight, whole.weight)


def test_without_a_file_resume_starts_anew_and_without_resume_a_file_is_overwritten(build, tmp_path):
    engine, first = build("run", epochs=1, resume=True)
    engine.run()
    assert engine.state.iteration == 4
    engine, second = build("run", epochs=1, resume=False)
    assert torch.equal(second.weight, torch.zeros(2))
    engine.run()
    assert not torch.equal(first.weight, second.weight)
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    assert torch.equal(state["objects"]["student"]["weight"], second.weight)
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["state.pt"]


def test_state_is_saved_after_every_other_handler_of_the_epoch(build, tmp_path):
    engine, _ = build("run", epochs=1)
    there = []
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda e: there.append((tmp_path / "run" / "state.pt").exists()))
    engine.run()
    assert there == [False]
    assert (tmp_path / "run" / "state.pt").exists()


def test_state_of_another_network_is_refused(build):
    build("run", epochs=1)[0].run()
    with pytest.raises(InputError, match="another network"):
        build("run", resume=True, network=Noisy(3))


def test_state_of_another_training_is_refused(build):
    build("run", epochs=1)[0].run()
    with pytest.raises(InputError, match=r"not a state of this training.*teacher"):
        build("run", resume=True, teacher=Noisy())


def test_state_of_another_epoch_length_is_refused(build):
    build("run", epochs=1)[0].run()
    with pytest.raises(InputError, match="epoch_length 4, this run has 5"):
        build("run", resume=True, epoch_length=5)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_unreadable_state_is_refused(build, tmp_path, content):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "state.pt").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as a checkpoint"):
        build("run", resume=True)


def test_bare_weights_are_no_state(build, tmp_path):
    (tmp_path / "run").mkdir()
    torch.save(Noisy().state_dict(), tmp_path / "run" / "state.pt")
    with pytest.raises(InputError, match="not a state of this training"):
        build("run", resume=True)
