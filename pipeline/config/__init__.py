"""Every setting of the commands: its type, unit and limit, and the door through which it comes."""

from pipeline.config.config import Config
from pipeline.config.door import defaults, suggestion, to_config, to_settings
from pipeline.config.errors import ConfigError
from pipeline.config.identity import flat, identity
from pipeline.config.plain import fingerprint, is_day
from pipeline.config.sections import (
    FORMER_METRICS,
    AcceptedRule,
    AuditConfig,
    AugmentConfig,
    ColumnsConfig,
    EngineConfig,
    EvaluationConfig,
    ImagesConfig,
    InitConfig,
    LossConfig,
    ManifestConfig,
    PlanConfig,
    SamplerConfig,
    SplitConfig,
    Target,
    TrackingConfig,
    TrainingConfig,
)
from pipeline.errors import UserError

__all__ = [
    "FORMER_METRICS",
    "AcceptedRule",
    "AuditConfig",
    "AugmentConfig",
    "ColumnsConfig",
    "Config",
    "ConfigError",
    "EngineConfig",
    "EvaluationConfig",
    "ImagesConfig",
    "InitConfig",
    "LossConfig",
    "ManifestConfig",
    "PlanConfig",
    "SamplerConfig",
    "SplitConfig",
    "Target",
    "TrackingConfig",
    "TrainingConfig",
    "UserError",
    "defaults",
    "fingerprint",
    "flat",
    "identity",
    "is_day",
    "suggestion",
    "to_config",
    "to_settings",
]
