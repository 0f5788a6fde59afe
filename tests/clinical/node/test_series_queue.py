"""Every state, every move between states, every place where a kill can happen."""

from __future__ import annotations

import random

import pytest

from lesion_app.clinical.node import queue_view
from lesion_app.clinical.node.job import Job, Result
from lesion_app.clinical.node.series_queue import SeriesQueue
from lesion_app.errors import InputError

SERIES = "1.2.826.0.1.3680043.2"
RESULTS = [Result("2.25.1", "sr.dcm", 10), Result("2.25.2", "seg.dcm", 20)]


@pytest.fixture
def queue(tmp_path):
    queue = SeriesQueue(tmp_path / "queue.db")
    yield queue
    queue.close()


def fill(queue: SeriesQueue, images: int = 3, series: str = SERIES, now: float = 0.0) -> None:
    for number in range(images):
        queue.add(series, f"{series}.{number}", 100, now)


def run(queue: SeriesQueue, token: str = "run", now: float = 100.0) -> Job:
    """Close what is quiet and claim it."""
    queue.close_quiet(now, 10.0)
    claimed = queue.claim(token, now)
    assert claimed is not None
    return claimed[0]


def state(queue: SeriesQueue) -> list[str]:
    return [line.state for line in sorted(queue_view.recent(queue), key=lambda line: line.generation)]


def test_the_way_of_a_series(queue):
    fill(queue)
    assert state(queue) == ["received"]
    assert queue.close_quiet(9.9, 10.0) == []
    assert [job.state for job in queue.close_quiet(10.0, 10.0)] == ["ready"]
    job, uids = queue.claim("run", 11.0)
    assert (job.images, job.attempts, len(uids)) == (3, 1, 3)
    assert queue.claim("another", 11.0) is None
    assert queue.stage(job, RESULTS, 12.0)
    assert queue.next_delivery(12.0).id == job.id
    queue.confirm(job, "2.25.2")
    assert queue.undelivered(job) == [RESULTS[0]]
    with pytest.raises(RuntimeError, match="before the PACS"):
        queue.stored(job, 13.0)
    queue.confirm(job, "2.25.1")
    queue.stored(job, 13.0)
    assert state(queue) == ["stored"]
    queue.done(job, 14.0)
    assert state(queue) == ["done"]
    assert queue.next_delivery(1e9) is None


def test_a_new_image_restarts_the_quiet_period(queue):
    fill(queue, 1, now=0.0)
    queue.add(SERIES, "9", 100, 8.0)
    assert queue.close_quiet(15.0, 10.0) == []
    queue.add(SERIES, "9", 100, 17.0)
    assert len(queue.close_quiet(18.0, 10.0)) == 1


def test_an_image_during_a_run_supersedes_it(queue):
    fill(queue)
    job = run(queue)
    assert queue.runs(job)
    queue.add(SERIES, "late", 100, 101.0)
    assert not queue.runs(job)
    assert not queue.stage(job, RESULTS, 102.0)
    assert not queue.end_run(job, "refused", "reason", 102.0)
    assert not queue.run_again(job, "reason", 102.0, 0.0)
    assert state(queue) == ["received"]
    assert queue_view.held_bytes(queue) == 400


@pytest.mark.parametrize("final", ["staged", "refused", "failed"])
def test_an_image_after_the_results_opens_a_generation_with_all_images(queue, final):
    fill(queue)
    job = run(queue)
    if final == "staged":
        queue.stage(job, RESULTS, 101.0)
    else:
        queue.end_run(job, final, "reason", 101.0)
    queue.add(SERIES, "late", 100, 102.0)
    assert state(queue) == [final, "received"]
    again = run(queue, "second", 200.0)
    assert (again.generation, again.images) == (2, 4)


def test_a_generation_waits_until_the_one_before_is_delivered(queue):
    fill(queue)
    first = run(queue)
    queue.stage(first, RESULTS, 101.0)
    queue.postpone(first, "refused", 101.0, 1000.0)
    queue.add(SERIES, "late", 100, 102.0)
    queue.stage(run(queue, "second", 200.0), [Result("2.25.3", "a.dcm", 1)], 201.0)
    assert queue.next_delivery(300.0) is None
    assert queue.next_delivery(1200.0).generation == 1


def test_recover_makes_what_ran_ready_and_gives_up_after_a_number_of_times(queue):
    fill(queue)
    for restart in range(2):
        run(queue, f"run{restart}")
        queue.recover(101.0, 3)
        assert state(queue) == ["ready"]
    job = run(queue, "last")
    assert (job.attempts, job.interruptions) == (1, 2)
    queue.recover(102.0, 3)
    assert state(queue) == ["failed"]


def test_a_series_cut_off_is_held_until_the_time_is_over_or_its_sender_is_back(queue):
    for series in ("1.1", "1.2", "1.3"):
        fill(queue, series=series)
    queue.hold(500.0, ["1.1", "1.2"])
    assert [job.series_uid for job in queue.close_quiet(100.0, 10.0)] == ["1.3"]
    queue.add("1.1", "late", 100, 101.0)
    assert [job.series_uid for job in queue.close_quiet(200.0, 10.0)] == ["1.1"]
    assert [job.series_uid for job in queue.close_quiet(500.0, 10.0)] == ["1.2"]


def test_a_new_start_holds_every_series_under_way(queue):
    fill(queue)
    queue.hold(200.0)
    assert queue.close_quiet(199.0, 10.0) == []


def test_a_crash_waits_before_it_is_run_again(queue):
    fill(queue)
    queue.run_again(run(queue), "crash", 100.0, 30.0)
    assert queue.claim("again", 129.0) is None
    assert queue.claim("again", 130.0)[0].attempts == 2


def test_a_series_that_found_no_room_is_refused_until_all_of_it_came(queue):
    fill(queue, 2)
    queue.turn_away(SERIES, "big", 1.0)
    queue.close_quiet(100.0, 10.0)
    assert state(queue) == ["refused"]
    assert "1 images found no room" in queue_view.recent(queue)[0].reason
    queue.turn_away(SERIES, "big", 101.0)
    assert state(queue) == ["refused"], "the same image turned away again is nothing new"
    queue.add(SERIES, "big", 100, 102.0)
    assert run(queue, "again", 200.0).images == 3


def test_a_straggler_after_the_images_were_removed_does_not_pass_for_the_series(queue):
    fill(queue)
    queue.end_run(run(queue), "refused", "reason", 101.0)
    assert queue_view.removable(queue, before=100.0, before_failed=100.0) == []
    assert queue_view.removable(queue, before=101.0, before_failed=0.0) == [SERIES]
    assert queue_view.forget_files(queue, SERIES) == []
    assert queue_view.removable(queue, before=101.0, before_failed=0.0) == []
    assert queue_view.held_bytes(queue) == 0
    queue.add(SERIES, f"{SERIES}.1", 100, 200.0)
    queue.close_quiet(300.0, 10.0)
    assert state(queue) == ["refused", "refused"]
    assert "1 images came after the series' 3 had been removed" in queue_view.recent(queue)[0].reason
    fill(queue, now=301.0)
    assert run(queue, "whole", 400.0).images == 3


def test_what_is_open_or_staged_is_never_removed(queue):
    fill(queue)
    assert queue_view.forget_files(queue, SERIES) is None
    job = run(queue)
    queue.stage(job, RESULTS, 101.0)
    assert queue_view.removable(queue, 1e9, 1e9) == []
    assert queue_view.known_runs(queue) == ["run"]
    assert queue_view.held_bytes(queue) == 330


def test_failed_deliveries_keep_their_results_longer(queue):
    fill(queue)
    job = run(queue)
    queue.stage(job, RESULTS, 101.0)
    queue.give_up_delivery(job, "refused", 102.0)
    assert queue_view.removable(queue, before=1e9, before_failed=0.0) == []
    assert queue_view.removable(queue, before=0.0, before_failed=102.0) == [SERIES]
    assert queue_view.forget_files(queue, SERIES) == ["run"]


def test_requeue_runs_again_or_sends_again_or_says_why_not(queue):
    fill(queue)
    job = run(queue)
    with pytest.raises(InputError, match="only finished series"):
        queue.requeue(job, 101.0)
    queue.end_run(job, "refused", "reason", 101.0)
    assert queue.requeue(job, 102.0) == "received"
    job = run(queue, "second", 103.0)
    queue.stage(job, RESULTS, 104.0)
    queue.give_up_delivery(job, "reason", 105.0)
    assert queue.requeue(job, 106.0) == "staged"
    for one in RESULTS:
        queue.confirm(job, one.sop_uid)
    queue.stored(job, 107.0)
    queue.done(job, 108.0)
    queue_view.forget_files(queue, SERIES)
    with pytest.raises(InputError, match=r"images of .* have been removed; send the series again"):
        queue.requeue(job, 109.0)


def test_a_queue_of_another_version_is_told(tmp_path):
    queue = SeriesQueue(tmp_path / "queue.db")
    with queue.database.transaction() as db:
        db.execute("PRAGMA user_version = 99")
    queue.close()
    with pytest.raises(InputError, match="version 99"):
        SeriesQueue(tmp_path / "queue.db")


@pytest.mark.parametrize("seed", range(3))
def test_any_order_of_events_ends_every_generation_in_one_final_state(tmp_path, seed):
    """A random walk with restarts; then the queue is worked off and everything must be final and accounted for."""
    chance = random.Random(seed)
    queue = SeriesQueue(tmp_path / "queue.db")
    now, token, sent = 0.0, 0, set()

    def step(event: str) -> None:
        nonlocal queue, token
        if event == "image":
            uids = (f"1.{chance.randrange(4)}", f"2.{chance.randrange(6)}")
            sent.add(uids)
            queue.add(*uids, 10, now)
        elif event == "quiet":
            queue.close_quiet(now, 2.0)
        elif event == "run":
            token += 1
            if claimed := queue.claim(str(token), now):
                end = chance.choice(["stage", "refuse", "crash", "killed", "late"])
                if end == "late":
                    queue.add(claimed[0].series_uid, f"2.{chance.randrange(6)}", 10, now)
                    sent.add((claimed[0].series_uid, ""))
                if end in ("stage", "late"):
                    queue.stage(claimed[0], [Result(f"3.{token}", "a.dcm", 5)], now)
                elif end == "refuse":
                    queue.end_run(claimed[0], "refused", "reason", now)
                elif end == "crash":
                    queue.run_again(claimed[0], "crash", now, 1.0)
        elif event == "restart":
            queue.close()
            queue = SeriesQueue(tmp_path / "queue.db")
            queue.recover(now, 100)
        elif event == "deliver" and (job := queue.next_delivery(now)):
            for one in queue.undelivered(job)[: chance.randrange(2)]:
                queue.confirm(job, one.sop_uid)
            if not queue.undelivered(job):
                queue.stored(job, now)
                if chance.random() < 0.5:
                    queue.done(job, now)

    for _ in range(250):
        now += chance.random()
        step(chance.choice(["image", "quiet", "run", "restart", "deliver"]))
    for _ in range(250):
        now += 1.0
        step(chance.choice(["quiet", "run", "restart", "deliver"]))
    left = queue_view.counts(queue)
    assert {name for name, number in left.items() if number} <= {"done", "refused"}
    assert {series for series, _ in sent} == {job.series_uid for job in queue_view.find(queue)}
    total = queue.database.rows("SELECT total(bytes) FROM instances")[0][0]
    assert queue_view.held_bytes(queue) == total
    queue.close()
