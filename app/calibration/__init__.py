"""Seconds per node, measured on the machine at hand."""

from app.calibration.calibrate import DEFAULT_SECONDS, calibrate
from app.calibration.calibration import Calibration, NodeTime, OpTypeTime
from app.calibration.machine import Machine, describe_machine
from app.calibration.made_up import with_made_up_weights

__all__ = [
    "DEFAULT_SECONDS",
    "Calibration",
    "Machine",
    "NodeTime",
    "OpTypeTime",
    "calibrate",
    "describe_machine",
    "with_made_up_weights",
]
