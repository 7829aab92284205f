"""The reference runtime: a split inference over a real link, measured.

The instrument with which predictions are held against what happens, and no serving framework: one
device at a time, no encryption, no authentication.
"""

from app.execution.address import DEFAULT_PORT, Address
from app.execution.device import run_rounds
from app.execution.half import Half, RuntimeOptions
from app.execution.plan import Plan
from app.execution.results import TERMS, Execution, Spread
from app.execution.server import HalfServer, serve_half

__all__ = [
    "DEFAULT_PORT",
    "TERMS",
    "Address",
    "Execution",
    "Half",
    "HalfServer",
    "Plan",
    "RuntimeOptions",
    "Spread",
    "run_rounds",
    "serve_half",
]
