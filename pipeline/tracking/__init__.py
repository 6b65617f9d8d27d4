"""The folds' journals and their mirror in MLflow; mlflow is imported here only, and lazily."""

from pipeline.tracking.background import BackgroundMirror
from pipeline.tracking.journal import Journal, JournalError, JournalTail, read_journal
from pipeline.tracking.mirror import Mirror
from pipeline.tracking.rebuild import sync
from pipeline.tracking.record import DatasetRecord, RunRecord
from pipeline.tracking.server import TrackingError
from pipeline.tracking.uri import absolute_tracking_uri, check_tracking_uri

__all__ = [
    "BackgroundMirror",
    "DatasetRecord",
    "Journal",
    "JournalError",
    "JournalTail",
    "Mirror",
    "RunRecord",
    "TrackingError",
    "absolute_tracking_uri",
    "check_tracking_uri",
    "read_journal",
    "sync",
]
