"""From the image file to what the model sees."""

from pipeline.report.paper.facts import Facts
from pipeline.report.paper.markdown import escaped, joined, leaf, number, span

KNOWN = (
    *("spatial_dims", "num_channels", "transforms", "reader", "spacing", "unit", "window"),
    *("percentiles", "size", "fit", "normalise", "nonfinite", "fill_value", "dtype"),
    *("most_voxels", "cache_dir", "num_processes", "preview"),
)


def steps(facts: Facts) -> str:
    """The deterministic steps, in the order in which they are made."""
    get = facts.get
    channels = get("images.num_channels")
    kind = "volumes" if get("images.spatial_dims") == 3 else "two-dimensional images"
    read = f"Images were read as {kind} with {channels} channel{'s' * (channels != 1)}"
    read += f" by {leaf(get('images.reader'))}" if get("images.reader") else ""
    done = []
    if spacing := get("images.spacing"):
        done.append(f"resampled to {' x '.join(f'{mm:g}' for mm in spacing)} mm")
    if window := get("images.window"):
        unit = f" {get('images.unit')}" if get("images.unit") else ""
        done.append(f"windowed from {window[0]:g} to {window[1]:g}{unit}")
    if cut := get("images.percentiles"):
        done.append(f"scaled between the percentiles {cut[0]:g} and {cut[1]:g} of each image")
    done += [f"transformed by {leaf(target)}" for target in get("images.transforms") or ()]
    if size := get("images.size"):
        how = "padded and cropped" if get("images.fit") == "crop" else "resampled"
        done.append(f"{how} to {' x '.join(map(str, size))} pixels")
    then = f", and {joined(done)}" if done else ", without further steps"
    return f"{read}{then}.{_stored(facts)}{facts.others('images', KNOWN)}"


def _stored(facts: Facts) -> str:
    stored = facts.environment["identity"].get("images.dtype")
    text = f" Pixels were stored as {stored}." if stored and stored != "auto" else ""
    if (nonfinite := facts.get("images.nonfinite")) == "fill":
        text += f" Values that were nan or infinite became {facts.get('images.fill_value'):g}."
    elif nonfinite == "error":
        text += " An image with a value that is nan or infinite would have stopped the run."
    return text


def normalisation(facts: Facts) -> str:
    """Where mean and SD come from; values over folds."""
    how = facts.get("images.normalise")
    if how == "image":
        return "Each image was scaled to mean 0 and SD 1 by itself, per channel."
    if facts.is_baseline:
        return (
            f"Features ({features(facts)}) were scaled to mean 0 and SD 1, as estimated on the "
            "training part of each fold alone."
        )
    fitted = [result["normalisation"] for result in facts.results if result.get("normalisation")]
    if how == "none" or not fitted:
        return "Intensities were not normalised further."
    channels = range(len(fitted[0]["mean"]))
    means = [span([of["mean"][c] for of in fitted], number) for c in channels]
    deviations = [span([of["std"][c] for of in fitted], number) for c in channels]
    return (
        "Intensities were scaled to mean 0 and SD 1 per channel, as estimated on the training part "
        f"of each fold alone (mean {joined(means)}, SD {joined(deviations)})."
    )


def features(facts: Facts) -> str:
    """What a baseline sees of an image."""
    kind = facts.get("features.kind")
    if kind == "pixels":
        size = facts.get("features.size")
        return f"mean values in a grid of {size} cells along each axis"
    if kind == "intensity":
        bins = facts.get("features.bins")
        return f"intensity histograms of {bins} bins, and moments of the intensities"
    if kind == "texture":
        return "local binary patterns and gradients"
    return "TODO(author): which" if kind is None else escaped(str(kind))


def missing(facts: Facts) -> str | None:
    """What was done about rows without a label and images that cannot be read."""
    rule, flow = facts.get("manifest.blank_label"), facts.run.flow
    if rule is None:
        return None
    rows = f"{facts.record.dataset.num_rows:,}"
    if rule != "leave_out":
        return (
            "A row without a label, or an image that cannot be read, would have stopped the run; "
            f"each of the {rows} rows has a label and a readable image."
        )
    lacking = "rows without a label were left out"
    for reason in [] if flow is None else flow["left_out"]:
        if reason["reason"] == "no label":
            lacking = f"{reason['rows']:,} {lacking}"
    return (
        f"{lacking[0].upper()}{lacking[1:]}; an image that cannot be read would have stopped the "
        f"run, so that each of the other {rows} rows has a label and a readable image."
    )
