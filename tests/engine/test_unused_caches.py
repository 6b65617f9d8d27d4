"""Which caches of images `runs prune` takes."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from run_copies import copy_of

from pipeline.config import UserError
from pipeline.engine.finished import Finished
from pipeline.engine.overview import find_run_folders
from pipeline.engine.room import Spared
from pipeline.engine.unused_caches import UnusedCache, remove_cache, unused_caches
from pipeline.files import lock, write_json
from pipeline.images.seal import FILES, SEAL, is_sealed, seal

DAY_S = 24 * 3600


def made_cache(cache_dir: Path, name: str, days: float) -> Path:
    """A sealed cache that was opened so many days ago."""
    folder = cache_dir / name
    folder.mkdir(parents=True)
    for file in FILES:
        if file.endswith(".npy"):
            np.save(folder / file, np.zeros(100, np.uint8))
        else:
            (folder / file).write_text("sum\n0\n")
    seal(folder, {"shape": [100]})
    _age(folder, days)
    return folder


def _age(folder: Path, days: float) -> None:
    then = time.time() - days * DAY_S
    for path in folder.iterdir():
        os.utime(path, (then, then))


def found(cache_dir: Path, days: int = 30, runs: Path | None = None) -> list[str]:
    run_dirs = [] if runs is None else find_run_folders(runs)[0]
    return [one.path.name for one in unused_caches(cache_dir, days, run_dirs)[0]]


def kept(cache_dir: Path, runs: Path) -> list[Spared]:
    return unused_caches(cache_dir, 30, find_run_folders(runs)[0])[1]


def test_only_what_was_not_opened_for_so_long(tmp_path: Path) -> None:
    made_cache(tmp_path, "old", 31)
    made_cache(tmp_path, "new", 29)
    made_cache(tmp_path, "old.features", 40)
    (tmp_path / "half.partial").mkdir()
    assert found(tmp_path) == ["old", "old.features"]
    assert found(tmp_path, 35) == ["old.features"]
    assert found(tmp_path / "nowhere") == []


def test_opening_a_cache_counts_as_use(tmp_path: Path) -> None:
    folder = made_cache(tmp_path, "old", 31)
    assert found(tmp_path) == ["old"]
    assert is_sealed(folder)
    assert found(tmp_path) == []
    then = time.time() - 31 * DAY_S
    os.utime(folder / SEAL, (then, then))
    assert is_sealed(folder)  # nothing has changed, and no file system needs to note the look
    assert (folder / SEAL).stat().st_mtime > then + DAY_S


def test_it_is_gone_and_nothing_else_is(tmp_path: Path) -> None:
    made_cache(tmp_path, "old", 31)
    made_cache(tmp_path, "new", 1)
    (cache,), _ = unused_caches(tmp_path, 30, [])
    assert isinstance(cache, UnusedCache)
    assert cache.bytes == sum(path.stat().st_size for path in cache.path.iterdir())
    assert cache.days == 31
    assert remove_cache(cache) == cache.bytes
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_what_an_interrupted_removal_left_is_found_again(tmp_path: Path) -> None:
    for name in ("0" * 32, f"{'1' * 32}.{'2' * 32}.features"):
        folder = made_cache(tmp_path, name, 31)
        (folder / SEAL).unlink()
    own = tmp_path / "patient-7"
    own.mkdir()
    (own / "images.npy").write_bytes(b"not ours")
    _age(own, 31)
    write_json(tmp_path / "digests.json", {"/gone.png": ["stamp", "digest"]})
    caches, spared = unused_caches(tmp_path, 30, [])
    assert (len(caches), spared) == (2, [])
    for cache in caches:
        remove_cache(cache)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digests.json", "patient-7"]


@pytest.fixture
def study(one_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose images lie in a folder, and its cache, which is old."""
    monkeypatch.chdir(tmp_path)
    run_dir = copy_of(one_run, tmp_path / "runs" / "one")
    pixels = Finished(run_dir).environment["identity"]["pixels hash"]
    made_cache(tmp_path / "cache", f"{pixels}and-more", 31)
    made_cache(tmp_path / "cache", f"{pixels}and-more.trunk.features", 31)
    (tmp_path / "cohort.csv").write_text("patient_id\n")
    names = [f"pictures/secret-000-{i}.png" for i in range(3)]
    rows = "".join(f"P1,{name},healthy\n" for name in names)
    (run_dir / "cohort.csv").write_text(f"patient_id,image_path,label\n{rows}")
    (tmp_path / "pictures").mkdir()
    for name in names:
        (tmp_path / name).write_bytes(b"pixels")
    return tmp_path


def test_a_cache_whose_images_are_there_can_be_made_again(study: Path) -> None:
    assert len(found(study / "cache", runs=study / "runs")) == 2
    assert kept(study / "cache", study / "runs") == []


@pytest.mark.parametrize(
    "name", ["cohort.csv", "pictures/secret-000-0.png", "pictures/secret-000-2.png"]
)
def test_a_cache_whose_images_are_gone_is_all_that_is_left_of_them(study: Path, name: str) -> None:
    (study / name).unlink()
    assert found(study / "cache", runs=study / "runs") == []
    told = kept(study / "cache", study / "runs")
    assert [one.why for one in told] == [f"it could not be decoded again: {name} is not there"] * 2


def test_each_image_of_a_sample_is_looked_for(study: Path) -> None:
    path = study / "runs" / "one" / "config.yaml"
    config = OmegaConf.load(path)
    config.manifest.columns.image = ["t1", "t2"]
    OmegaConf.save(config, path)
    pair = "pictures/secret-000-0.png|pictures/secret-000-1.png"
    text = f"patient_id,image_path,label\nP1,{pair},healthy\n"
    (study / "runs" / "one" / "cohort.csv").write_text(text)
    assert len(found(study / "cache", runs=study / "runs")) == 2
    (study / "pictures" / "secret-000-1.png").unlink()
    assert "secret-000-1.png is not there" in kept(study / "cache", study / "runs")[0].why


def test_a_run_that_hides_its_images_counts_all_that_were_decoded(study: Path) -> None:
    path = study / "runs" / "one" / "config.yaml"
    config = OmegaConf.load(path)
    OmegaConf.update(config, "privacy.pseudonyms", True, force_add=True)
    OmegaConf.save(config, path)
    write_json(study / "cache" / "digests.json", {"/gone/001.png": ["stamp", "digest"]})
    assert found(study / "cache", runs=study / "runs") == []
    assert "/gone/001.png is not there" in kept(study / "cache", study / "runs")[0].why


def test_a_cache_that_a_run_uses_meanwhile_stays(study: Path) -> None:
    """On another node nobody sees the lock until it is asked for."""
    caches, _ = unused_caches(study / "cache", 30, [study / "runs" / "one"])
    assert len(caches) == 2
    with (
        lock(study / "runs" / "one" / ".lock", "held", shared=True),
        pytest.raises(UserError, match=r"stays: run folder .* is in use"),
    ):
        remove_cache(caches[0])
    assert (caches[0].path / SEAL).exists()
    remove_cache(caches[0])
    assert not caches[0].path.exists()


def test_what_runs_may_use_that_cannot_be_read_stays(study: Path) -> None:
    closed = study / "runs" / "closed"
    _, spared = unused_caches(study / "cache", 30, [study / "runs" / "one"], [closed])
    assert [one.why for one in spared] == [
        f"a run in {closed} may use it, and that folder cannot be read"
    ] * 2


def test_a_place_from_the_environment_is_looked_up(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = study / "runs" / "one" / "config.yaml"
    config = OmegaConf.load(path)
    config.manifest.path = "${oc.env:OF_A_TEST}/cohort.csv"
    OmegaConf.save(config, path)
    assert found(study / "cache", runs=study / "runs") == []
    monkeypatch.setenv("OF_A_TEST", str(study))
    assert len(found(study / "cache", runs=study / "runs")) == 2


def test_a_run_at_work_keeps_its_cache(study: Path) -> None:
    with lock(study / "runs" / "one" / ".lock", "held", shared=True):
        assert found(study / "cache", runs=study / "runs") == []
        assert "at work" in kept(study / "cache", study / "runs")[0].why


def test_of_a_cache_that_no_run_names_every_image_ever_decoded_must_be_there(
    tmp_path: Path,
) -> None:
    made_cache(tmp_path, "old", 31)
    (tmp_path / "image.png").write_bytes(b"pixels")
    names = [str(tmp_path / "image.png"), f"{tmp_path / 'image.png'}#1"]
    write_json(tmp_path / "digests.json", {name: ["stamp", "digest"] for name in names})
    assert found(tmp_path) == ["old"]
    (tmp_path / "image.png").unlink()
    assert found(tmp_path) == []
    assert "image.png is gone" in unused_caches(tmp_path, 30, [])[1][0].why
