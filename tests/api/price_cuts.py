"""What an orchestrator does that holds ``GET /models/{id}/cuts``: it prices the cuts itself."""

from typing import Any


def price_cuts(table: dict[str, Any], s: dict[str, Any]) -> tuple[float, dict[str, Any]]:
    """The least delay in seconds, and the row of ``GET /models/{id}/cuts?mode=`` that has it.

    For a device no faster than the server. ``s``: a body of POST /split with ``batch_size``,
    ``round_trip_s`` and, in training, ``local_iterations`` and ``backward_ratio`` stated.
    """
    n, k, back = (s["local_iterations"], 1 + s["backward_ratio"], "gradient_bytes") if table["mode"] == "training" else (1, 1, "result_bytes")  # noqa: E501  # fmt: skip
    b, up, down = n * s["batch_size"] / table["model_batch"], 8 / s["link"]["uplink_bits_per_s"], 8 / s["link"]["downlink_bits_per_s"]  # noqa: E501  # fmt: skip
    price = {"device_flops": b * k / s["device"]["flops_per_s"], "server_flops": b * k / s["server"]["flops_per_s"], "uplink_bytes": b * up, back: b * down, "device_parameter_bytes": (up + down) * (back == "gradient_bytes")}  # noqa: E501  # fmt: skip
    delays = [sum(price[q] * row["quantities"][q] for q in price) + n * s["link"]["round_trip_s"] * (row["server_nodes"] > 0) for row in table["cuts"]]  # noqa: E501  # fmt: skip
    return min(zip(delays, table["cuts"], strict=True), key=lambda pair: pair[0])
