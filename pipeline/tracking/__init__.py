"""The folds' journals and their mirror in MLflow; mlflow is imported here only, and lazily."""

from pipeline.tracking.background import BackgroundMirror
from pipeline.tracking.journal import (
    VERSION,
    EpochEnded,
    Event,
    Failed,
    Journal,
    JournalError,
    JournalTail,
    Progressed,
    Started,
    read_journal,
    to_event,
    to_record,
)
from pipeline.tracking.mirror import Mirror, sync
from pipeline.tracking.record import DatasetRecord, RunRecord
from pipeline.tracking.result import read_result
from pipeline.tracking.server import TrackingError
from pipeline.tracking.uri import absolute_tracking_uri, check_tracking_uri

__all__ = [
    "VERSION",
    "BackgroundMirror",
    "DatasetRecord",
    "EpochEnded",
    "Event",
    "Failed",
    "Journal",
    "JournalError",
    "JournalTail",
    "Mirror",
    "Progressed",
    "RunRecord",
    "Started",
    "TrackingError",
    "absolute_tracking_uri",
    "check_tracking_uri",
    "read_journal",
    "read_result",
    "sync",
    "to_event",
    "to_record",
]
