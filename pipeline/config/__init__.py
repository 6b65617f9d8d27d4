"""Every setting of the commands: its type, unit and limit, and the door through which it comes."""

from pipeline.config.config import Config, leaves
from pipeline.config.door import defaults, description, suggestion, to_config, to_settings
from pipeline.config.errors import ConfigError
from pipeline.config.hydra_keys import refuse_hydra_keys, refuse_hydra_overrides
from pipeline.config.identity import DEFAULTS_VERSION, distinctive, flat, identity
from pipeline.config.leaf import PACKAGES, is_within, mappings
from pipeline.config.plain import fingerprint, is_day
from pipeline.config.plugins import make_importable, plugin_facts
from pipeline.config.sections import (
    AcceptedRule,
    Aggregate,
    AuditConfig,
    AugmentConfig,
    Balance,
    ClassWeights,
    ColumnsConfig,
    EngineConfig,
    EvaluationConfig,
    ImagesConfig,
    InitConfig,
    LossConfig,
    ManifestConfig,
    PatientLabel,
    PlanConfig,
    SamplerConfig,
    Scheme,
    SplitConfig,
    Target,
    ThresholdRule,
    TrackingConfig,
    TrainingConfig,
)
from pipeline.errors import UserError

__all__ = [
    "DEFAULTS_VERSION",
    "PACKAGES",
    "AcceptedRule",
    "Aggregate",
    "AuditConfig",
    "AugmentConfig",
    "Balance",
    "ClassWeights",
    "ColumnsConfig",
    "Config",
    "ConfigError",
    "EngineConfig",
    "EvaluationConfig",
    "ImagesConfig",
    "InitConfig",
    "LossConfig",
    "ManifestConfig",
    "PatientLabel",
    "PlanConfig",
    "SamplerConfig",
    "Scheme",
    "SplitConfig",
    "Target",
    "ThresholdRule",
    "TrackingConfig",
    "TrainingConfig",
    "UserError",
    "defaults",
    "description",
    "distinctive",
    "fingerprint",
    "flat",
    "identity",
    "is_day",
    "is_within",
    "leaves",
    "make_importable",
    "mappings",
    "plugin_facts",
    "refuse_hydra_keys",
    "refuse_hydra_overrides",
    "suggestion",
    "to_config",
    "to_settings",
]
