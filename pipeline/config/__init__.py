"""Every setting of the commands: its type, unit and limit, and the door through which it comes."""

from pipeline.config.config import Config, leaves
from pipeline.config.door import defaults, to_config, to_settings
from pipeline.config.identity import DEFAULTS_VERSION, distinctive, flat, identity, written
from pipeline.config.leaf import PACKAGES, is_within, mappings
from pipeline.config.plain import fingerprint, is_day
from pipeline.config.plugins import plugin_facts
from pipeline.config.sections import (
    FORMER_METRICS,
    Aggregate,
    AuditConfig,
    AugmentConfig,
    Balance,
    ClassWeights,
    ColumnsConfig,
    EngineConfig,
    ImagesConfig,
    LossConfig,
    ManifestConfig,
    PatientLabel,
    PrivacyConfig,
    SamplerConfig,
    Scheme,
    SplitConfig,
    Target,
    ThresholdRule,
    TrainingConfig,
    Upload,
)
from pipeline.errors import ConfigError, UserError

__all__ = [
    "DEFAULTS_VERSION",
    "FORMER_METRICS",
    "PACKAGES",
    "Aggregate",
    "AuditConfig",
    "AugmentConfig",
    "Balance",
    "ClassWeights",
    "ColumnsConfig",
    "Config",
    "ConfigError",
    "EngineConfig",
    "ImagesConfig",
    "LossConfig",
    "ManifestConfig",
    "PatientLabel",
    "PrivacyConfig",
    "SamplerConfig",
    "Scheme",
    "SplitConfig",
    "Target",
    "ThresholdRule",
    "TrainingConfig",
    "Upload",
    "UserError",
    "defaults",
    "distinctive",
    "fingerprint",
    "flat",
    "identity",
    "is_day",
    "is_within",
    "leaves",
    "mappings",
    "plugin_facts",
    "to_config",
    "to_settings",
    "written",
]
