"""The mirror in one thread beside the training, which never waits for it and never fails by it."""

import shlex
import threading
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import Self

from pipeline.config import UserError
from pipeline.tracking.mirror import Mirror, Status
from pipeline.tracking.record import RunRecord
from pipeline.tracking.sharing import MirroredElsewhereError, Sharing


class BackgroundMirror(AbstractContextManager["BackgroundMirror"]):
    """Mirrors a run folder while the `with` block runs; everything mlflow happens in its thread.

    When the block ends it mirrors the rest and sets the statuses: FINISHED, or after an error
    FAILED, or after Ctrl-C KILLED. That is waited for at most `timeout_s` seconds.

    The thread waits `interval_s` seconds between rounds, `retry_s` after an error. `warn` is called
    with the first error, from the thread, and in the end if MLflow does not have everything. `uri`
    is the server; default: that in the folder's record. `folds` are those of this command, None for
    all: while another mirrors the folder, which may have its own, that one mirrors these too.
    `is_beside`: the command does something with a run whose folds are done; how it ends says
    nothing of them.
    """

    def __init__(
        self,
        run_dir: Path,
        warn: Callable[[str], None],
        timeout_s: float = 60.0,
        interval_s: float = 1.0,
        retry_s: float = 5.0,
        uri: str | None = None,
        folds: Collection[int] | None = None,
        is_beside: bool = False,
    ) -> None:
        self._run_dir = run_dir
        self._uri = uri
        self._folds = folds
        self._warn = warn
        self._timeout_s = timeout_s
        self._interval_s = interval_s
        self._retry_s = retry_s
        self._is_beside = is_beside
        self._closing = threading.Event()
        self._status: Status | None = None if is_beside else "FINISHED"
        self._error = ""
        self._is_complete = False
        self._thread = threading.Thread(target=self._run, name="mlflow-mirror", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None and not self._is_beside:
            self._status = "FAILED" if issubclass(kind, Exception) else "KILLED"
        self._closing.set()
        self._thread.join(self._timeout_s)
        if not self._is_complete:
            command = ["patientfold", "sync", f"run_dir={self._run_dir}", *self._server()]
            late = f"MLflow did not take everything within {self._timeout_s:g} s."
            self._warn(
                f"MLflow is behind the run folder, nothing is lost. {self._error or late} "
                f"To complete it later: {shlex.join(command)}"
            )

    def _server(self) -> list[str]:
        """The setting that names it: `sync` trusts no run folder with that alone."""
        with suppress(UserError):
            uri = RunRecord.load(self._run_dir).uri  # never one that came from the environment
            return [f"tracking.uri={uri}"] if "${" not in uri else []
        return []

    def _run(self) -> None:
        mirror: Mirror | None = None
        sharing: Sharing | None = None
        is_last = warned = False
        with ExitStack() as held:
            while not is_last:
                is_last = self._closing.is_set()
                try:
                    sharing = sharing or held.enter_context(Sharing(self._run_dir))
                    if is_last:
                        self._end(mirror, sharing)
                    else:
                        mirror = mirror or held.enter_context(Mirror(self._run_dir, self._uri))
                        if not self._is_beside:
                            mirror.begin()
                        mirror.catch_up()
                    self._error = ""
                except MirroredElsewhereError as error:  # by a command that trains other folds
                    self._error = str(error) if is_last else ""
                except Exception as error:  # noqa: BLE001  (tracking never harms the training)
                    self._error = str(error) or type(error).__name__
                    if not warned and not self._closing.is_set():
                        self._warn(f"{self._error} The training goes on; the mirror keeps trying.")
                        warned = True
                if not is_last:
                    self._closing.wait(self._retry_s if self._error else self._interval_s)

    def _end(self, mirror: Mirror | None, sharing: Sharing) -> None:
        """Mirror the rest, unless another mirrors it: that looks once more before it ends."""
        with sharing.ending(self._timeout_s) as is_last, ExitStack() as held:
            try:
                mirror = held.enter_context(mirror or Mirror(self._run_dir, self._uri))
                mirror.finish(self._status, None if is_last else self._folds)
            except MirroredElsewhereError:
                if is_last:  # no command is at work here: it is not one of ours
                    raise
            self._is_complete = True
