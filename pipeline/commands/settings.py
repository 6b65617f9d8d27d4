"""The few settings of the commands that compose no experiment."""

from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic.dataclasses import dataclass

from pipeline.config import Config, ConfigError, Upload
from pipeline.config.making import MakeManifestConfig
from pipeline.config.sections import SETTINGS, Name
from pipeline.export.formats import known_format
from pipeline.levels import Level

Listed = Annotated[
    tuple[str, ...],
    BeforeValidator(
        lambda text: (
            tuple(part.strip() for part in text.strip("[] ").split(",") if part.strip())
            if isinstance(text, str)
            else text
        )
    ),
]
"""[a,b] on the command line."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class OtherServer:
    upload: Upload | None = None
    """all, no_patients or metrics; default: what the run was made with."""
    uri: str | None = None
    """The tracking server; needed when the run folder names another than the settings here do."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class SyncSettings:
    run_dir: str
    """The run folder, e.g. runs/demo/<key>."""
    tracking: OtherServer = field(default_factory=OtherServer)


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class OwnManifest:
    path: str | None = None
    """Your CSV, whose columns are looked at; without it every setting stays a comment."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class InitSettings:
    manifest: OwnManifest = field(default_factory=OwnManifest)


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class ForgetSettings:
    patient: str
    """The patient's id, as the CSV writes it."""
    yes: bool = False
    """Delete; by default it is only listed what would be."""
    folder: str = "."
    """The study folder: every file of text in it is looked into."""
    cache_dir: str = ".cache/images"
    """Folder of the decoded images (images.cache_dir)."""
    key_file: str = "patientfold.key"
    """The key of the pseudonyms, if there is one (privacy.key_file)."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class CompareSettings:
    runs: Listed
    """Two or more run folders of the same plan, [runs/a/KEY,runs/b/KEY]; the first is what the
    others are compared with."""
    metric: str = "auroc"
    """Any of metrics.json, e.g. balanced_accuracy, brier or auroc_virus."""
    level: Level | None = None
    """patient, study, slide or image; default: patient where the runs have that level."""
    plugins: Listed = ()
    """Packages or files of yours, for a metric of your own. Their code runs."""
    out: str = "comparisons"
    """Folder in which a folder of this comparison is made."""
    tracking: OtherServer = field(default_factory=OtherServer)


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class SelectSettings:
    sweep: Listed
    """Run folders of one plan, [runs/a/KEY,runs/a/KEY2], or a folder that holds them, runs/demo."""
    level: Level | None = None
    """At which level the result is told; default: patient where the runs have that level."""
    plugins: Listed = ()
    """Packages or files of yours, for metrics of your own. Their code runs."""
    out: str = "comparisons"
    """Folder in which a folder of this selection is made."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class ReportSettings:
    run_dir: str
    """The run folder, e.g. runs/demo/<key>."""
    plugins: Listed = ()
    """To put folds together that several commands trained: your own packages that the run's
    settings may name; their code runs."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class UnlockSettings:
    run_dir: str
    """The run folder of the setting that was chosen, e.g. runs/demo/KEY; all its folds are done."""
    again: bool = False
    """Open them for another run although they were opened before; it is recorded."""
    ledger: str | None = None
    """Where openings are recorded (tracking.ledger); default: ledger.jsonl."""
    plugins: Listed = ()
    """Your own packages that the run's settings may name; their code runs."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class OtherEngine:
    kind: Literal["local", "ray"] | None = None
    """local or ray; default: as the run's folds were trained."""
    device: Literal["auto", "cpu", "cuda"] | None = None
    """auto, cpu or cuda; default: as the run's folds were trained."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class ServerOfRun:
    uri: str | None = None
    """The tracking server; needed when the run folder names another than the settings here do."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class FinalSettings:
    run_dir: str
    """The run folder of the setting that was chosen, e.g. runs/demo/KEY; all its folds are done."""
    engine: OtherEngine = field(default_factory=OtherEngine)
    plugins: Listed = ()
    """Your own packages that the run's settings may name; their code runs."""
    tracking: ServerOfRun = field(default_factory=ServerOfRun)


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class ExplainSettings:
    run_dir: str
    """The run folder of a finished cross-validation, e.g. runs/demo/<key>."""
    images: Listed = ()
    """Images to explain, as predictions.csv names them, [a.png,b.png]; default: those of the worst
    mistakes."""
    layer: str | None = None
    """The layer whose map is shown; default: the last convolution that keeps places, with its
    activation."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class ExportSettings:
    run_dir: str
    """The run folder of a finished cross-validation, e.g. runs/demo/<key>."""
    to: Annotated[str, AfterValidator(known_format)]
    """folder: for patientfold itself | onnx: one graph for onnxruntime | torch_export: one .pt2
    for torch alone | mlflow: to be served, with the reading of image files inside."""
    network: Literal["folds", "final"] = "folds"
    """folds: the ensemble of the folds' networks | final: the one that `patientfold final` has
    trained on everybody."""
    out: str | None = None
    """The folder of the bundle, which must not be there, but for a model to register whose
    registration failed; by default exports/<name>/<key>-<network>-<to>."""
    plugins: Listed = ()
    """Your own packages that the run's settings may name; their code runs, and goes along."""
    register: Name | None = None
    """Register the bundle (to=mlflow) in MLflow's model registry, as a version of this name."""
    champion: bool = False
    """Give the version the alias `champion`, unless there is one that it is not better than."""
    replace: bool = False
    """Give it the alias even so; it is recorded."""
    metric: str = "auroc"
    """By which champions are compared, as in `compare`."""
    tracking: OtherServer = field(default_factory=OtherServer)

    def __post_init__(self) -> None:
        problems = []
        if self.register and self.to != "mlflow":
            problems.append(f"register={self.register} needs to=mlflow, got to={self.to}")
        if self.champion and not self.register:
            problems.append("champion=true needs a name in the registry: register=NAME")
        if self.replace and not self.champion:
            problems.append("replace=true needs champion=true")
        if problems:
            raise ConfigError(problems)


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class PredictSettings:
    run_dir: str
    """The run folder of a finished cross-validation, e.g. runs/demo/KEY."""
    manifest: str | dict[str, Any] | None = None
    """New images: manifest=new for conf/manifest/new.yaml, or manifest.path=new.csv, with settings
    as manifest.image_root=folder where they are not those of the run. Labels are not needed."""
    images: str | None = None
    """Files instead, 'folder/*.nii.gz', or a folder that holds one DICOM series; nobody knows their
    patients."""
    network: Literal["folds", "final"] = "folds"
    """folds: the mean of the networks of all folds; final: the network that `final` trained on
    everybody, and that was tested on nobody."""
    use_labels: bool = True
    """false: as if the manifest had no labels."""
    unusable: Literal["error", "leave_out"] = "error"
    """What an image is that cannot be used: an error once the others are predicted, or left out and
    listed in unusable.csv."""
    out: str | None = None
    """The folder to write; default: one in predictions/ that belongs to this run and these images.
    """
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: the GPUs if there are any, else the CPU."""
    processes: Annotated[int, Field(ge=0)] = 0
    """Processes that predict, each with all networks in its memory; 0: one per GPU, or one per core
    on the CPU, 8 at most."""
    decoders: Annotated[int, Field(ge=0)] = 0
    """Processes that decode; 0: one per core."""
    plugins: Listed = ()
    """Your own packages that the run's settings may name; their code runs."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Asked:
    uri: str | None = None
    """A tracking server that may be asked which models are registered, beside that of the settings
    here."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class RunsSettings:
    folder: str = "runs"
    """Where run folders are looked for, at any depth."""
    sort: Literal["name", "touched", "size"] = "name"
    """name: runs of one experiment and plan together; touched: the last written first."""
    json: bool = False
    """For programs: JSON instead of a table."""
    diff: Listed = ()
    """Two run folders, [A,B]; as words: runs diff A B."""
    prune: bool = False
    """Remove what can be made again; as a word: runs prune."""
    days: Annotated[int, Field(ge=1)] = 30
    """To prune: caches that were not opened for so many days."""
    yes: bool = False
    """To prune: remove without asking; where nobody can be asked, nothing is removed without it."""
    cache_dir: str = ".cache/images"
    """Folder of the decoded images (images.cache_dir)."""
    exports: str = "exports"
    """Folder of exported bundles, whose runs keep their checkpoints."""
    tracking: Asked = field(default_factory=Asked)


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class NoSettings:
    """A command without settings."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class CanarySettings:
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the images, the labels, the split and the training."""


SCHEMAS: dict[str, type] = {
    "cv": Config,
    "make_manifest": MakeManifestConfig,
    "canary": CanarySettings,
    "compare": CompareSettings,
    "demo": NoSettings,
    "explain": ExplainSettings,
    "export": ExportSettings,
    "final": FinalSettings,
    "forget": ForgetSettings,
    "init": InitSettings,
    "predict": PredictSettings,
    "report": ReportSettings,
    "runs": RunsSettings,
    "select": SelectSettings,
    "sync": SyncSettings,
    "unlock": UnlockSettings,
}
"""Of a YAML at the top of conf/, or of a command that composes none."""
