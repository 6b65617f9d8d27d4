"""With what the run was made, and how it can be made again."""

from pipeline.report.paper.facts import Facts
from pipeline.report.paper.markdown import escaped, joined, span
from pipeline.words import counted


def software(facts: Facts) -> str:
    """Python, packages, platform and the commit of the code."""
    found = facts.environment
    packages = [f"{escaped(name)} {escaped(str(v))}" for name, v in found["packages"].items()]
    plugins = [
        f"{escaped(name)} (SHA-256 {str(of.get('sha256', ''))[:12]})"
        for name, of in found.get("plugins", {}).items()
    ]
    own = f" Code of our own: {joined(plugins)}." if plugins else ""
    return (
        f"Python {escaped(str(found['python']))} on {escaped(str(found['platform']))}, with "
        f"{joined(packages)}. {commit(facts)}{own}"
    )


def commit(facts: Facts) -> str:
    if found := facts.environment.get("git_commit"):
        return f"Git commit of patientfold: {escaped(str(found))[:12]}."
    return "patientfold was installed as a package, whose version is given."


def hardware(facts: Facts) -> str:
    """Device, cores and time."""
    devices = sorted({escaped(str(result.get("device", "cpu"))) for result in facts.results})
    cores = facts.environment.get("num_cores")
    text = f"Folds were trained on {joined(devices)}".replace(" cpu", " the CPU")
    text += f" of a machine with {counted(cores, 'core')}" if cores else ""
    seconds = [result["seconds"] for result in facts.results if "seconds" in result]
    text += f", in {span(seconds, _minutes)} each." if seconds else "."
    if any(device.startswith("cuda") for device in devices):
        text += " TODO(author): the model of the GPU."
    return text


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def seeds(facts: Facts) -> str:
    """What makes the run repeatable."""
    return (
        f"Seeds: {facts.plan.seed} for the dealing of patients, {facts.get('training.seed')} for "
        f"training. Key of settings, images and plan together: {facts.environment['key'][:12]}."
    )
