"""A run folder that was damaged or edited is named so; one that was received is not trusted."""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from system_runs import make_cohort

from pipeline.commands.cv import cross_validate, decoded, train
from pipeline.commands.door import load_config
from pipeline.commands.settings import OtherServer, SyncSettings
from pipeline.commands.sync import main as sync
from pipeline.config import UserError, fingerprint
from pipeline.engine.run_folder import Run
from pipeline.engine.session import UNNAMED
from pipeline.engine.soundness import check_run_folder
from pipeline.files import lock
from pipeline.tracking.server import TrackingError
from pipeline.training.planning import make_plan

FILES = (
    "environment.json",
    "tracking.json",
    "mlflow.json",
    "plan.csv",
    "plan.json",
    "config.yaml",
    "metrics.json",
    "predictions.csv",
    "fold_01/journal.jsonl",
    "fold_01/result.json",
    "fold_01/predictions_val.csv",
    "fold_01/predictions_test.csv",
    "fold_01/best.pt",
)
WRITTEN_ANEW = ("config.yaml", "metrics.json", "predictions.csv")
"""By each cross-validation, whatever is there."""
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "another JSON type": lambda _: b"[1, 2]\n",
    "random bytes": lambda content: random.Random(0).randbytes(len(content)),
}


class Finished:
    """A cross-validation that is done; the current folder is that of its cache and MLflow."""

    def __init__(self, root: Path) -> None:
        self.dir = root / "run"
        cohort = make_cohort(root / "cohort", num_patients=12)
        self.settings = [*cohort.overrides, "name=whole", "training.epochs=2"]
        self.whole_cv(self.dir)
        (self.dir / "mlflow.json").write_text('{"uids": {"parent": "0af3"}}\n')  # as once

        config = load_config(self.settings)
        self.console = Console(quiet=True)
        self.slots, images, content = decoded(config, self.console)
        planned = make_plan(config, content.manifest)
        self.run = Run(config, planned.manifest, planned.plan, images)

    def whole_cv(self, run_dir: Path) -> None:
        cross_validate(load_config([*self.settings, f"run_dir={run_dir}"]))

    def cv(self, run_dir: Path) -> None:
        """From where `cv` opens the run folder: what comes before is the same each time."""
        run = replace(self.run, config=replace(self.run.config, run_dir=str(run_dir)))
        train(run, self.slots, UNNAMED, self.console)

    def sync(self, run_dir: Path, uri: str | None = "sqlite:///sync.db") -> None:
        sync(SyncSettings(run_dir=str(run_dir), tracking=OtherServer(uri=uri)))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Finished]:
    root = tmp_path_factory.mktemp("finished")
    for name in ("mlflow.db", "sync.db"):
        shutil.copy(empty_database, root / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield Finished(root)


@pytest.fixture
def run_dir(finished: Finished, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished.dir, tmp_path / "copy"))


def contents(folder: Path) -> dict[Path, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".log"]
    return {path.relative_to(folder): path.read_bytes() for path in files}


@pytest.mark.parametrize("command", ["cv", "sync"])
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named_with_what_to_do(
    finished: Finished, run_dir: Path, name: str, damage: str, command: str
) -> None:
    path = run_dir / name
    whole = path.read_bytes()
    path.write_bytes(DAMAGES[damage](whole))
    damaged = contents(run_dir)
    if command == "cv" and name in WRITTEN_ANEW:
        finished.cv(run_dir)
        assert name == "config.yaml" or path.read_bytes() == whole  # it holds run_dir
        finished.sync(run_dir)
        return
    with pytest.raises(UserError) as error:
        getattr(finished, command)(run_dir)
    stem = path.with_suffix("") if path.stem == "plan" else path  # a plan is two files
    assert str(stem) in str(error.value)
    assert "estore" in str(error.value), "what to do"
    assert contents(run_dir) == damaged, "nothing is touched meanwhile"


def test_a_whole_folder_passes(
    finished: Finished, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(run_dir)
    finished.sync(run_dir)
    finished.whole_cv(run_dir)
    printed = capsys.readouterr().out
    assert "FINISHED; folds: 3 FINISHED" in printed
    assert "all folds are done already" in printed
    after = contents(run_dir)
    changed = {name for name in FILES if before[Path(name)] != after[Path(name)]}
    assert changed <= {"config.yaml", "environment.json", "tracking.json"}, "they hold run_dir"


def test_predictions_edited_by_hand_are_not_summarised(finished: Finished, run_dir: Path) -> None:
    path = run_dir / "fold_00" / "predictions_test.csv"
    header, *rows = path.read_text().splitlines()
    perfect = []
    for row in rows:
        *sample, label, _, _, _ = row.split(",")
        ill = label == "lesion"
        perfect.append(",".join([*sample, label, str(int(not ill)), str(int(ill)), label]))
    path.write_text("\n".join([header, *perfect]) + "\n")
    before = (run_dir / "metrics.json").read_bytes()
    for command in (finished.whole_cv, finished.sync):
        with pytest.raises(UserError, match=r"predictions_test\.csv was changed after the fold"):
            command(run_dir)
    assert (run_dir / "metrics.json").read_bytes() == before


def test_a_result_edited_by_hand_is_refused(finished: Finished, run_dir: Path) -> None:
    path = run_dir / "fold_00" / "result.json"
    result = json.loads(path.read_text()) | {"select_value": 0.99}
    path.write_text(json.dumps(result))
    for command in (finished.cv, finished.sync):
        with pytest.raises(UserError, match=r"result\.json was changed after it was written"):
            command(run_dir)


def drop_last_line(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def drop_last_epoch(path: Path) -> None:
    lines = path.read_text().splitlines(keepends=True)
    events = [json.loads(line) for line in lines]
    kept = [line for line, e in zip(lines, events, strict=True) if e.get("epoch") != 2]
    assert len(kept) == len(lines) - 1
    path.write_text("".join(kept))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("fold_00/predictions_test.csv", Path.unlink, "is missing, though the fold is done"),
        ("fold_00/journal.jsonl", drop_last_epoch, "epoch 2 of 2 is missing, though the fold"),
        ("predictions.csv", Path.unlink, "predictions.csv is missing"),
        ("predictions.csv", drop_last_line, "differs from the predictions of the folds"),
        ("config.yaml", drop_last_line, "config.yaml was changed after it was written"),
        ("config.yaml", lambda path: path.write_text("- 1\n"), "config.yaml holds no settings"),
    ],
)
def test_what_is_missing_or_was_edited_is_named_with_all_else(
    run_dir: Path, name: str, change: Callable[[Path], object], message: str
) -> None:
    check_run_folder(run_dir)
    change(run_dir / name)
    (run_dir / "fold_02" / "result.json").write_text("{")
    with pytest.raises(UserError) as caught:
        check_run_folder(run_dir)
    assert message in str(caught.value)
    assert "fold_02/result.json" in str(caught.value)


def test_a_run_folder_that_is_being_mirrored_is_left_alone(
    finished: Finished, run_dir: Path
) -> None:
    with (
        lock(run_dir / "mlflow.lock", "not free"),
        pytest.raises(UserError, match="is being mirrored to MLflow by another process"),
    ):
        finished.sync(run_dir)


def test_the_result_of_another_run_or_fold_is_refused(finished: Finished, run_dir: Path) -> None:
    shutil.rmtree(run_dir / "fold_00")
    shutil.copytree(run_dir / "fold_01", run_dir / "fold_00")
    with pytest.raises(UserError, match="is that of fold 1"):
        finished.cv(run_dir)
    shutil.rmtree(run_dir / "fold_00")
    shutil.copytree(finished.dir / "fold_00", run_dir / "fold_00")
    path = run_dir / "fold_00" / "result.json"
    result = json.loads(path.read_text()) | {"key": "another"}
    del result["seal"]
    path.write_text(json.dumps(result | {"seal": fingerprint(result)}))
    with pytest.raises(UserError, match="belongs to run another, not to run"):
        finished.cv(run_dir)


def test_a_folder_without_hashes_opens(finished: Finished, run_dir: Path) -> None:
    """As the version before this one wrote it."""
    for fold in range(3):
        path = run_dir / f"fold_{fold:02d}" / "result.json"
        result = json.loads(path.read_text())
        assert result.pop("seal") == fingerprint(result)
        del result["predictions_val_sha256"], result["predictions_test_sha256"]
        path.write_text(json.dumps(result))
    finished.sync(run_dir)
    finished.cv(run_dir)


def test_checkpoints_may_be_deleted_to_save_room(finished: Finished, run_dir: Path) -> None:
    for path in run_dir.glob("fold_*/*.pt"):
        path.unlink()
    finished.cv(run_dir)


SECRET = "known to one person only"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file of the user that no run folder has a right to."""
    path = tmp_path / "secret.png"
    path.write_text(SECRET)
    return path


@pytest.mark.parametrize("command", ["cv", "sync"])
@pytest.mark.parametrize(
    "name",
    ["plots/x.png", "config.yaml", ".lock", "fold_00", "fold_00/journal.jsonl", "fold_01/.lock"],
)
def test_a_received_folder_with_a_link_is_refused(
    finished: Finished, run_dir: Path, secret: Path, name: str, command: str
) -> None:
    path, target = run_dir / name, secret
    if path.is_dir():
        target = secret.parent / "elsewhere"
        path.rename(target)
    path.unlink(missing_ok=True)
    path.symlink_to(target)
    with pytest.raises(UserError) as error:
        getattr(finished, command)(run_dir)
    assert f"{path} is a link to {target}" in str(error.value)
    assert secret.read_text() == SECRET


@pytest.mark.parametrize("command", ["cv", "sync"])
def test_hard_links_and_pipes_are_refused_at_once(
    finished: Finished, run_dir: Path, secret: Path, command: str
) -> None:
    (run_dir / "plots" / "x.png").hardlink_to(secret)
    os.mkfifo(run_dir / "predictions.json")
    with pytest.raises(UserError) as error:
        getattr(finished, command)(run_dir)
    assert "x.png is also known under another name" in str(error.value)
    assert "predictions.json is neither a file nor a folder" in str(error.value)


def test_a_server_that_only_the_folder_names_gets_nothing(
    finished: Finished, run_dir: Path
) -> None:
    path = run_dir / "tracking.json"
    record = json.loads(path.read_text()) | {"uri": "http://127.0.0.1:9"}
    path.write_text(json.dumps(record))
    with pytest.raises(UserError) as error:
        finished.sync(run_dir, None)
    assert "names the server http://127.0.0.1:9, but the settings here name sqlite:///" in str(
        error.value
    )
    assert f"patientfold sync run_dir={run_dir} tracking.uri=http://127.0.0.1:9" in str(error.value)
    with pytest.raises(TrackingError, match="cannot be reached"):  # it is asked where one says so
        finished.sync(run_dir, "http://127.0.0.1:9")


def test_the_configured_server_needs_no_word(
    finished: Finished, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished.sync(run_dir, None)
    assert "mlflow.db: FINISHED; folds: 3 FINISHED" in capsys.readouterr().out
