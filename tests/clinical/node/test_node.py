"""A whole node in this process, between a scanner and a PACS."""

from __future__ import annotations

import json
import logging
import urllib.error
import urllib.request

import pytest

from lesion_app.clinical.node.log import series_hash
from lesion_app.clinical.node.node import Node
from lesion_app.clinical.node.settings import Pacs
from lesion_app.errors import InputError

SERIES = "1.2.826.0.1.3680043.2"


def states(node) -> dict[str, int]:
    from lesion_app.clinical.node.queue_view import counts

    return {state: number for state, number in counts(node.queue).items() if number}


def test_a_series_comes_in_and_its_result_goes_out(start_node, send, make_ct, pacs, result_uid, wait_for):
    node = start_node()
    assert send(node.receiver.port, [make_ct(number=n) for n in (1, 2, 3)]) == [0, 0, 0]
    wait_for(lambda: states(node) == {"done": 1})
    assert pacs.received == {result_uid(SERIES, 3): 1}
    assert list(node.folder.runs.iterdir()) == []


def test_the_same_image_twice_is_one_image(start_node, send, make_ct, pacs, result_uid, wait_for):
    node = start_node()
    images = [make_ct(number=1), make_ct(number=2), make_ct(number=1)]
    assert send(node.receiver.port, images) == [0, 0, 0]
    wait_for(lambda: states(node) == {"done": 1})
    assert send(node.receiver.port, images) == [0, 0, 0]
    assert pacs.received == {result_uid(SERIES, 2): 1}
    assert states(node) == {"done": 1}


def test_late_images_make_a_new_generation_of_the_whole_series(
    start_node, send, make_ct, pacs, result_uid, wait_for, lines
):
    node = start_node()
    send(node.receiver.port, [make_ct(number=1)])
    wait_for(lambda: states(node) == {"done": 1})
    send(node.receiver.port, [make_ct(number=2)])
    wait_for(lambda: states(node) == {"done": 2})
    assert pacs.received == {result_uid(SERIES, 1): 1, result_uid(SERIES, 2): 1}
    assert [line[1:3] for line in lines(node)] == [(1, "done"), (2, "done")]


def test_images_that_arrive_during_a_run_end_it_and_one_result_is_made_of_all(
    start_node, send, make_ct, pacs, result_uid, wait_for, lines, stand_in
):
    node = start_node(command=stand_in("sleep 1.5"))
    send(node.receiver.port, [make_ct(number=1)])
    wait_for(lambda: states(node) == {"running": 1})
    send(node.receiver.port, [make_ct(number=2)])
    assert states(node) == {"received": 1}
    wait_for(lambda: states(node) == {"done": 1})
    assert pacs.received == {result_uid(SERIES, 2): 1}


def test_a_refusal_is_final_and_its_reason_holds_no_patient_data(
    start_node, send, make_ct, pacs, wait_for, lines, stand_in, caplog
):
    caplog.set_level(logging.DEBUG, logger="lesion_app.clinical.node")
    node = start_node(command=stand_in("refuse"))
    send(node.receiver.port, [make_ct()])
    wait_for(lambda: states(node) == {"refused": 1})
    reason = lines(node)[0][3]
    assert reason == "[removed] has 1 images of [uid] in the series"
    assert "immerblume" not in caplog.text
    assert pacs.received == {}


def test_a_crash_is_tried_again_a_bounded_number_of_times(start_node, send, make_ct, wait_for, lines, stand_in, caplog):
    node = start_node(command=stand_in("crash"), attempts=2)
    send(node.receiver.port, [make_ct()])
    wait_for(lambda: states(node) == {"failed": 1})
    assert lines(node)[0][3] == "the command crashed with exit code 1 (ValueError), 2 times"
    assert "immerblume" not in caplog.text


def test_a_crash_that_passes_leaves_a_result(start_node, send, make_ct, pacs, wait_for, stand_in):
    node = start_node(command=stand_in("crash once"))
    send(node.receiver.port, [make_ct()])
    wait_for(lambda: states(node) == {"done": 1})
    assert len(pacs.received) == 1


@pytest.mark.parametrize(
    ("mode", "time_limit_s", "reason"),
    [
        ("nothing", 60.0, "the command ended with success but left no DICOM file"),
        ("hang", 1.0, "the command took longer than 1 s"),
    ],
)
def test_a_run_without_a_result_fails(start_node, send, make_ct, wait_for, lines, stand_in, mode, time_limit_s, reason):
    node = start_node(command=stand_in(mode), time_limit_s=time_limit_s)
    send(node.receiver.port, [make_ct()])
    wait_for(lambda: states(node) == {"failed": 1})
    assert lines(node)[0][3] == reason


def test_results_wait_while_the_pacs_is_away(start_node, send, make_ct, pacs, wait_for):
    pacs.close()
    node = start_node()
    send(node.receiver.port, [make_ct("1.2.5"), make_ct("1.2.6")])
    wait_for(lambda: states(node) == {"staged": 2} and node.sender.away)
    assert any("PACS" in one for one in node.problems())
    pacs.open()
    wait_for(lambda: states(node) == {"done": 2})
    assert sorted(pacs.received.values()) == [1, 1]
    assert node.problems() == []


def test_results_survive_a_restart_while_the_pacs_is_away(start_node, send, make_ct, pacs, wait_for):
    pacs.close()
    node = start_node()
    send(node.receiver.port, [make_ct()])
    wait_for(lambda: states(node) == {"staged": 1})
    node.stop()
    pacs.open()
    again = start_node()
    wait_for(lambda: states(again) == {"done": 1})
    assert len(pacs.received) == 1


def test_a_full_pacs_is_waited_for_and_a_refusing_one_given_up(start_node, send, make_ct, pacs, wait_for, lines):
    pacs.answers = [0xA700, 0xA701, 0xC000, 0xA900]
    node = start_node(delivery_attempts=2)
    send(node.receiver.port, [make_ct()])
    wait_for(lambda: states(node) == {"failed": 1})
    assert lines(node)[0][3] == "the PACS refused a result with status 0xA900, 2 times"
    # The results are kept: a requeue sends them without another run.
    from lesion_app.clinical.node.queue_view import find

    assert node.queue.requeue(find(node.queue, state="failed")[0], 0.0) == "staged"
    wait_for(lambda: states(node) == {"done": 1})
    assert len(pacs.received) == 1


def test_stopping_puts_the_run_back_and_the_next_start_takes_it_up(
    start_node, send, make_ct, pacs, wait_for, stand_in, make_settings
):
    node = start_node(command=stand_in("hang"), attempts=1)
    send(node.receiver.port, [make_ct()])
    wait_for((node.folder.root / "started").exists)
    node.stop()
    again = start_node()
    wait_for(lambda: states(again) == {"done": 1})
    assert len(pacs.received) == 1


def test_a_run_whose_end_could_not_be_written_is_taken_up_again(start_node, send, make_ct, pacs, wait_for, monkeypatch):
    import sqlite3

    node = start_node()
    stage, calls = node.queue.stage, []

    def broken(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            # Neither the results nor the crash can be written.
            monkeypatch.setattr(node.queue, "run_again", lambda *_, **__: fail())
            fail()
        return stage(*arguments)

    def fail():
        if len(calls) == 1:
            raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(node.queue, "stage", broken)
    send(node.receiver.port, [make_ct()])
    wait_for(lambda: states(node) == {"done": 1})
    assert len(calls) == 2
    assert len(pacs.received) == 1


def test_a_second_node_on_the_same_folder_is_told(start_node, make_settings):
    node = start_node()
    with pytest.raises(InputError, match="another node already uses"):
        Node(make_settings()).start()
    node.stop()
    Node(make_settings()).start().stop()


def test_a_taken_port_is_told_and_the_folder_freed(start_node, make_settings, tmp_path):
    node = start_node()
    taken = make_settings(state=tmp_path / "other", port=node.receiver.port)
    with pytest.raises(InputError, match=f"{node.receiver.port} is taken by another program"):
        Node(taken).start()
    Node(make_settings(state=tmp_path / "other")).start().stop()


def test_a_folder_that_cannot_be_made_is_told(make_settings, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        Node(make_settings(state=tmp_path / "file" / "state")).start()


def test_a_file_that_is_no_queue_is_told(make_settings, tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "queue.db").write_bytes(b"not a database, " * 100)
    with pytest.raises(InputError, match="cannot be read"):
        Node(make_settings()).start()


def test_status_page_tells_states_but_no_patient(start_node, send, make_ct, wait_for, stand_in):
    node = start_node(status_port=0, command=stand_in("refuse"))
    send(node.receiver.port, [make_ct()])
    wait_for(lambda: states(node) == {"refused": 1})
    address = f"http://127.0.0.1:{node.status_page.port}"
    report = json.load(urllib.request.urlopen(f"{address}/status.json"))
    assert report["counts"]["refused"] == 1
    assert report["series"][0]["series"] == series_hash(SERIES)
    text = urllib.request.urlopen(f"{address}/").read().decode()
    assert series_hash(SERIES) in text
    assert urllib.request.urlopen(f"{address}/health").read() == b"ok\n"
    for secret in ("immerblume", "P-77881"):
        assert secret not in text + json.dumps(report)


def test_health_is_503_when_the_pacs_is_away(start_node, send, make_ct, pacs, wait_for):
    pacs.close()
    node = start_node(status_port=0)
    send(node.receiver.port, [make_ct()])
    wait_for(lambda: node.sender.away)
    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.urlopen(f"http://127.0.0.1:{node.status_page.port}/health")
    assert answer.value.code == 503


def test_results_go_out_by_stow_rs(start_node, send, make_ct, wait_for, stow_server, result_uid):
    node = start_node(pacs=Pacs.parse(stow_server.url))
    stow_server.answers = [503, 409]
    send(node.receiver.port, [make_ct()])
    wait_for(lambda: states(node) == {"done": 1})
    assert [result_uid(SERIES, 1).encode() in body for body in stow_server.bodies] == [True] * 3
