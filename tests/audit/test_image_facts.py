"""What is said of voxel sizes, orientations and filled values, from the facts of the images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest

from pipeline.audit.image_findings import filled_findings, geometry_findings
from pipeline.manifest import Finding, Manifest


def facts_of(
    *spacings: str, shape: str = "9x9x9", resampled: str = "", orientation: str = "RAS"
) -> list[dict[str, str]]:
    return [
        {
            "original_shape": shape,
            "spacing": spacing,
            "resampled": resampled,
            "orientation": orientation,
        }
        for spacing in spacings
    ]


def told(facts: Sequence[Mapping[str, str]]) -> list[tuple[str, str, str]]:
    return [(f.rule, f.severity, f.message) for f in geometry_findings(facts)]


def test_volumes_of_one_size_are_a_note() -> None:
    assert told(facts_of("1 1 3", "1 1 3", "1 1 3")) == [
        ("spacing", "note", "voxel size in mm as stored: 1 x 1 x 3 (3)"),
        ("orientation", "note", "axes as stored: RAS (3); turned to RAS"),
    ]


def test_volumes_of_mixed_sizes_are_a_warning_with_their_range_counts_and_advice() -> None:
    facts = facts_of("1 1 0.8", "1 1 3", "1 1 3")
    assert told(facts)[0] == (
        "spacing",
        "warning",
        "voxel size in mm as stored: 1 x 1 x 3 (2), 1 x 1 x 0.8 (1); along the axes: 1, 1, 0.8 to "
        "3; they are taken as equal: images.spacing=[1,1,3] resamples all",
    )
    resampled = facts_of("1 1 0.8", "1 1 3", resampled="2 2 2")
    rule, severity, message = told(resampled)[0]
    assert (rule, severity) == ("spacing", "note")
    assert message.endswith("along the axes: 1, 1, 0.8 to 3; resampled to 2 x 2 x 2")


def test_a_volume_of_unknown_size_among_others_is_a_warning() -> None:
    rule, severity, message = told(facts_of("1 1 1", ""))[0]
    assert (rule, severity) == ("spacing", "warning")
    assert "1 x 1 x 1 (1), unknown (1)" in message


@pytest.mark.parametrize("second", ["0.9766 0.9766 5", "0.9765 0.98 5.01"])
def test_rounding_in_headers_is_no_mixture(second: str) -> None:
    assert told(facts_of("0.9766 0.9766 5", second))[0][1] == "note"


def test_of_pictures_only_mixed_sizes_are_noted() -> None:
    assert told(facts_of("0.1 0.1", "0.1 0.1", shape="9x9", orientation="")) == []
    ((rule, severity, message),) = told(facts_of("0.1 0.1", "0.2 0.2", shape="9x9", orientation=""))
    assert (rule, severity) == ("spacing", "note")
    assert message.startswith("pixel size in mm as stored: 0.1 x 0.1 (1), 0.2 x 0.2 (1); ")
    assert told(facts_of("", "", shape="9x9", orientation="")) == []


def test_orientations_are_counted() -> None:
    facts = facts_of("1 1 1", "1 1 1") + facts_of("1 1 1", orientation="LPS")
    assert told(facts)[1][2] == "axes as stored: RAS (2), LPS (1); turned to RAS"


def test_a_table_of_an_older_cache_says_nothing() -> None:
    assert told([{"original_shape": "9x9x9"}, {"original_shape": "9x9x9"}]) == []


@pytest.mark.parametrize(("most", "severity"), [(0.3, "note"), (0.87, "warning")])
def test_filled_values_are_told_with_value_and_share(
    most: float, severity: Literal["note", "warning"]
) -> None:
    shares = [0, 0.1, most]
    manifest = Manifest(
        Path("m.csv"), Path(), ("a", "b"), pd.DataFrame({"line": np.arange(2, 2 + len(shares))})
    )
    facts = [{"filled": f"{share:g}", "fill_value": "-1"} for share in shares]
    (finding,) = filled_findings(manifest, facts)
    text = "2 images with values that are not finite, which became -1: "
    text += f"line 4: {100 * most:g} %, line 3: 10 %"
    text += "; 1 image more than 50 %" * (severity == "warning")
    assert finding == Finding("filled", severity, text)
    assert list(filled_findings(manifest, [{"filled": "0"}] * 3)) == []
    assert list(filled_findings(manifest, [{}] * 3)) == []
