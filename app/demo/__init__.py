"""The demo: a real model, uploaded and split over HTTP."""

from app.demo.demo import DEMO_MODEL, run_demo

__all__ = ["DEMO_MODEL", "run_demo"]
