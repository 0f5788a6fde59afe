"""From axial slices to image planes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lesion_app.clinical.axial_places import place_axial_slices
from lesion_app.clinical.source_series import read_source_series
from lesion_app.errors import InputError


@pytest.mark.parametrize(
    "case", [{}, {"step": -2.0}, {"orientation": (-1, 0, 0, 0, -1, 0)}, {"orientation": (0, 1, 0, -1, 0, 0)}]
)
def test_pixels_and_boxes_go_to_the_same_place_and_back(
    case: dict[str, Any], make_ct_series: Callable[..., Any], make_document: Callable[..., Any]
) -> None:
    series = make_ct_series(**case)
    document = make_document(series, [(4, 6, 1, 10, 9, 2)])
    source = read_source_series(document, series.files)
    places = place_axial_slices(document["grid"], source.planes)
    [told] = document["lesions"][0]["slices"]
    place = places[told["axial_slice"]]
    assert place is not None
    assert place.plane.file == series.files[1]
    np.testing.assert_allclose(place.boxes_to_image([told["box"]]), [[4, 6, 10, 9]], atol=1e-3)
    image = np.zeros((32, 40), int)
    image[6:9, 4:10] = 1
    axial = place.pixels_to_axial(image)
    x1, y1, x2, y2 = (round(edge) for edge in told["box"])
    assert axial[y1:y2, x1:x2].all()
    assert axial.sum() == 18
    np.testing.assert_array_equal(place.pixels_to_image(axial), image)


def test_every_slice_finds_its_own_file(make_ct_series: Callable[..., Any], make_document: Callable[..., Any]) -> None:
    series = make_ct_series(step=-1.25)
    document = make_document(series, [])
    places = place_axial_slices(document["grid"], read_source_series(document, series.files).planes)
    assert [place.plane.file for place in places if place] == series.files[::-1]


def test_a_coronal_series_is_refused(make_ct_series: Callable[..., Any], make_document: Callable[..., Any]) -> None:
    series = make_ct_series(orientation=(1, 0, 0, 0, 0, -1))
    document = make_document(series, [])
    with pytest.raises(InputError, match="not the images of this CT series"):
        place_axial_slices(document["grid"], read_source_series(document, series.files).planes)


def test_a_shifted_grid_is_refused(make_ct_series: Callable[..., Any], make_document: Callable[..., Any]) -> None:
    series = make_ct_series()
    document = make_document(series, [])
    document["grid"]["affine_lps"][0][3] += 2.0
    with pytest.raises(InputError, match="not the images of this CT series"):
        place_axial_slices(document["grid"], read_source_series(document, series.files).planes)


def test_two_images_at_one_place_are_refused(
    make_ct_series: Callable[..., Any], make_document: Callable[..., Any]
) -> None:
    series = make_ct_series()
    document = make_document(series, [])
    planes = read_source_series(document, series.files).planes
    with pytest.raises(InputError, match="several images"):
        place_axial_slices(document["grid"], [*planes, planes[3]])
