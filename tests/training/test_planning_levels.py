"""A level between images and patients is looked at before anything is trained."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from pipeline.commands.door import load_config
from pipeline.config import ManifestConfig
from pipeline.manifest import ManifestError, read_manifest
from pipeline.training.planning import Planned, make_plan

Cohorts = Callable[..., ManifestConfig]


def planned(config: ManifestConfig, slides: list[str], *overrides: str) -> Planned:
    """12 patients of two images each with these slides, at `evaluation.middle=slide`."""
    pd.read_csv(config.path, dtype=str).assign(slide=slides).to_csv(config.path, index=False)
    level = ("manifest.columns.slide=slide", "evaluation.middle=slide", "split.num_folds=3")
    settings = load_config([f"manifest.path={config.path}", *level, *overrides])
    return make_plan(settings, read_manifest(settings.manifest))


@pytest.fixture
def cohort(make_cohort: Cohorts) -> ManifestConfig:
    return make_cohort({f"P{i:02d}": [("no", "yes")[i % 2]] * 2 for i in range(12)})


def test_every_image_needs_a_slide_of_one_patient(cohort: ManifestConfig) -> None:
    slides = [f"S{i // 2}" for i in range(24)]
    slides[0], slides[2] = " ", "S2"
    with pytest.raises(ManifestError) as caught:
        planned(cohort, slides)
    first, *others = str(caught.value).splitlines()
    assert first == f"manifest {Path(cohort.path)}: 2 problems"
    assert [line.split(";")[0] for line in others] == [
        "  line 2: the slide is blank",
        "  line 6: slide 'S2' is of 2 patients: 'P01' (line 4), 'P02' (line 6)",
    ]


def test_a_level_that_repeats_another_is_a_warning(cohort: ManifestConfig) -> None:
    (warning,) = planned(cohort, [f"S{i}" for i in range(24)]).warnings
    assert "the slide level repeats the image level" in warning
    some = [f"S{i // 2}" if i < 12 else f"S{i}" for i in range(24)]
    assert planned(cohort, some).warnings == ()
