"""The examples of the OpenAPI document, all about the demo model that ``kerf demo`` uploads.

A test runs the request as it is, and holds the answer's fields against the real one's.
"""

from typing import Any

DEMO_MODEL_ID = "00000000000000000000000000000000"

SPLIT_REQUEST: dict[str, Any] = {
    "model_id": DEMO_MODEL_ID,
    "device": {"flops_per_s": 1.33e12},
    "server": {"flops_per_s": 3.87e13},
    "link": {"uplink_bits_per_s": 2e7, "downlink_bits_per_s": 1e8, "round_trip_s": 0.01},
    "mode": "training",
    "batch_size": 32,
    "local_iterations": 10,
    "backward_ratio": 2.0,
    "objective": "delay",
    "constraints": {"pin_device": [], "pin_server": [], "keep_inputs_on_device": True},
    "method": "auto",
    "store": True,
}

MODEL: dict[str, Any] = {"sha256": ""}
SPLIT_ANSWER: dict[str, Any] = {}
