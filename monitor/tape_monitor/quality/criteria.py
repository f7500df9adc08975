"""What an output must fulfil. The defaults are the brief's; each is a setting of section ``data_harvest`` (``HarvestSettings``)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tape_collectors.settings import HarvestSettings, load


class Criteria(msgspec.Struct, frozen=True, kw_only=True):
    """Rates are shares (0 to 1), compared strictly (``<``); counts with ``≥``."""

    max_empty_bucket_rate: float = 0.001
    max_duplicate_rate: float = 0.005
    max_latency_p99_ms: float = 120.0
    max_latency_p50_ms: float = 60.0
    max_missing_rate: float = 0.001
    min_events_per_72h: int = 1000
    min_winsor_effect: float = 0.1


NAMES = tuple(field.name for field in msgspec.structs.fields(Criteria))


def criteria(flags: Mapping[str, object], file: str | None = None) -> Criteria:
    """flag > environment (``TAPE_<KEY>``) > file > default. Raises SettingsError."""
    settings = load(HarvestSettings, "data_harvest", {name: flags.get(name) for name in NAMES}, file)
    return Criteria(**{name: getattr(settings, name) for name in NAMES})
