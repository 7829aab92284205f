"""The examples of the OpenAPI document, all about the demo model that ``kerf demo`` uploads.

A test uploads that model, runs the requests as they stand and compares the answers with these.
"""

from typing import Any

DEMO_MODEL_ID = "6d5bb5e8b61e0e3042d36056e7831109"
SPLIT_ID = "5f0c1d2e3a4b5c6d7e8f901234567890"
PROFILE_ID = "dbda5e2c581e307a9a18c4d30ce13b31"
CURSOR = "MjAyNi0wMS0zMVQxMjowMDowMSswMDowMHw1ZjBjMWQyZTNhNGI1YzZkN2U4ZjkwMTIzNDU2Nzg5MA=="

MODEL: dict[str, Any] = {
    "id": DEMO_MODEL_ID,
    "name": "mobilenet_v2",
    "sha256": "a0067007c7558aaee230cf5305ff1f4b00b6c460be7f157b395b2def941f3cca",
    "created_at": "2026-01-31T12:00:00.000000+00:00",
    "ir_version": 10,
    "opsets": {"ai.onnx": 20},
    "nodes": 100,
    "tensors": 101,
    "flops": 607934720,
    "parameter_bytes": 13951304,
    "model_batch": 1,
    "bound_dims": {"batch": 1},
    "parameters": [],
    "graph_sha256": "2a98b53903523cdb45e38143d0a48966d6172272224e60ebec70950e2a056f6e",
    "inputs": [
        {"name": "pixel_values", "shape": [1, 3, 224, 224], "dtype": "float32", "bytes": 602112}
    ],
    "outputs": [{"name": "logits", "shape": [1, 1000], "dtype": "float32", "bytes": 4000}],
    "blocks": 50,
    "warnings": [],
    "weights": "external",
}

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

SPLIT_ANSWER: dict[str, Any] = {
    "id": SPLIT_ID,
    "model_id": DEMO_MODEL_ID,
    "created_at": "2026-01-31T12:00:01.000000+00:00",
    "cut": {
        "device_nodes": 98,
        "server_nodes": 2,
        "cut_tensors": [
            {"name": "mean", "shape": [1, 1280, 1, 1], "dtype": "float32", "bytes": 5120}
        ],
        "quantities": {
            "device_flops": 605374720.0,
            "server_flops": 2560000.0,
            "uplink_bytes": 5120,
            "gradient_bytes": 5120,
            "result_bytes": 4000,
            "device_parameter_bytes": 8827288,
            "device_activation_bytes": 52608384,
            "crossing_tensors": 1,
        },
    },
    "delay": {
        "total_s": 5.560555947785744,
        "device_compute_s": 0.43696220390977447,
        "server_compute_s": 6.350387596899225e-05,
        "uplink_s": 0.6553599999999999,
        "downlink_s": 0.131072,
        "round_trip_s": 0.1,
        "model_transfer_s": 4.23709824,
    },
    "baselines": {
        "device_only_s": 7.1354359434586465,
        "server_only_s": 77.1854165511938,
    },
    "objective_value": 5.560555947785744,
    "optimal": True,
    "gap": None,
    "method": "table",
    "solve_s": 0.0002,
    "valid_while": {
        "device_flops_per_s": [127399657101.44456, None],
        "server_flops_per_s": [1560436930.4066823, None],
        "uplink_bits_per_s": [None, None],
        "downlink_bits_per_s": [None, None],
    },
}

BATCH_REQUEST: dict[str, Any] = {
    "model_id": DEMO_MODEL_ID,
    "scenarios": [
        {
            "device": {"flops_per_s": 1.33e12, "memory_bytes": 2e8},
            "server": {"flops_per_s": 3.87e13},
            "link": {"uplink_bits_per_s": 2e7, "downlink_bits_per_s": 1e8, "round_trip_s": 0.01},
            "mode": "training",
            "batch_size": 8,
            "local_iterations": 10,
        },
        {
            "device": {"flops_per_s": 5e9},
            "server": {"flops_per_s": 3.87e13},
            "link": {"uplink_bits_per_s": 1e9, "downlink_bits_per_s": 1e9, "round_trip_s": 0.001},
            "mode": "inference",
        },
    ],
    "constraints": {"pin_device": [], "pin_server": [], "keep_inputs_on_device": True},
    "store": False,
}

BATCH_ANSWER: dict[str, Any] = {
    "model_id": DEMO_MODEL_ID,
    "cuts": [
        {
            "device_nodes": 10,
            "server_nodes": 90,
            "cut_tensors": [
                {
                    "name": "getitem_15",
                    "shape": [1, 24, 56, 56],
                    "dtype": "float32",
                    "bytes": 301056,
                },
            ],
            "quantities": {
                "device_flops": 102459392.0,
                "server_flops": 505475328.0,
                "uplink_bytes": 301056,
                "gradient_bytes": 301056,
                "result_bytes": 4000,
                "device_parameter_bytes": 26664,
                "device_activation_bytes": 20170752,
                "crossing_tensors": 1,
            },
        },
        {
            "device_nodes": 5,
            "server_nodes": 95,
            "cut_tensors": [
                {
                    "name": "getitem_6",
                    "shape": [1, 16, 112, 112],
                    "dtype": "float32",
                    "bytes": 802816,
                },
            ],
            "quantities": {
                "device_flops": 42549248.0,
                "server_flops": 565385472.0,
                "uplink_bytes": 802816,
                "gradient_bytes": 802816,
                "result_bytes": 4000,
                "device_parameter_bytes": 6984,
                "device_activation_bytes": 3211264,
                "crossing_tensors": 1,
            },
        },
    ],
    "answers": [
        {
            "id": None,
            "cut": 0,
            "delay": {
                "total_s": 11.694972763558384,
                "device_compute_s": 0.018488912842105264,
                "server_compute_s": 0.00313473071627907,
                "uplink_s": 9.633792,
                "downlink_s": 1.9267584,
                "round_trip_s": 0.1,
                "model_transfer_s": 0.01279872,
            },
            "objective_value": 11.694972763558384,
            "optimal": True,
        },
        {
            "id": None,
            "cut": 1,
            "delay": {
                "total_s": 0.015978987043720933,
                "device_compute_s": 0.008509849600000001,
                "server_compute_s": 1.4609443720930232e-05,
                "uplink_s": 0.006422528,
                "downlink_s": 3.2000000000000005e-05,
                "round_trip_s": 0.001,
                "model_transfer_s": 0.0,
            },
            "objective_value": 0.015978987043720933,
            "optimal": True,
        },
    ],
}
