"""A comparison of runs as an MLflow run of its own, beside the runs that it compares."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.config import Upload, UserError, fingerprint
from pipeline.tracking.record import RunRecord
from pipeline.tracking.run import MirroredRun
from pipeline.tracking.server import connect, reaching
from pipeline.tracking.upload import allowed


def log_comparison(
    run_dir: Path,
    folder: Path,
    record: Mapping[str, Any],
    uri: str | None,
    upload: Upload | None = None,
) -> str:
    """Log `record` and the files of `folder` into the experiment of `run_dir`; says where.

    The same comparison made again is the same MLflow run. No patient is named in it. `upload`: what
    may be uploaded; default: what the run was made with.

    Raises:
        UserError: no server is known.
        TrackingError: the server cannot be reached.
    """
    tracked = RunRecord.load(run_dir)
    policy = upload or tracked.upload
    if uri is None:
        raise UserError(f"{run_dir} takes its server from the environment; name it: tracking.uri=")
    names = [record["first"], *(of["name"] for of in record["compared"])]
    with reaching(uri):
        client, experiment = connect(uri, tracked.experiment, tracked.select_by)
        uid = fingerprint(["comparison", record["metric"], record["level"], *names])
        run = MirroredRun(client, experiment, uid, f"compare {names[0]}", time.time())
        with run.closing():
            note = "\n\n".join(of["verdict"] for of in record["compared"])
            run.set_tags({"patientfold.role": "comparison", "mlflow.note.content": note})
            values = {}
            for of in record["compared"]:
                one = of["difference"]
                prefix = f"difference/{record['level']}/{record['metric']}/{of['name']}"
                values[prefix] = one["interval"]["value"]
                values |= {f"{prefix}_ci_{end}": one["interval"][end] for end in ("low", "high")}
                values[f"{prefix}_p"] = of["p"]
            run.log_final(values, time.time())
            for name in allowed(sorted(path.name for path in folder.iterdir()), policy):
                run.upload(folder / name)
    return f"logged to MLflow at {uri}: {tracked.experiment}, 'compare {names[0]}'"
