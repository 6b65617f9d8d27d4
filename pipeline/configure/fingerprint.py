"""What the rules know: the cohort, the pixels and the machine, seen once."""

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.configure.cohort import Cohort
from pipeline.configure.machine import Machine
from pipeline.configure.pixels import Pixels
from pipeline.words import counted, one_line

FEW_PATIENTS, FEW_OF_A_CLASS = 50, 25
"""With fewer, intervals are wide, and a warning says so."""


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """As nnU-Net (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z) calls it, for
    classification.
    """

    cohort: Cohort
    pixels: Pixels
    machine: Machine

    def describe(self) -> Iterator[str]:
        """What was seen, line by line."""
        cohort, pixels = self.cohort, self.pixels
        classes = ", ".join(
            f"{one_line(name)} {images:,} of {counted(patients, 'patient')}"
            for name, images, patients in zip(
                cohort.classes, cohort.images_per_class, cohort.independent_per_class, strict=True
            )
        )
        images = counted(cohort.num_images, "image")
        yield f"{images} of {counted(cohort.num_patients, 'patient')}: {classes}"
        if pixels.num_read < pixels.num_files:
            yield f"{pixels.num_read:,} of {counted(pixels.num_files, 'file')} were read"
        else:
            yield f"all {pixels.num_files:,} files were read"
        kind = "volumes" if pixels.spatial_dims == 3 else "pictures"
        stored = f"stored in {counted(pixels.num_channels, 'channel')}"
        grey = "grey" if pixels.num_channels == 1 else f"no colour, {stored}"
        colour = "in colour" if pixels.is_colour else grey
        if pixels.has_unlike_files:
            colour = "files of a sample with different numbers of channels"
        modality = f", modality {one_line(pixels.modality)}" if pixels.modality else ""
        yield (
            f"{'/'.join(pixels.formats)}{modality}: {kind}, {colour}, {pixels.bit_depth} bits, "
            f"values from {pixels.lowest:g} to {pixels.highest:g}"
        )
        shape = " x ".join(map(str, pixels.median_shape))
        shapes = f"{shape} in all" if pixels.num_shapes == 1 else f"{shape}, the median of "
        shapes += f"{pixels.num_shapes} shapes" * (pixels.num_shapes > 1)
        spacing = "size in mm unknown"
        if pixels.spacing is not None:
            spacing = " x ".join(f"{size:g}" for size in pixels.spacing) + " mm"
            spacing += ", varying" * pixels.spacing_varies
        yield f"pixels: {shapes}; {spacing}"
        yield f"the mean picture explains {pixels.likeness.shared:.0%} of the images"
        yield f"this machine: {self.machine.describe()}"

    def warnings(self) -> Iterator[str]:
        """What a person should look at before the results are believed."""
        cohort, pixels = self.cohort, self.pixels
        rarest, number = cohort.classes[cohort.rarest], min(cohort.independent_per_class)
        if cohort.num_sites > 1 and cohort.num_one_class_sites == cohort.num_sites:
            yield (
                f"each of the {cohort.num_sites} sites has one label only: a network can tell the "
                "sites apart instead of the disease, and no split shows it; get both labels from "
                "each site"
            )
        elif cohort.num_one_class_sites:
            yield (
                f"{cohort.num_one_class_sites} of {cohort.num_sites} sites have one label only; "
                "look at the results within sites"
            )
        if cohort.num_independent < FEW_PATIENTS:
            yield (
                f"{counted(cohort.num_independent, 'independent patient')}: the intervals will be "
                "wide"
            )
        if number < FEW_OF_A_CLASS:
            patients = counted(number, "patient")
            yield f"class {rarest!r} has {patients}: its metrics will be imprecise"
        if cohort.num_unlabelled:
            yield f"{counted(cohort.num_unlabelled, 'row')} without a label: left out"
        if cohort.num_mixed and not cohort.is_multilabel:
            yield (
                f"{cohort.num_mixed} of {counted(cohort.num_patients, 'patient')} have images of "
                "several labels: see evaluation.patient_label"
            )
        if pixels.modality == "CT" and pixels.bit_depth > 8 and pixels.no_hounsfield:
            yield f"modality CT, but no preset of CT fits: the median image {pixels.no_hounsfield}"
