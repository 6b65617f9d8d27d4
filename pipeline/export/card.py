"""card.md: what a model is for, how good it was on whom, and where nobody has tried it.

From the run folder alone, in the words of report.md, which names no patient and no image.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.engine.finished import Finished
from pipeline.export.run_onnx import unsupported
from pipeline.report.paper import outcomes, partitions, patients, preprocessing, recipe
from pipeline.report.paper.facts import Facts
from pipeline.report.paper.limitations import limitations
from pipeline.report.paper.markdown import escaped, joined, text_table
from pipeline.words import counted

INTENDED = (
    "Research, on images like those it was trained on, by people who have read this card. It is no "
    "medical device, and no decision about a patient may rest on it alone. TODO(author): who may "
    "use it, for which question, at which point of care, and who is responsible."
)
OF_FOLDS = (
    "These values are of single networks, each on patients that it had never seen. The ensemble, "
    "which is the mean of all of them, cannot be tested on these patients: most of its networks "
    "have trained on any of them. The values are what to expect of it; only other patients can "
    "show how good it is."
)
OF_FINAL = (
    "**Untested.** This one network was trained on everybody, so that nobody is left to test it. "
    "These values are of the cross-validation, whose networks saw fewer patients each: they are "
    "what to expect of it, and no measurement of it."
)
Contents = Mapping[str, Any]


def card(run: Finished, contents: Contents) -> str:
    """The whole card; `contents` is what bundle.json says."""
    facts = Facts(run)
    name = escaped(str(facts.get("manifest.name")))
    blocks = [
        f"# Model card: {name}, {escaped(run.name)}",
        text_table(["", ""], [*_identity(contents)]),
        "## Intended use",
        INTENDED,
        "## What it takes and gives",
        *_use(facts, contents),
        "## Data",
        *(text for part in (partitions.data, partitions.used) if (text := part(facts))),
        *(text for text in [patients.characteristics(facts)] if text),
        "## How good it was",
        OF_FINAL if contents["network"] == "final" else OF_FOLDS,
        *_locked(run, contents),
        outcomes.headline(facts),
        outcomes.overall(facts, facts.level),
        "## Subgroups",
        patients.subgroups(facts) or "No column of the manifest grouped patients.",
        "## Limits",
        _listed(limitations(facts)),
        "## Never tried",
        _listed([*_untested(facts, contents)]),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _identity(contents: Contents) -> Iterator[list[str]]:
    members = [f"fold {of['fold']}" for of in contents["members"]]
    what = "one network, trained on everybody"
    if contents["network"] == "folds":
        what = f"the mean of {counted(len(members), 'network')}, one of each fold"
    yield ["network", what]
    yield ["made by", escaped(contents["made_by"])]
    yield ["cross-validation", f"`{contents['key'][:12]}`"]
    yield ["plan", f"`{contents['plan_hash'][:12]}`"]


def _use(facts: Facts, contents: Contents) -> Iterator[str]:
    """From the file to the answer."""
    yield preprocessing.steps(facts)
    yield f"{recipe.model(facts)} {escaped(contents['decision'])}"
    shape = " x ".join(map(str, contents["input"]["shape"]))
    yield f"The prepared image has {shape} values (channels first) of {contents['input']['dtype']}."
    if missing := unsupported(contents):
        yield (
            f"`run_onnx.py` cannot prepare images by itself ({escaped('; '.join(missing))}): "
            "patientfold does."
        )


def _locked(run: Finished, contents: Contents) -> Iterator[str]:
    """The one test of the folds' ensemble that a run folder may hold."""
    if run.locked is not None and contents["network"] == "folds":
        yield outcomes.locked(run.locked)


def _untested(facts: Facts, contents: Contents) -> Iterator[str]:
    """Uses that the cross-validation says nothing about, as far as settings show."""
    name, site = escaped(str(facts.get("manifest.name"))), facts.get("manifest.columns.site")
    kind = "volumes" if facts.get("images.spatial_dims") == 3 else "flat images"
    names = joined([escaped(str(name)) for name in facts.classes])
    if site and facts.plan.made_by.name == "leave_one_out" and facts.get("split.leave_out") == site:
        yield "Hospitals and devices of another kind than those that were left out in turn."
    else:
        yield f"Patients of other hospitals, devices or years than those of {name}."
    yield f"Patients with none of {names}: the model knows nothing else, and still gives an answer."
    yield f"Images that are no {kind} as described above, or that were prepared in another way."
    yield "Images of one patient over time, and what its use changes for decisions and patients."
    if not patients.grouping_columns(facts):
        yield "Groups of patients, by sex, age or site: no column says who belongs to them."
    if contents["network"] == "final":
        yield "This very network, on anybody."


def _listed(texts: list[str]) -> str:
    return "\n".join(f"- {text}" for text in texts)
