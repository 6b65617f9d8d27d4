"""The Dockerfile, without a Docker: what goes in, who runs it, and that its files are there."""

import re
import shlex
import tomllib
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    """(FROM, python:3.12-slim AS build), ...: without comments, each on one line."""
    lines = [line for line in TEXT.splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    found = [line.partition(" ") for line in joined.splitlines() if line.strip()]
    return [(word, " ".join(rest.split())) for word, _, rest in found]


def of(word: str) -> list[str]:
    return [rest for name, rest in instructions() if name == word]


def ignore_rules() -> list[str]:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def is_let_in(path: str) -> bool:
    """As Docker decides: the last rule that matches the path, or a folder above it."""
    let_in = True
    parts = Path(path).parts
    above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    for rule in ignore_rules():
        pattern = rule.removeprefix("!").removeprefix("**/")
        names = parts if "**/" in rule else above
        if any(fnmatch(name, pattern) for name in names):
            let_in = rule.startswith("!")
    return let_in


def test_every_instruction_is_one_of_docker() -> None:
    known = {"FROM", "ARG", "ENV", "WORKDIR", "RUN", "COPY", "USER", "ENTRYPOINT", "CMD"}
    words = [name for name, _ in instructions()]
    assert set(words) == known
    assert words[0] == "FROM"


def test_base_images_have_a_version_and_no_host() -> None:
    images = [image.split(" AS ")[0] for image in of("FROM")]
    assert len(images) == 2
    for image in images:
        assert re.fullmatch(r"[a-z]+:\d+\.\d+-slim", image), image
    assert not re.search(r"https?://|\.(com|io|org|net)\b", TEXT)


def test_its_python_is_one_that_is_tested() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    (version,) = {image.split(":")[1].split("-")[0] for image in of("FROM")}
    assert f'"{version}"' in workflow


def test_the_device_is_an_argument_and_is_checked() -> None:
    arguments = dict(argument.split("=", 1) for argument in of("ARG"))
    assert arguments["DEVICE"] in ("cpu", "cuda")
    assert arguments["TORCH_INDEX"] == ""
    extras = arguments["EXTRAS"].strip("[]").split(",")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(extras) <= project["optional-dependencies"].keys()
    torch, check, package = [run for run in of("RUN") if "torch" in run or "EXTRAS" in run]
    assert "--index-url" in torch
    assert "$DEVICE" in check
    assert "-c constraints.txt" in package


def test_the_check_of_the_device_tells_the_builds_of_torch_apart() -> None:
    """The very line, with a torch of each kind."""
    (check,) = [run for run in of("RUN") if "$DEVICE" in run]
    code = shlex.split(check)[2]
    for device in ("cpu", "cuda", "tpu"):
        for built_for in (None, "12.8"):
            stopped = _stops(code.replace("$DEVICE", device), built_for)
            assert stopped == (device != ("cuda" if built_for else "cpu"))


def _stops(code: str, cuda: str | None) -> bool:
    line = code.replace("import torch;", f"torch = T({cuda!r});")
    prefix = "class T:\n    def __init__(self, cuda): self.version, self.cuda = self, cuda\n"
    try:
        exec(prefix + line, {})
    except AssertionError as error:
        return "TORCH_INDEX" in str(error)
    return False


def test_nobody_has_rights_in_it() -> None:
    words = [name for name, _ in instructions()]
    (user,) = of("USER")
    assert user not in ("root", "0")
    (made,) = [run for run in of("RUN") if "useradd" in run]
    assert user in made
    assert "chown" in made
    last_from = len(words) - 1 - words[::-1].index("FROM")
    after = words[last_from:]
    assert after.index("USER") < after.index("ENTRYPOINT")
    assert "RUN" not in after[after.index("USER") :]
    assert of("ENTRYPOINT") == ['["patientfold"]']


def test_what_is_copied_is_there_and_is_let_in() -> None:
    copied = [part for rest in of("COPY") if "--from" not in rest for part in rest.split()[:-1]]
    assert {"pipeline", "conf", "data_manifests", "pyproject.toml", "setup.py"} <= set(copied)
    for path in copied:
        assert (ROOT / path).exists(), path
        assert is_let_in(path), path
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {project["readme"], *project["license-files"]} <= set(copied)


def test_no_data_goes_in() -> None:
    assert ignore_rules()[0] == "*"
    for path in (
        *("runs/demo/0123/predictions.csv", "demo/manifest.csv", "my.csv", "mlflow.db", ".git"),
        *("patientfold.key", ".cache/images/x.npy", "mlartifacts/a", "ledger.jsonl", ".venv/bin"),
        *("tests/conftest.py", "pipeline/__pycache__/x.pyc", "examples/radiographs.ipynb", "data"),
    ):
        assert not is_let_in(path), path
    assert is_let_in("pipeline/commands/cv.py")
    assert is_let_in("data_manifests/recipes/lidc.yaml")


def test_the_page_on_containers_names_its_arguments() -> None:
    page = (ROOT / "docs" / "docker.md").read_text(encoding="utf-8")
    named = set(re.findall(r"--build-arg '?(\w+)=", page)) | set(re.findall(r"EXTRAS", page))
    assert named == {argument.split("=")[0] for argument in of("ARG")}
    assert "Not tested" in page
