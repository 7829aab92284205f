"""Common devices, servers and links, each figure with its source.

The figures are in ``presets.toml``, whose head says how to add to them.
"""

from app.presets.loading import all_presets, link_named, machine_named
from app.presets.models import LinkPreset, MachinePreset, Presets

__all__ = [
    "LinkPreset",
    "MachinePreset",
    "Presets",
    "all_presets",
    "link_named",
    "machine_named",
]
