import ignite.distributed as idist
import pytest
from ignite.exceptions import NotComputableError

from lesion_app.metrics.whole_epoch import whole_epoch


def test_all_processes_are_joined_in_the_order_of_names(monkeypatch):
    monkeypatch.setattr(idist, "all_gather", lambda own: [own, {"a": 1}])
    assert list(whole_epoch({"c": 3, "b": 2}, "M", "volume").items()) == [("a", 1), ("b", 2), ("c", 3)]


def test_something_seen_by_two_processes_is_refused(monkeypatch):
    monkeypatch.setattr(idist, "all_gather", lambda own: [own, {"a": 1}])
    with pytest.raises(ValueError, match=r"1 image\(s\), first 'a'.*two processes"):
        whole_epoch({"a": 1, "b": 2}, "M", "image")


def test_an_epoch_without_anything_has_no_result():
    with pytest.raises(NotComputableError, match="M needs at least one volume"):
        whole_epoch({}, "M", "volume")
