"""What nodes of a cluster must have, and how many folds they take; no cluster is started."""

import os
import pickle
import socket
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import pytest

from pipeline.commands.door import load_config
from pipeline.config import EngineConfig, UserError
from pipeline.engine import node, ray_cluster
from pipeline.engine.door import ENGINES, engine_of, here, predicting_slots
from pipeline.engine.node import Needed
from pipeline.engine.share import Share


@pytest.fixture
def needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Needed:
    """Of a run folder with two files, as it goes over the wire."""
    monkeypatch.setattr(node, "PATIENCE_S", 0.0)
    (tmp_path / "run").mkdir()
    for name in ("environment.json", "images.npy"):
        (tmp_path / name).write_text(name)
    files = [tmp_path / "environment.json", tmp_path / "images.npy"]
    found: Needed = pickle.loads(pickle.dumps(Needed.of(files, [tmp_path / "run"])))
    return found


def test_a_node_that_is_the_same_lacks_nothing(needed: Needed) -> None:
    assert len(needed.files) == 2
    assert needed.missing() == ""


def test_a_node_with_another_version_says_which(needed: Needed) -> None:
    other = replace(needed, versions={**needed.versions, "monai": "0.1"})
    assert other.missing().startswith("has monai 1")
    assert other.missing().endswith("and the command 0.1")


def test_builds_for_cpu_and_gpu_are_one_version() -> None:
    assert "+" not in "".join(node.versions().values())
    assert {"Python", "patientfold", "torch"} <= node.versions().keys()


def test_a_node_with_other_code_of_the_same_version_is_refused(needed: Needed) -> None:
    assert "has other code of patientfold" in replace(needed, code="other").missing()


def test_a_node_without_the_folder_of_the_command_says_so(needed: Needed) -> None:
    lost = replace(needed, folder=Path("/nowhere/mine"))
    assert lost.missing() == "does not see /nowhere/mine, where the command was given"


def test_a_node_that_does_not_see_a_file_names_it(needed: Needed, tmp_path: Path) -> None:
    (tmp_path / "images.npy").unlink()
    assert needed.missing() == f"does not see {tmp_path}/images.npy"


def test_a_folder_of_the_same_name_on_a_disk_of_its_own_is_no_shared_one(
    needed: Needed, tmp_path: Path
) -> None:
    (tmp_path / "environment.json").write_text("ENVIRONMENT.JSON")  # as long
    assert needed.missing() == f"sees another {tmp_path}/environment.json"


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_node_that_may_not_write_says_where(needed: Needed, tmp_path: Path) -> None:
    (tmp_path / "run").chmod(0o500)
    assert needed.missing() == f"cannot write in {tmp_path}/run"


def machine(cpus: float, gpus: float = 0) -> dict[str, Any]:
    return {"Resources": {"CPU": cpus} | ({"GPU": gpus} if gpus else {})}


@pytest.mark.parametrize(
    ("asked", "nodes", "device", "room"),
    [
        ({}, [machine(4), machine(3)], "cpu", 7),
        ({"threads_per_fold": 2}, [machine(4), machine(3)], "cpu", 3),
        ({}, [machine(8), machine(8, 2), machine(8, 1)], "cuda:0", 3),
        ({"device": "cpu"}, [machine(8, 2)], "cpu", 8),
        ({"device": "cuda"}, [machine(8)], "cuda:0", 0),
        ({"folds_at_once": 6}, [machine(8, 2)], "cuda:0", 6),  # three share a GPU
        ({"folds_at_once": 3}, [machine(1)], "cpu", 3),
        ({"folds_at_once": 1}, [machine(4)], "cpu", 4),
        ({}, [machine(0)], "cpu", 0),
    ],
)
def test_how_many_folds_nodes_take(
    asked: dict[str, Any], nodes: list[Any], device: str, room: int
) -> None:
    share = Share.of(EngineConfig(**asked), nodes)
    assert share.device == device
    assert sum(map(share.room, nodes)) == room


def test_each_kind_of_engine_is_one_module_with_the_three_functions() -> None:
    (kind,) = (f for f in fields(EngineConfig) if f.name == "kind")
    assert set(ENGINES) == set(get_args(kind.type))
    for engine in ENGINES.values():
        assert all(callable(getattr(engine, name)) for name in ("slots", "check", "run_folds"))


def test_what_a_command_does_itself_it_does_here() -> None:
    config = load_config(["experiment=demo", "engine=ray", "engine.device=cuda"])
    assert engine_of(config) is ray_cluster
    assert (here(config).engine.kind, here(config).engine.device) == ("local", "auto")
    on_cpu = load_config(["experiment=demo", "engine=ray", "engine.device=cpu"])
    assert here(on_cpu).engine.device == "cpu"
    assert here(here(on_cpu)) == here(on_cpu)


def test_predicting_needs_no_devices_of_the_training() -> None:
    asked = ["experiment=demo", "engine=ray", "training.precision=float16"]
    asked += ["engine.devices_per_fold=2", "engine.folds_at_once=3"]
    for device in ("auto", "cuda", "cpu"):
        slots = predicting_slots(load_config([*asked, f"engine.device={device}"]))
        assert len(slots) == 3
        assert not any("," in slot for slot in slots)


def test_without_ray_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"engine=ray needs Ray: pip install 'patientfold\[ray\]'"):
        ray_cluster.slots(load_config(["experiment=demo", "engine=ray"]))


def test_a_cluster_that_is_not_there_is_one_message_at_once() -> None:
    pytest.importorskip("ray")
    with socket.socket() as nobody:  # bound, but nobody listens
        nobody.bind(("127.0.0.1", 0))
        address = f"engine.address=127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(UserError, match=rf"^{address}: no Ray cluster answers .*refused"):
            ray_cluster.slots(load_config(["experiment=demo", "engine=ray", address]))


@pytest.mark.parametrize("address", ["ray://head:10001", "head", ""])
def test_an_address_is_that_of_a_head(address: str) -> None:
    with pytest.raises(UserError, match=r"engine.address"):
        load_config(["experiment=demo", "engine=ray", f"engine.address='{address}'"])
