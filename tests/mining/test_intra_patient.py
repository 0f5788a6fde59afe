"""The same lesion in another scan of the patient, by distance of embeddings."""

from __future__ import annotations

import numpy as np
import pytest

from lesion_app.mining.intra_patient import LesionMatch, match_within_patients


def test_close_pairs_of_one_patient_match():
    marks, finds = [[0.0, 0.0], [1.0, 0.0]], [[0.1, 0.0], [1.0, 0.14], [0.5, 0.5]]
    assert match_within_patients(marks, ["p", "p"], finds, ["p", "p", "p"]) == [
        LesionMatch(0, 0, pytest.approx(0.1)),
        LesionMatch(1, 1, pytest.approx(0.14)),
    ]


def test_another_patients_lesion_never_matches():
    assert match_within_patients([[0.0]], ["p"], [[0.0]], ["q"]) == []


def test_distance_must_be_below_delta():
    assert match_within_patients([[0.0]], ["p"], [[0.25]], ["p"], delta=0.25) == []
    assert len(match_within_patients([[0.0]], ["p"], [[0.25]], ["p"], delta=0.26)) == 1


def test_tracklet_goes_to_its_nearest_annotation():
    (match,) = match_within_patients([[0.0], [0.1]], ["p", "p"], [[0.08]], ["p"])
    assert match.annotation == 1


def test_pairs_of_one_volume_are_passed_over_when_volumes_are_told():
    arguments = ([[0.0], [0.1]], ["p", "p"], [[0.0]], ["p"])
    volumes = {"annotation_volumes": ["u", "v"], "tracklet_volumes": ["u"]}
    (match,) = match_within_patients(*arguments, **volumes)
    assert match.annotation == 1
    (match,) = match_within_patients(*arguments)
    assert match.annotation == 0


def test_empty_and_ill_fitting_arguments():
    assert match_within_patients(np.zeros((0, 4)), [], [[0.0] * 4], ["p"]) == []
    assert match_within_patients([[0.0] * 4], ["p"], np.zeros((0, 4)), []) == []
    with pytest.raises(ValueError, match="one patient an embedding"):
        match_within_patients([[0.0]], [], [[0.0]], ["p"])
    with pytest.raises(ValueError, match="cannot be compared"):
        match_within_patients([[0.0]], ["p"], [[0.0, 1.0]], ["p"])
    with pytest.raises(ValueError, match="delta"):
        match_within_patients([[0.0]], ["p"], [[0.0]], ["p"], delta=0)
    with pytest.raises(ValueError, match="neither"):
        match_within_patients([[0.0]], ["p"], [[0.0]], ["p"], tracklet_volumes=["v"])


@pytest.mark.parametrize("seed", range(10))
def test_equals_a_plain_search(seed):
    rng = np.random.default_rng(seed)
    marks, finds = rng.normal(size=(15, 3)), rng.normal(size=(25, 3))
    whose_mark, whose_find = (rng.choice(list("abcd"), n).tolist() for n in (15, 25))
    mark_in, find_in = (rng.choice(list("xyz"), n).tolist() for n in (15, 25))
    wanted = []
    for t in range(25):
        best, which = 0.9, None
        for a in range(15):
            if whose_mark[a] == whose_find[t] and mark_in[a] != find_in[t]:
                distance = sum((finds[t] - marks[a]) ** 2) ** 0.5
                if distance < best:
                    best, which = distance, a
        if which is not None:
            wanted.append(LesionMatch(t, which, pytest.approx(best)))
    volumes = {"annotation_volumes": mark_in, "tracklet_volumes": find_in}
    assert match_within_patients(marks, whose_mark, finds, whose_find, 0.9, **volumes) == wanted
