"""The door: what a config may hold, and what is said when it does not."""

import functools
import re
from dataclasses import MISSING, FrozenInstanceError, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf

from pipeline.commands import door
from pipeline.commands.door import CONF_DIR, load_config
from pipeline.config import (
    PACKAGES,
    Config,
    ConfigError,
    SplitConfig,
    TrainingConfig,
    defaults,
    distinctive,
    fingerprint,
    flat,
    identity,
    to_config,
    written,
)
from pipeline.config.door import description, suggestion
from pipeline.config.environment import environment_texts
from pipeline.config.making import MakeManifestConfig

OPTIONS = [
    (path.parent.relative_to(CONF_DIR).as_posix(), path.stem)
    for path in sorted(CONF_DIR.rglob("*.yaml"))
    if path.parent != CONF_DIR
]


@pytest.fixture(autouse=True)
def data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATIENTFOLD_DATA", "/data")


def composed(*overrides: str) -> DictConfig:
    """With the demo's manifest, unless another one is named."""
    is_named = any(text.startswith(("manifest=", "experiment=")) for text in overrides)
    return door.composed([*([] if is_named else ["manifest=demo"]), *overrides])


def config_of(*overrides: str) -> Config:
    return to_config(composed(*overrides))


@functools.cache
def default_config() -> Config:
    return config_of()


def refused(*overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config_of(*overrides)
    problems = caught.value.problems
    assert str(caught.value).splitlines() == [
        "The settings have problems:",
        *(f"  {line}" for problem in problems for line in problem.split("\n")),
    ]
    return problems


# --- what ships is right


def test_every_group_of_the_design_has_options() -> None:
    assert {group for group, _ in OPTIONS} == {
        "manifest",
        "split",
        "images",
        "augment",
        "model",
        "features",
        "init",
        "loss",
        "sampler",
        "optimizer",
        "scheduler",
        "training",
        "evaluation",
        "tracking",
        "engine",
        "experiment",
    }


NEEDS = {
    "default": ["manifest.path=default.csv"],
    "temporal": ["manifest.columns.date=day", "split.test_from=2024-01-01"],
    "predefined": ["manifest.columns.part=part"],
}
"""What only the user can know."""


@pytest.mark.slow
@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_that_ships_is_valid(group: str, option: str) -> None:
    config = config_of(f"{group}={option}", *NEEDS.get(option, []))
    assert isinstance(config, Config)
    if group in ("manifest", "experiment"):
        assert config.name == option


def test_the_yaml_at_the_top_is_one_defaults_list_a_schema() -> None:
    assert {path.name for path in CONF_DIR.glob("*.yaml")} == {"cv.yaml", "make_manifest.yaml"}


@pytest.mark.parametrize("experiment", ["idc", "kermany", "hippocampus3d"])
def test_experiments_find_their_data_by_the_environment(experiment: str) -> None:
    path = config_of(f"experiment={experiment}").manifest.path
    assert path.startswith("/data/")
    assert Path(path).name == "manifest.csv"


def test_without_the_variable_the_error_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PATIENTFOLD_DATA")
    (problem,) = refused("manifest=idc")
    assert problem.startswith("manifest.path: ")
    assert "PATIENTFOLD_DATA" in problem
    assert problem.endswith("set it, e.g. PATIENTFOLD_DATA=/folder/that/holds/the/data/sets")
    assert config_of("manifest=demo").name == "demo"


def settings_of(section: Any = Config, prefix: str = "") -> dict[str, Any]:
    """Every setting of the schema as `section.name` -> its default, or MISSING."""
    found: dict[str, Any] = {}
    for setting in fields(section):
        key = f"{prefix}{setting.name}"
        if is_dataclass(setting.type):
            found |= settings_of(setting.type, f"{key}.")
        elif setting.name != "from_environment":  # no setting
            found[key] = setting.default
    return found


def test_every_setting_can_be_overridden_by_name() -> None:
    """Without Hydra's `+`, and also those that no YAML file mentions."""
    settings = settings_of()
    assert len(settings) > 50
    assert {"manifest.columns.study", "training.epochs", "images.cache_dir"} <= settings.keys()
    cfg = composed()
    for key, default in settings.items():
        now = OmegaConf.select(cfg, key, throw_on_missing=True, default=MISSING)
        assert now is not MISSING, f"{key} is not in the composed config: {default!r}"
    overrides = [f"{key}=null" for key, value in settings.items() if value is None]
    overrides += [f"{key}=7" for key, value in settings.items() if type(value) is int]
    overrides += [f"{key}=0.5" for key, value in settings.items() if type(value) is float]
    overrides += [f"{key}=true" for key, value in settings.items() if type(value) is bool]
    assert len(overrides) > 25
    changed = flat(
        config_of(
            "augment=none",
            "images=mri48",
            *(
                text
                for text in overrides
                if not text.startswith(("images.spatial_dims", "augment.", "manifest.ordered"))
            ),
        )
    )
    assert changed["training.epochs"] == "7"
    assert changed["tracking.timeout_s"] == "0.5"
    assert changed["sampler.allow_double_correction"] == "true"


@pytest.mark.parametrize("schema", [Config, MakeManifestConfig])
def test_every_setting_and_section_says_what_it_means(schema: Any) -> None:
    """Help and error messages are made of these texts."""
    keys = settings_of(schema)
    assert len(keys) > 15
    for key in keys:
        text = description(key.split("."), schema)
        assert len(text) > 10, key
        assert "  " not in text
        assert "\n" not in text
    sections = [setting.type for setting in fields(schema) if is_dataclass(setting.type)]
    for section in (schema, *sections):
        assert not (section.__doc__ or "").startswith(section.__name__ + "("), section


GROUPS = [(group, option) for group, option in OPTIONS if group != "experiment"]
LEAF_SECTIONS = ("model", "optimizer", "scheduler")


@pytest.mark.parametrize(("group", "option"), GROUPS)
def test_a_group_file_holds_known_settings_that_differ_from_the_defaults(
    group: str, option: str
) -> None:
    """Each value stands in one place: in the schema, or where it differs from it."""
    values = yaml.safe_load((CONF_DIR / group / f"{option}.yaml").read_text()) or {}
    values.pop("defaults", None)
    if group in LEAF_SECTIONS:
        assert "_target_" in values
        return
    section = next(setting.type for setting in fields(Config) if setting.name == group)
    known = {setting.name for setting in fields(cast(Any, section))}
    usual = defaults(section)
    assert values.keys() <= known
    repeated = {key for key, value in values.items() if usual.get(key, MISSING) == value}
    assert repeated <= ({"task"} if group == "manifest" else set())  # a data set says what it is


def test_the_default_options_give_what_they_always_gave() -> None:
    """What `--cfg job` printed before the group files lost what the schema says."""
    config = default_config()
    assert config.split == SplitConfig(scheme="kfold", num_folds=5, seed=0)
    assert config.training == TrainingConfig(
        epochs=20, batch_size=32, seed=0, patience=0, precision="auto"
    )
    assert asdict(config.images) | {"transforms": ()} == {
        "spatial_dims": 2,
        "num_channels": 1,
        "transforms": (),
        "reader": None,
        "spacing": None,
        "unit": None,
        "window": None,
        "percentiles": None,
        "size": None,
        "fit": "stretch",
        "normalise": "fold",
        "nonfinite": "error",
        "fill_value": 0.0,
        "dtype": "auto",
        "most_voxels": 2**28,
        "cache_dir": ".cache/images",
        "num_processes": 0,
        "preview": 4,
    }
    assert asdict(config.evaluation) == {
        "aggregate": "mean",
        "patient_label": "same",
        "middle": None,
        "middle_aggregate": "mean",
        "threshold": "youden",
        "calibration": "none",
        "prior": "train",
        "subgroups": None,
        "metrics": None,
        "lower_is_better": (),
    }
    assert asdict(config.privacy) == {"pseudonyms": False, "key_file": "patientfold.key"}
    assert asdict(config.engine) == {
        "kind": "local",
        "address": "auto",
        "device": "auto",
        "folds_at_once": 0,
        "devices_per_fold": 1,
        "threads_per_fold": 1,
        "loader_workers": 1,
        "prune_after": 0,
    }
    assert asdict(config.tracking) == {
        "uri": "sqlite:///mlflow.db",
        "timeout_s": 60.0,
        "upload": "all",
        "ledger": "ledger.jsonl",
    }
    assert config.init.scheme == "default"
    assert config.loss.class_weights == "none"
    assert config.sampler.balance == "class"


def test_settings_arrive_typed_and_unchanged() -> None:
    config = config_of(
        "experiment=demo",
        "folds=[0,2]",
        "optimizer.lr=3e-4",
        "split.num_folds=4",
        "manifest.classes=[a,b]",
        "augment.flip_axes=[1]",
        "run_dir=here",
    )
    assert config.folds == (0, 2)
    assert config.optimizer["lr"] == 3e-4
    assert config.split.num_folds == 4
    assert config.manifest.classes == ("a", "b")
    assert config.augment.flip_axes == (1,)
    assert config.run_dir == "here"
    assert config_of().folds == "all"
    assert config_of("training.epochs=3").scheduler["T_max"] == 3


def test_a_config_is_frozen() -> None:
    config = config_of()
    with pytest.raises(FrozenInstanceError):
        config.name = "other"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        config.training.epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize(("metric", "mode"), [("val/loss", "min"), ("val/image/auroc", "max")])
def test_only_the_loss_is_better_when_smaller(metric: Any, mode: str) -> None:
    assert TrainingConfig(select_by=metric).select_mode == mode


@pytest.mark.parametrize("name", ["auroc", "average_precision", "balanced_accuracy"])
def test_an_image_metric_may_be_named_as_before_and_is_the_same_run(name: str) -> None:
    before = config_of(f"training.select_by=val/{name}")
    now = config_of(f"training.select_by=val/image/{name}")
    assert before == now
    assert now.training.select_by == f"val/image/{name}"
    was = identity(now) | {"training.select_by": f"val/{name}"}  # as older run folders have it
    assert distinctive(was) == distinctive(identity(now))


@pytest.mark.parametrize(
    ("former", "name"), [("kaiming_normal", "he_normal"), ("xavier_uniform", "glorot_uniform")]
)
def test_an_initialisation_may_be_named_as_before_and_has_the_same_key(
    former: str, name: str
) -> None:
    now = config_of(f"init={name}")
    assert now.init.scheme == name
    assert config_of(f"init={former}") == config_of(f"init.scheme={former}") == now
    assert distinctive(identity(now))["init.scheme"] == former, "keys are made of this text"
    was = identity(now) | {"init.scheme": former}  # as older run folders have it
    assert distinctive(was) == distinctive(identity(now))


@pytest.mark.parametrize(
    "override",
    [
        "training.preflight=true",
        "preflight.accept=[border]",
        "images.preview=0",
        "lr_find.steps=20",
    ],
)
def test_what_is_only_looked_at_makes_no_other_run(override: str) -> None:
    config = config_of(override)
    assert config != default_config()
    assert distinctive(identity(config)) == distinctive(identity(default_config()))


# --- what is refused


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("+split.num_fold=4", "split.num_fold: unknown setting; did you mean 'split.num_folds'?"),
        ("+trainin.epochs=4", "trainin: unknown setting; did you mean 'training'?"),
        (
            "+manifest.columns.pateint=x",
            "manifest.columns.pateint: unknown setting; did you mean 'manifest.columns.patient'?",
        ),
        ("+sampler.zzz=1", "sampler.zzz: unknown setting; known: balance, allow_double_correction"),
    ],
)
def test_an_unknown_setting_is_refused_with_a_suggestion(override: str, problem: str) -> None:
    assert refused(override) == [problem]


def test_a_misspelt_override_gets_a_suggestion_too() -> None:
    assert suggestion("split.num_fold") == "did you mean 'split.num_folds'?"
    assert suggestion("trainin.epochs") == "did you mean 'training.epochs'?"
    assert suggestion("manifest.column.patient") == "did you mean 'manifest.columns.patient'?"
    assert "--cfg job" in suggestion("optimizer.zzz")


@pytest.mark.parametrize(
    ("override", "starts", "found"),
    [
        ("training.epochs=many", "training.epochs: input should be a valid integer", "got 'many'"),
        ("training.epochs=2.5", "training.epochs: input should be a valid integer", "got 2.5"),
        ("training.epochs=null", "training.epochs: input should be a valid integer", "got None"),
        (
            "augment.rotate90=maybe",
            "augment.rotate90: input should be a valid boolean",
            "got 'maybe'",
        ),
        (
            "images.dtype=uint16",
            "images.dtype: input should be 'auto', 'uint8', 'float16' or 'float32'",
            "got 'uint16'",
        ),
        (
            "manifest.columns.patient=null",
            "manifest.columns.patient: input should be a valid string",
            "got None",
        ),
        ("split=[1]", "split: ", "[1]"),
    ],
)
def test_a_wrong_type_is_refused(override: str, starts: str, found: str) -> None:
    if override.startswith("split="):
        cfg = composed()
        OmegaConf.update(cfg, "split", [1], merge=False, force_add=True)
        with pytest.raises(ConfigError) as caught:
            to_config(cfg)
        (problem,) = caught.value.problems
    else:
        (problem,) = refused(override)
    assert problem.startswith(starts)
    assert found in problem


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        (
            "split.num_folds=2",
            "split.num_folds: input should be greater than or equal to 3, got 2 "
            "(kfold: how many; each needs a block to test, one to validate, and the rest to train)",
        ),
        (
            "split.repeats=100000000",
            "split.repeats: input should be less than or equal to 1000, got 100000000 "
            "(kfold: whole rotations, each dealt with another seed)",
        ),
        (
            "training.batch_size=0",
            "training.batch_size: input should be greater than or equal to 1, "
            "got 0 (Images that pass through the network at once, over all devices of a fold "
            "together)",
        ),
        (
            "tracking.timeout_s=0",
            "tracking.timeout_s: input should be greater than 0, got 0 "
            "(How long the end of a run waits for the tracking server, in seconds)",
        ),
        (
            "augment.zoom=1",
            "augment.zoom: input should be less than 1, got 1 "
            "(Largest change of scale: 0.1 draws factors from 0.9 to 1.1)",
        ),
        (
            "augment.rotate_degrees=181",
            "augment.rotate_degrees: input should be less than or equal to "
            "180, got 181 (Largest rotation, in degrees)",
        ),
        (
            "augment.flip_axes=[0,3]",
            "augment.flip_axes.1: input should be less than or equal to 2, "
            "got 3 (Spatial axes (0 = first) that are flipped with probability 1/2)",
        ),
        (
            "manifest.separator=';;'",
            "manifest.separator: string should have at most 1 character, got "
            "';;' (One character, or its name: comma, semicolon, tab, pipe)",
        ),
    ],
)
def test_a_broken_limit_is_refused(override: str, problem: str) -> None:
    assert refused(override) == [problem]


@pytest.mark.parametrize(
    ("override", "found"),
    [
        ("folds=some", "'some'"),
        ("folds=[0,x]", "[0, 'x']"),
        ("folds=[-1]", "[-1]"),
        ("folds=2", "2"),
    ],
)
def test_folds_are_all_or_a_list(override: str, found: str) -> None:
    expected = f"folds: must be all or a list of folds such as [0,2], got {found}"
    assert refused(override) == [expected]


def test_several_problems_come_at_once() -> None:
    problems = refused(
        "training.epochs=0",
        "split.num_folds=two",
        "+loss.weights=1",
        "folds=x",
        "engine.device=tpu",
    )
    assert sorted(problem.split(":")[0] for problem in problems) == [
        "engine.device",
        "folds",
        "loss.weights",
        "split.num_folds",
        "training.epochs",
    ]


def test_a_setting_without_a_value_is_missing() -> None:
    cfg = composed()
    OmegaConf.set_struct(cfg, False)
    del cfg["manifest"]["path"]
    with pytest.raises(ConfigError) as caught:
        to_config(cfg)
    assert caught.value.problems == ["manifest.path: missing; it needs a value"]


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("model._target_=os.system", "model._target_"),
        ("optimizer._target_=torchsomething.Adam", "optimizer._target_"),
        ("scheduler._target_=pipeline.config.Config", "scheduler._target_"),
        ("loss.function._target_=builtins.print", "loss.function._target_"),
        ("images.transforms.0._target_=subprocess.run", "images.transforms.0._target_"),
        ("+model.inner={_target_:os.system}", "model.inner._target_"),
        ("+model.list=[{_target_:os.system}]", "model.list.0._target_"),
    ],
)
def test_a_target_of_another_package_is_refused(override: str, key: str) -> None:
    (problem,) = refused(override)
    target = override.split("=", 1)[1].removeprefix("[").strip("{}]").removeprefix("_target_:")
    packages = ", ".join(f"{package}." for package in PACKAGES)
    assert problem == f"{key}: must begin with one of {packages}, got {target!r}"


def test_a_random_transform_of_another_package_is_refused() -> None:
    (problem,) = refused("augment=monai", "augment.transforms.1._target_=os.system")
    assert problem.startswith("augment.transforms.1._target_: must begin with one of")


def test_a_leaf_needs_a_target() -> None:
    assert refused("~model._target_") == [
        "model: `_target_` is missing; it names the class, e.g. torch.optim.AdamW"
    ]


def test_settings_that_contradict_each_other_are_refused() -> None:
    (problem,) = refused("training.select_by=val/patient/auroc", "evaluation.patient_label=none")
    assert problem.startswith("training.select_by=val/patient/auroc needs a patient level")
    (problem,) = refused("augment.transforms=[{_target_: monai.transforms.RandFlip}]")
    assert problem.startswith("augment: use either augment.transforms")


SLIDES = ("manifest.columns.slide=slide", "evaluation.middle=slide")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["evaluation.middle=slide"], "evaluation.middle=slide needs manifest.columns.slide"),
        (["evaluation.middle=study"], "evaluation.middle=study needs manifest.columns.study"),
        (["training.select_by=val/slide/auroc"], "select_by=val/slide/auroc needs evaluation.mid"),
        ([*SLIDES, "training.select_by=val/study/auroc"], "needs evaluation.middle=study"),
        (["evaluation.middle_aggregate=max"], "middle_aggregate=max needs a level between"),
        ([*SLIDES, "evaluation.patient_label=none"], "slides get their labels as patients do"),
        (["evaluation.middle=lesion"], "evaluation.middle: input should be 'study' or 'slide'"),
    ],
)
def test_a_middle_level_that_is_not_there_is_refused(settings: list[str], expected: str) -> None:
    (problem,) = refused(*settings)
    assert expected in problem


def test_a_middle_level_may_select() -> None:
    config = config_of(*SLIDES, "training.select_by=val/slide/auroc")
    assert config.evaluation.middle == "slide"
    assert config.training.select_mode == "max"


@pytest.mark.parametrize("setting", ["init.weights=best.pt", "training.freeze=[features]"])
def test_what_a_baseline_would_leave_out_is_refused(setting: str) -> None:
    (problem,) = refused("model=logistic", setting)
    assert problem.startswith(setting.partition("=")[0])
    assert problem.endswith("has no layers; choose a network, or leave this setting out")
    load_config(["manifest=demo", "model=lenet5", setting])


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        (
            "manifest.columns.study=patient_id",
            "manifest.columns: 'patient_id' is named 2 times; each once at most",
        ),
        (
            "manifest.classes=[a,a]",
            "manifest.classes: must be different names, none blank, got ['a', 'a']",
        ),
        (
            "manifest.classes=[a,'']",
            "manifest.classes: must be different names, none blank, got ['a', '']",
        ),
    ],
)
def test_columns_and_classes_are_named_once(override: str, problem: str) -> None:
    assert refused(override) == [problem]


# --- identity: what makes a run another run


def test_where_and_which_folds_are_no_part_of_the_identity() -> None:
    elsewhere = {
        "folds": "[0]",
        "run_dir": "here",
        "name": "other",
        "manifest.hint": "x",
        "images.cache_dir": "there",
        "images.num_processes": "3",
        "images.most_voxels": "1000",
        "engine.device": "cpu",
        "engine.folds_at_once": "2",
        "engine.threads_per_fold": "2",
        "tracking.uri": "sqlite:///other.db",
        "tracking.timeout_s": "1.0",
        "tracking.upload": "metrics",
        "privacy.pseudonyms": "true",
        "privacy.key_file": "other.key",
    }
    config = config_of(*(f"{key}={value}" for key, value in elsewhere.items()))
    before, after = flat(default_config()), flat(config)
    assert {key: after[key] for key in after if after[key] != before[key]} == elsewhere
    assert identity(config) == identity(default_config())


def test_what_the_environment_gave_is_written_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = [
        "+model.token=${oc.env:TOKEN}",
        "manifest.hint='see ${oc.env:TOKEN}'",
        "name='${manifest.hint}'",
        "+loss.function.like=${model.token}",
    ]
    monkeypatch.setenv("TOKEN", "hunter2")
    config = config_of(*overrides)
    assert config.model["token"] == config.loss.function["like"] == "hunter2"
    texts = flat(config)
    assert texts["model.token"] == texts["loss.function.like"] == "${oc.env:TOKEN}"
    assert texts["name"] == texts["manifest.hint"] == "see ${oc.env:TOKEN}"
    assert texts.keys() == flat(config_of("+model.token=a", "+loss.function.like=a")).keys()
    first = identity(config)
    assert re.fullmatch(r"\$\{oc\.env:TOKEN\} [0-9a-f]{12}", first["model.token"])
    assert "hunter2" not in f"{texts} {first} {written(config)}"
    monkeypatch.setenv("TOKEN", "hunter3")
    assert identity(config_of(*overrides)) != first  # another value may be another result
    monkeypatch.setenv("TOKEN", "hunter2")
    assert identity(config_of(*overrides)) == first


def test_what_depends_on_the_environment_is_found_through_other_settings() -> None:
    settings = {
        "a": {
            "token": "${oc.env:T}",
            "beside": "x ${.token}",
            "listed": ["${a.beside}", "plain"],
            "below": {"from_above": "${..token}"},
            "unknown": "${a.nothing} ${oc.env:U}",
        },
        "other": "${number}",
        "number": 5,
        "loop": "${back}",
        "back": "${loop}",
    }
    assert environment_texts(settings) == {
        ("a", "token"): "${oc.env:T}",
        ("a", "beside"): "x ${oc.env:T}",
        ("a", "listed", 0): "x ${oc.env:T}",
        ("a", "below", "from_above"): "${oc.env:T}",
        ("a", "unknown"): "${a.nothing} ${oc.env:U}",
    }


def test_nobody_sets_what_the_environment_gave() -> None:
    assert refused("+from_environment={a: b}") == [
        "from_environment: unknown setting; it is filled in by itself"
    ]


@pytest.mark.parametrize(
    "override",
    [
        "optimizer.lr=0.5",
        "model=resnet10",
        "init=xavier_uniform",
        "scheduler=constant",
        "loss.function.label_smoothing=0.1",
        "loss.class_weights=inverse",
        "sampler=patient",
        "training.epochs=3",
        "training.seed=1",
        "training.select_by=val/loss",
        "augment.noise=0.5",
        "augment=none",
        "images.transforms.0.spatial_size=[32,32]",
        "images.dtype=float32",
        "evaluation.threshold=fixed",
        "evaluation.aggregate=max",
        "training.batch_size=8",
        "engine.devices_per_fold=2",
    ],
)
def test_what_changes_the_numbers_changes_the_identity(override: str) -> None:
    assert identity(config_of(override)) != identity(default_config())


def test_a_fingerprint_ignores_the_order_of_keys_only() -> None:
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": [1, 2], "a": 1})
    assert fingerprint({"a": [1, 2]}) != fingerprint({"a": [2, 1]})


def test_several_devices_share_every_batch_evenly():
    words = (
        r"training.batch_size=32 cannot be shared evenly by engine.devices_per_fold=3; set .*=33,"
    )
    with pytest.raises(ConfigError, match=words):
        load_config(["manifest=demo", "training.batch_size=32", "engine.devices_per_fold=3"])
    with pytest.raises(ConfigError, match=r"training.batch_size=2, or another multiple"):
        load_config(["manifest=demo", "training.batch_size=1", "engine.devices_per_fold=2"])
    config = load_config(["manifest=demo", "training.batch_size=33", "engine.devices_per_fold=3"])
    assert config.engine.devices_per_fold == 3
    with pytest.raises(ConfigError, match=r"devices_per_fold=2 is for networks; a baseline of sci"):
        load_config(["manifest=demo", "model=logistic", "engine.devices_per_fold=2"])


def test_flip_axes_must_be_axes_of_the_images():
    with pytest.raises(ConfigError, match=r"augment.flip_axes: 2D images have axes 0 to 1"):
        load_config(["manifest=demo", "augment.flip_axes=[2]"])
    volumes = load_config(["manifest=demo", "augment.flip_axes=[2]", "images=mri48"])
    assert volumes.augment.flip_axes == (2,)
