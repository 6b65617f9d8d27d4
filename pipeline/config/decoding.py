"""What cannot be asked of the decoding of images."""

from collections.abc import Iterator

from pipeline.config.sections import ImagesConfig

WHOLE_IN_FLOAT16 = 2048
"""Steps from 0 to 1 of which float16 keeps each: from 1/2 on they are 1/2048 apart."""


def image_problems(images: ImagesConfig) -> Iterator[str]:
    """Sizes, windows and types that do not go together."""
    dims = images.spatial_dims
    for name in ("spacing", "size"):
        values = getattr(images, name)
        if values is not None and len(values) not in (1, dims):
            yield (
                f"images.{name}: {dims}D images need {dims} values, or one for all axes, "
                f"got {list(values)}"
            )
    for i, leaf in enumerate(images.transforms):
        for name in ("spatial_size", "roi_size"):
            values = leaf.get(name)
            if isinstance(values, list | tuple) and len(values) not in (1, dims):
                volumes = "images=mr or images=mri2mm, or " if dims == 3 else ""
                yield (
                    f"images.transforms.{i}.{name}: {dims}D images need {dims} values, got "
                    f"{list(values)}; set {volumes}images.transforms=[] with images.size"
                )
    for name in ("window", "percentiles"):
        values = getattr(images, name)
        if values is not None and values[0] >= values[1]:
            yield f"images.{name}: the first value must be less than the second, got {list(values)}"
    if images.window is not None and images.percentiles is not None:
        yield "images.window and images.percentiles: set one of them to null"
    if images.window is not None and images.dtype == "float16":
        width = images.window[1] - images.window[0]
        if width > WHOLE_IN_FLOAT16:
            yield (
                f"images.dtype=float16 tells {WHOLE_IN_FLOAT16:,} steps of images.window apart, "
                f"which is {width:,.6g} wide; set images.dtype=float32"
            )
