"""The settings of each group: types, units and limits. YAML holds values, this file meaning.

The text below a setting is its description: help and error messages show it.
"""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from pipeline.config.plain import checked_name, known_aggregate, known_threshold
from pipeline.levels import Middle

Target = dict[str, Any]
"""A leaf we do not own: `_target_` and its arguments; "@num_classes" and the like are filled in."""

Name = Annotated[str, AfterValidator(checked_name)]
"""Becomes a folder or a file."""

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "pipe": "|"}
"""Characters that a shell or Hydra would take for its own, by name."""

SETTINGS = ConfigDict(
    extra="forbid", strict=False, validate_default=True, use_attribute_docstrings=True
)


def with_text_keys(value: object) -> object:
    """Names of classes are text, also where YAML reads a number."""
    return {str(k): v for k, v in value.items()} if isinstance(value, Mapping) else value


AcceptedRule = Literal[
    "slice_ids",
    "second_part",
    "one_image_per_patient",
    "placeholder",
    "key_spelling",
    "coarser_ids",
    "outside_image_root",
    "copies_with_two_labels",
    "unknown_format",
    "misnamed",
]
Scheme = Literal[
    "default",
    "zeros",
    "normal",
    "scaled_normal",
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "orthogonal",
]
SplitScheme = Literal[
    "kfold",
    "leave_one_out",
    "holdout",
    "temporal",
    "predefined",
]
"""Each is a module of pipeline/splits/schemes."""
ClassWeights = Literal["none", "inverse", "effective_number"]
Shares = Annotated[dict[str, Annotated[float, Field(gt=0)]], BeforeValidator(with_text_keys)]
"""A number for each class, by its name."""
Balance = Literal["none", "class", "patient", "class_patient"]
Aggregate = Annotated[str, AfterValidator(known_aggregate)]
PatientLabel = Literal["same", "worst", "majority", "none"]
ThresholdRule = Annotated[str, AfterValidator(known_threshold)]
Upload = Literal["all", "no_patients", "metrics"]
PreflightCheck = Literal["start", "overfit", "shuffled", "border"]
PartWord = Annotated[str, Field(coerce_numbers_to_str=True)]
"""Also a number, which somebody may write for a part."""


LEDGER = "ledger.jsonl"
"""Where it is written down which settings were tested on which plan."""
FORMER_METRICS = {
    f"val/{name}": f"val/image/{name}"
    for name in ("auroc", "average_precision", "balanced_accuracy")
}
"""What validation metrics of the image level were called before -> their names."""
FORMER_SCHEMES = {"kaiming_normal": "he_normal", "xavier_uniform": "glorot_uniform"}
"""What schemes of initialisation were called before -> their names."""


def named(names: Mapping[str, str]) -> BeforeValidator:
    """Also take the values that go by these names."""
    return BeforeValidator(lambda value: names.get(value, value) if type(value) is str else value)


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class ColumnsConfig:
    """Names of the manifest's columns; `null` means that there is no such column."""

    patient: str = "patient_id"
    """Patient id of each image; always text."""
    image: str | tuple[str, ...] = "image_path"
    """Path of each image, relative to manifest.image_root. A list, [t1,t2,flair]: the images of
    each sample, which become its channels."""
    label: str | tuple[str, ...] = "label"
    """Class of each image; of a multilabel task its labels, `edema|effusion`, or one column for
    each label, [edema,effusion], with 0 or 1."""
    site: str | None = None
    """Hospital or scanner of each image."""
    study: str | None = None
    """Rows that share a study stay together, whatever their patient ids say."""
    slide: str | None = None
    """Slide that an image is a patch of. Rows that share one stay together, as those of a study."""
    date: str | None = None
    """Day of the image, as YYYY-MM-DD (longer ISO times are cut); for split.scheme=temporal."""
    fold: str | None = None
    """Block 0 to k-1 of each patient (-1: only trained on), for split.scheme=predefined."""
    weight: str | None = None
    """What each image counts in the training loss, a number from 0; 2 counts twice as much as 1."""
    part: str | None = None
    """train, val or test of each patient, or what others call them, for split.scheme=predefined."""

    @property
    def images(self) -> tuple[str, ...]:
        """The columns of a sample's images."""
        return (self.image,) if isinstance(self.image, str) else self.image


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class ManifestConfig:
    """The table of images: where it lies, and what its columns and values mean."""

    name: Name
    """Short name of the data set; names folders and the MLflow experiment."""
    path: str
    """The CSV with one row per image."""
    image_root: str | None = None
    """Folder that image paths are relative to; default: the manifest's own folder."""
    separator: Annotated[str, Field(min_length=1, max_length=1), named(SEPARATORS)] = ","
    """One character, or its name: comma, semicolon, tab, pipe."""
    encoding: str = "utf-8"
    """Of the CSV; a byte order mark is allowed."""
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    """Names of the manifest's columns."""
    patient_pattern: str | None = None
    """Regular expression for a patient id with a second part, e.g. '(?P<patient>.+)_(left|right)';
    (?P<patient>...) is the patient. An id that does not match as a whole stays as it is."""
    task: Literal["binary", "multiclass", "multilabel"] = "binary"
    """binary: two classes; multiclass: more; multilabel: an image may have several, or none."""
    classes: tuple[str, ...] | None = None
    """Class names in order; binary: negative, then positive. Default: sorted labels."""
    ordered: bool = False
    """multiclass: manifest.classes are a scale, from its lowest grade to its highest; adds kappa,
    by which a decision two grades off counts four times one that is one grade off."""
    no_label: str = ""
    """multilabel: what a cell says of an image that has none of the labels; "": it is blank."""
    blank_label: Literal["error", "leave_out"] = "error"
    """A row without a label is an error, or is left out."""
    group_columns: tuple[str, ...] = ()
    """Further columns (family, source image, ...) whose equal values keep rows together."""
    largest_group: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Share of all patients that one leakage group may hold before the command stops."""
    accept: tuple[AcceptedRule, ...] = ()
    """Rules of the check whose finding was looked at and is right for this set: reported, but no
    error."""
    hint: str = ""
    """How to get the images, shown when they are missing."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class SplitConfig:
    """How patients are dealt to the train, val and test parts of the folds."""

    scheme: SplitScheme = "kfold"
    """k-fold | one patient (or site) per fold | one fold by shares | by date | folds given."""
    num_folds: Annotated[int, Field(ge=3)] = 5
    """kfold: how many; each needs a block to test, one to validate, and the rest to train."""
    repeats: Annotated[int, Field(ge=1, le=1000)] = 1
    """kfold: whole rotations, each dealt with another seed."""
    leave_out: str = "patient"
    """leave_one_out: what a fold tests, "patient" or a column of the manifest (site, scanner)."""
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """holdout: share of all patients to test."""
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of patients to validate. holdout: of all; leave_one_out, and temporal without val_from:
    of those not tested."""
    val_from: str | None = None
    """temporal: first day of the validation part, YYYY-MM-DD."""
    test_from: str | None = None
    """temporal: first day of the test part, YYYY-MM-DD."""
    assignments: str | None = None
    """predefined: a CSV with a patient or image column and a fold or part column (with both, one
    line per fold and patient), or nnU-Net's splits_final.json, whose val is tested; default:
    manifest.columns.fold or .part. A plan.csv belongs in split.file."""
    locked_fraction: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Share of all patients that is locked away first, beside any scheme, and is in no fold;
    `unlock` opens them, once."""
    stratify: tuple[str, ...] = ()
    """Further columns to balance (site, sex, age); several values in a cell are separated by |."""
    num_bins: Annotated[int, Field(ge=2)] = 4
    """Bins of equal counts that a numeric column of split.stratify is cut into."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the dealing of patients; training has a seed of its own."""
    file: str | None = None
    """A frozen plan (plan.csv) to use instead of dealing patients anew."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class PlanConfig:
    """What the command `plan` does."""

    action: Literal["make", "grow", "repair"] = "make"
    """make a plan | place new patients in that of split.file | repair a newly found link in it."""
    out: str | None = None
    """Where the plan is written; default: split.file, or plans/<manifest.name>.csv."""
    test_fold: str | None = None
    """Also write scikit-learn's PredefinedSplit test_fold, one row per image, to this CSV."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class AuditConfig:
    """What is looked for in the images and the split before training."""

    content: bool = True
    """Compare decoded pixels, so that copies of an image under two patients are found."""
    near: Literal["report", "merge", "error"] = "report"
    """Near copies of two patients: report them | keep the patients together | stop. In an audited
    split those of correlation 0.99 or more are an error on two sides, whatever this says."""
    part_column: str | None = None
    """Audit a split made elsewhere: a column that names each row's fold or part."""
    part_file: str | None = None
    """The same from a file: what split.assignments reads, or a plan.csv."""
    words: dict[PartWord, Literal["train", "val", "test"]] | None = None
    """What others call their parts, in any split made elsewhere (also split.scheme=predefined):
    'audit.words={Discovery: train, Validation: test}'. Case, blanks and punctuation do not count.
    """
    shortcuts: bool = True
    """Measure how well site, file metadata and image counts alone predict the label."""
    out_dir: str | None = None
    """Where check.json, check.html and copies.png go; default: runs/check/<manifest.name>."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class ImagesConfig:
    """How image files become arrays; done once for all folds."""

    spatial_dims: Literal[2, 3] = 2
    """2 for pictures, 3 for volumes."""
    num_channels: Annotated[int, Field(ge=1)] = 1
    """1: grey, 3: colour. Of each file, where a sample has several (manifest.columns.image)."""
    transforms: tuple[Target, ...] = ()
    """Deterministic MONAI transforms, run once per image; must give every image the same shape."""
    reader: Target | None = None
    """Reads files in no known format: a plugin's class, whose object is called with a path and
    gives pixels (C, H, W) or (C, D, H, W); with manifest.accept=[unknown_format]."""
    spacing: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    """Resample to pixels of this size in mm, before the transforms: along x, y, z of volumes that
    are turned to RAS (NIfTI, MetaImage, NRRD, DICOM series), along depth, height, width of others;
    one value stands for all axes; null: as stored."""
    unit: Literal["HU"] | None = None
    """HU: refuse images whose values cannot be Hounsfield units; null: any unit."""
    window: tuple[float, float] | None = None
    """Values, in the unit of the file, that become 0 and 1; what is beyond is cut. [-150,250]: the
    soft tissue of a CT."""
    percentiles: (
        tuple[Annotated[float, Field(ge=0, le=100)], Annotated[float, Field(ge=0, le=100)]] | None
    ) = None
    """The same for values without a unit (MR): percentiles of each image and channel."""
    size: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    """Pixels of each axis after the transforms; one value stands for all axes; null: any."""
    fit: Literal["stretch", "crop"] = "stretch"
    """How an image gets images.size: it is resampled, or padded with 0 and cropped around its
    centre, so that millimetres stay the same."""
    normalise: Literal["fold", "image", "none"] = "fold"
    """What networks get: mean 0 and SD 1 over a fold's train part, or of each image by itself
    (z-score), per channel; or the values as they are."""
    nonfinite: Literal["error", "fill"] = "error"
    """Values that are nan or infinite are an error, or become images.fill_value."""
    fill_value: float = 0.0
    """What values that are not finite become with images.nonfinite=fill."""
    dtype: Literal["auto", "uint8", "float16", "float32"] = "float32"
    """How the packed cache stores pixels; auto: uint8 for files of 8 bits whose contrast that keeps
    after the transforms, float32 for all others."""
    most_voxels: Annotated[int, Field(ge=1)] = 2**28
    """Values that one image may hold (pixels x channels); each takes some 10 bytes of memory while
    it is decoded. The default, 268 million, is 1,024 slices of 512 x 512."""
    cache_dir: str = ".cache/images"
    """Folder of the decoded images."""
    num_processes: Annotated[int, Field(ge=0)] = 0
    """Processes that decode images; 0: one per core."""
    preview: Annotated[int, Field(ge=0)] = 4
    """Images of each class on the sheet that `preflight` draws of what the model sees; 0: no
    sheet."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class AugmentConfig:
    """Random changes of training images, which are normalised (mean 0, SD 1), batched on device."""

    flip_axes: tuple[Annotated[int, Field(ge=0, le=2)], ...] = ()
    """Spatial axes (0 = first) that are flipped with probability 1/2."""
    rotate90: bool = False
    """Turns by 0, 90, 180 or 270 degrees in the plane of the last two axes."""
    rotate_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Largest rotation, in degrees."""
    zoom: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest change of scale: 0.1 draws factors from 0.9 to 1.1."""
    shift: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest shift along each axis, as a fraction of the image's size."""
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest change of the factor on intensities."""
    brightness: Annotated[float, Field(ge=0)] = 0.0
    """Largest offset, in SDs of the train part."""
    noise: Annotated[float, Field(ge=0)] = 0.0
    """SD of Gaussian noise, in SDs of the train part."""
    crop: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    """Pixels along each axis, or one number for all axes, of a part of the image at a random place:
    all that the network sees. What is evaluated is the part in the middle."""
    cutout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Side of a box at a random place that is set to the mean, as a fraction of the image's."""
    mixup: Annotated[float, Field(ge=0, le=10)] = 0.0
    """alpha: each image and its label are mixed with another one's, in shares from
    Beta(alpha, alpha). 0.2 is usual, 0 mixes nothing."""
    transforms: tuple[Target, ...] = ()
    """Random MONAI transforms, run per sample by loader workers (slower than the fields above)."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class FeaturesConfig:
    """What a baseline sees of an image; networks see its pixels."""

    kind: Literal["pixels", "intensity", "texture"] = "pixels"
    """Means of equal cells | histograms (of colour images jointly too) and moments | local binary
    patterns and gradients."""
    size: Annotated[int, Field(ge=1)] = 16
    """pixels: cells along each axis."""
    bins: Annotated[int, Field(ge=2)] = 32
    """intensity: of each channel's histogram, over the range of the train part."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class InitConfig:
    """How a network's weights begin."""

    scheme: Annotated[Scheme, named(FORMER_SCHEMES)] = "default"
    """default keeps what the network's own code draws; the others draw the weights of convolutions
    and linear layers anew, with biases 0. normal has SD 0.01, scaled_normal 1/sqrt(inputs)."""
    weights: str | None = None
    """A local file of weights to begin with: best.pt of a run, or a state_dict. All but the head
    must match. A run that has seen a patient of the test part is refused."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class LossConfig:
    """What training makes small."""

    function: Target
    """A loss of torch, MONAI, ours or a plugin that gives one value per image with
    reduction=none."""
    output: Literal["softmax", "sigmoid"] = "softmax"
    """How logits become probabilities: softmax over all classes; sigmoid of each class against the
    rest, scaled to sum to 1."""
    class_weights: ClassWeights | Shares = "none"
    """Weight of each class: inverse of its number in the train part; effective_number (Cui 2019);
    or your own, {benign: 1, malignant: 5}."""
    counted_in: Literal["images", "patients"] | None = None
    """What inverse and effective_number count; null: inverse images, effective_number patients."""
    logit_adjustment: Annotated[float, Field(ge=0)] = 0.0
    """So many times the logarithm of the drawn class shares is added to the logits in the loss
    (Menon 2021); 1 makes the balanced error small."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class SamplerConfig:
    """Which training images an epoch draws."""

    balance: Balance = "none"
    """What is drawn equally often in training."""
    allow_double_correction: bool = False
    """Allow a class-balanced sampler together with class weights."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class TrainingConfig:
    """How long and in which steps a fold trains."""

    epochs: Annotated[int, Field(ge=1)] = 20
    """Passes over the train part, at most."""
    batch_size: Annotated[int, Field(ge=1)] = 32
    """Images that pass through the network at once, over all devices of a fold together."""
    accumulate: Annotated[int, Field(ge=1)] | Literal["all"] = 1
    """Batches whose gradients make one optimizer step; all: the whole train part."""
    clip_norm: Annotated[float, Field(ge=0)] = 0.0
    """Largest norm of the gradient of a step, longer ones are shortened; 0: any."""
    decay: Literal["all", "weights"] = "all"
    """What the optimizer's weight_decay acts on: all parameters, or none of biases and norms."""
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Judge and keep the exponential moving average of the weights, with this decay, e.g. 0.99; 0:
    the weights themselves."""
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    """Epochs, or a part of one, in which the learning rate rises from next to nothing."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of weights, order and augmentation; the split has a seed of its own."""
    select_by: Annotated[
        Literal[
            "val/loss",
            "val/image/auroc",
            "val/image/average_precision",
            "val/image/balanced_accuracy",
            "val/image/kappa",
            "val/study/auroc",
            "val/study/average_precision",
            "val/study/balanced_accuracy",
            "val/study/kappa",
            "val/slide/auroc",
            "val/slide/average_precision",
            "val/slide/balanced_accuracy",
            "val/slide/kappa",
            "val/patient/auroc",
            "val/patient/average_precision",
            "val/patient/balanced_accuracy",
            "val/patient/kappa",
        ],
        named(FORMER_METRICS),
    ] = "val/image/auroc"
    """Validation metric that chooses the epoch (loss: smallest, others: largest); kappa: with
    manifest.ordered=true."""
    patience: Annotated[int, Field(ge=0)] = 0
    """Stop after this many epochs without a better one; 0: never."""
    preflight: bool = False
    """cv: make the checks of `patientfold preflight` before the first fold, and stop when one
    fails."""
    freeze: tuple[str, ...] = ()
    """Regular expressions; parameters whose names begin with a match of one are not trained, e.g.
    [features]. Parts that are frozen as a whole run as in evaluation."""
    precision: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """auto: bfloat16 on a GPU (float16 with loss scaling where it has none), float32 on the CPU."""
    channels_last: bool = True
    """Weights and images lie in memory channel by channel of each pixel: faster, on the CPU too
    (docs/performance.md), and results differ in the last digits (and in what dropout draws of
    feature maps). A network whose code cannot take that keeps the other order."""
    compile: bool = False
    """Train with the network compiled by torch.compile: minutes once per fold, then faster steps on
    a GPU. Predictions are made by the network as it is."""
    tf32: bool = True
    """On a GPU float32 matrices are multiplied as TF32: faster, with 10 instead of 23 bits."""
    cudnn_benchmark: bool = True
    """On a GPU the first batch of each size tries which convolution is fastest."""
    deterministic: bool = False
    """The same numbers in every run on a GPU too, as on the CPU: slower; a network that does what
    has no such form on a GPU is refused by torch."""

    @property
    def select_mode(self) -> Literal["min", "max"]:
        return "min" if self.select_by == "val/loss" else "max"


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class EvaluationConfig:
    """From predictions of images to decisions and patients."""

    aggregate: Aggregate = "mean"
    """How a patient's image probabilities become one: mean | max | mean of the three highest (top3,
    or any number) | 75th percentile (q75, or any) | majority: share of the images that vote for the
    class | noisy_or: 1 - product of (1 - p)."""
    patient_label: PatientLabel = "same"
    """Label of a patient: all images agree | the latest class | the most frequent | no patients."""
    middle: Middle | None = None
    """A level between images and patients, study or slide (manifest.columns.study, .slide): images
    make slides, slides make patients, by the rules above; null: images make patients."""
    middle_aggregate: Aggregate = "mean"
    """How the image probabilities of a slide (or study) become one, as evaluation.aggregate says of
    those of a patient's slides."""
    threshold: ThresholdRule = "youden"
    """Binary decisions, on the validation part: youden, the best balanced accuracy |
    sensitivity0.9, the highest threshold that finds 90 % | specificity0.9, the lowest that leaves
    90 % in peace | cost5, where a missed one costs 5 false alarms | fixed: 0.5."""
    calibration: Literal["none", "temperature", "temperature_bias"] = "none"
    """Probabilities of images made right on each fold's validation part, before thresholds are
    chosen: none | temperature: they become more or less sure, the ranking of images stays |
    temperature_bias: a bias of each class besides, so that their shares are those of validation.
    Of several labels, for each by itself."""
    prior: Literal["none", "train"] | Shares = "none"
    """Class shares that reported probabilities are corrected to, where sampler, weights or loss
    trained under others: none: not corrected; train: of the train part's images; or those of where
    the network will be used, {healthy: 0.98, sick: 0.02}."""
    subgroups: tuple[str, ...] | None = None
    """Columns of the manifest by whose values the results are shown apart, e.g. [sex,scanner]; []:
    none; null: site, sex and age, where the manifest has them."""

    metrics: dict[str, str] | None = None
    """Metrics of your own: a name and a function of a plugin, {f2: my_lab.f2}. It is called with
    labels, predicted and probabilities. No epoch is chosen by it (training.select_by)."""
    lower_is_better: tuple[str, ...] = ()
    """Names of evaluation.metrics that are better when smaller."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class TrackingConfig:
    """Where MLflow keeps the runs."""

    uri: str = "sqlite:///mlflow.db"
    """A file (sqlite:///PATH.db), a database (postgresql://user@host/name) or a server
    (http://host:port)."""
    timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """How long the end of a run waits for the tracking server, in seconds."""
    upload: Upload = "all"
    """all: with plan, predictions and checkpoints | no_patients: no file or error text that may
    name a patient | metrics: numbers and settings, no file."""
    ledger: str | None = LEDGER
    """The file that counts the settings tested on each plan; it outlives run folders; null: none.
    """


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class PrivacyConfig:
    """Who is named in what is written."""

    pseudonyms: bool = False
    """Plans, predictions, pages and MLflow name patients, images and studies by keyed pseudonyms;
    only the CSV, the images and what the console says of the CSV have their names."""
    key_file: str = "patientfold.key"
    """The key of the pseudonyms, made on first use. With it they can be traced to patients: it
    belongs in no repository."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class EngineConfig:
    """On what the folds train."""

    kind: Literal["local", "ray"] = "local"
    """local: on this machine. ray: on the nodes of a Ray cluster, of which this machine is one."""
    address: Annotated[str, Field(pattern=r"^(auto|local|[^/\s]+:\d+)$")] = "auto"
    """Of Ray: auto, the cluster that runs on this machine; host:port of its head; local: a cluster
    of this machine alone, started for this command."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: the GPUs if there are any, else the CPU."""
    folds_at_once: Annotated[int, Field(ge=0)] = 0
    """Folds that train side by side; 0: one per GPU, or one per core on the CPU, or fewer where
    each has several (engine.devices_per_fold)."""
    devices_per_fold: Annotated[int, Field(ge=1)] = 1
    """GPUs (or CPU processes) that train a fold together, each on its share of every batch: for one
    large network. With more folds than GPUs, one each is faster."""
    threads_per_fold: Annotated[int, Field(ge=1)] = 1
    """CPU threads of a fold, of each of its devices; results can differ in the last digit with
    another number."""
    prune_after: Annotated[int, Field(ge=0)] = 0
    """In a sweep: when so many folds are done, a job stops whose mean of training.select_by over
    them is worse than the median of the jobs before, of which there must be three; 0: never."""
    loader_workers: Annotated[int, Field(ge=0)] = 1
    """Processes per fold that run random MONAI transforms."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class PreflightConfig:
    """The checks before a long training."""

    accept: tuple[PreflightCheck, ...] = ()
    """Checks whose failure was looked at and is right for this set: reported, but no error."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class LrFindConfig:
    """The range test of `lr-find`: the learning rate rises, the loss is watched."""

    lowest: Annotated[float, Field(gt=0)] = 1e-6
    """Learning rate of the first step."""
    highest: Annotated[float, Field(gt=0)] = 1.0
    """Learning rate of the last step, if the loss did not run away before."""
    steps: Annotated[int, Field(ge=5)] = 100
    """Steps of the optimizer from the lowest to the highest rate."""
