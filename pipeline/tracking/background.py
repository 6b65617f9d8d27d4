"""The mirror in one thread beside the training, which never waits for it and never fails by it."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from pipeline.tracking.mirror import Mirror, Status


class BackgroundMirror:
    """Mirrors a run folder while the `with` block runs; everything mlflow happens in its thread.

    The thread waits `interval_s` seconds between rounds, `retry_s` after an error. The first error
    is reported through `warn`, which is called from the thread.
    """

    def __init__(
        self,
        run_dir: Path,
        warn: Callable[[str], None],
        interval_s: float = 1.0,
        retry_s: float = 5.0,
    ) -> None:
        self._run_dir = run_dir
        self._warn = warn
        self._interval_s = interval_s
        self._retry_s = retry_s
        self._closing = threading.Event()
        self._status: Status = "FINISHED"
        self._error = ""
        self._warned = False
        self._is_complete = False
        self._thread = threading.Thread(target=self._run, name="mlflow-mirror", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        is_error = kind is not None and issubclass(kind, Exception)
        self.close("FINISHED" if kind is None else "FAILED" if is_error else "KILLED")

    def close(self, status: Status, timeout_s: float = 60.0) -> str | None:
        """Mirror the rest, set the statuses and wait for it at most `timeout_s` seconds.

        Returns (and warns with) how to finish later if MLflow does not have everything, None if
        it has. Only the first call counts.
        """
        if self._closing.is_set():
            return None
        self._status = status
        self._closing.set()
        self._thread.join(timeout_s)
        if self._is_complete:
            return None
        reason = self._error or f"MLflow did not take everything within {timeout_s:g} s."
        message = (
            f"MLflow is behind the run folder, nothing is lost. {reason} "
            f"To complete it later: patientfold sync run_dir={self._run_dir}"
        )
        self._warn(message)
        return message

    def _run(self) -> None:
        with ExitStack() as held:
            mirror: Mirror | None = None
            is_last = False
            while not is_last:
                is_last = self._closing.is_set()
                try:
                    if mirror is None:
                        mirror = held.enter_context(Mirror(self._run_dir))
                    if not is_last:
                        mirror.begin()
                        mirror.catch_up()
                    else:
                        mirror.finish(self._status)
                        self._is_complete = True
                    self._error = ""
                except Exception as error:  # noqa: BLE001  (tracking never harms the training)
                    self._note(error)
                if not is_last:
                    self._closing.wait(self._retry_s if self._error else self._interval_s)

    def _note(self, error: Exception) -> None:
        self._error = str(error) or type(error).__name__
        if not self._warned and not self._closing.is_set():
            self._warned = True
            self._warn(f"{self._error} The training goes on; the mirror keeps trying.")
