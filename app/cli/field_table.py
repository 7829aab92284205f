"""The options for the fields of ``POST /split``: one for every field that it has."""

from collections.abc import Sequence

from app.cli.fields import FieldOption
from app.cli.figures import BITS_PER_S, BYTES, FLOPS, SECONDS, WATTS, Unit


def _figure(
    path: str,
    flag: str,
    unit: Unit,
    example: str,
    text: str,
    panel: str,
    default: str | None = None,
) -> FieldOption:
    return FieldOption(path, flag, "figure", unit.metavar, text, panel, default, unit, example)


MACHINES, WORK, CHOICE = "Machines and link", "Work", "Choice of the cut"
ENERGY, SWITCHING = "Energy", "Stay or move"

SCENARIO = (
    _figure(
        "device.flops_per_s",
        "--device",
        FLOPS,
        "5e9 or 5G, or name a machine with --device-preset",
        "Forward speed of the device, FLOPs/s: 5e9 or 5G.",
        MACHINES,
    ),
    FieldOption(
        "device.profile_id",
        "--device-profile",
        "text",
        "ID",
        "Instead of --device: a machine that was measured, by the id of its profile.",
        MACHINES,
    ),
    FieldOption(
        "device.preset",
        "--device-preset",
        "text",
        "NAME",
        "Instead of --device: a common machine, such as jetson-tx2.",
        MACHINES,
    ),
    _figure(
        "server.flops_per_s",
        "--server",
        FLOPS,
        "5e12 or 5T, or name a machine with --server-preset",
        "Forward speed of the server, FLOPs/s: 5e12 or 5T.",
        MACHINES,
    ),
    FieldOption(
        "server.profile_id",
        "--server-profile",
        "text",
        "ID",
        "Instead of --server: a machine that was measured, by the id of its profile.",
        MACHINES,
    ),
    FieldOption(
        "server.preset",
        "--server-preset",
        "text",
        "NAME",
        "Instead of --server: a common machine, such as a100.",
        MACHINES,
    ),
    _figure(
        "link.uplink_bits_per_s",
        "--uplink",
        BITS_PER_S,
        "2e7 or 20M",
        "Bandwidth from device to server, bits/s: 2e7 or 20M.",
        MACHINES,
    ),
    _figure(
        "link.downlink_bits_per_s",
        "--downlink",
        BITS_PER_S,
        "1e8 or 100M",
        "Bandwidth from server to device, bits/s.",
        MACHINES,
    ),
    _figure(
        "link.round_trip_s",
        "--rtt",
        SECONDS,
        "0.01 or 10ms",
        "Round-trip time: 0.01 or 10ms.",
        MACHINES,
        default="0",
    ),
    FieldOption(
        "link.preset",
        "--link-preset",
        "text",
        "NAME",
        "A common link, such as lte, for those of --uplink, --downlink and --rtt that are left "
        "out.",
        MACHINES,
    ),
    FieldOption(
        "link.smashed_dtype",
        "--smashed-dtype",
        "text",
        "float16|int8",
        "What floating-point cut tensors are cast to, to cross in fewer bytes.",
        MACHINES,
        default="as they are",
    ),
    _figure(
        "device.run_overhead_s",
        "--device-run-overhead",
        SECONDS,
        "0.4ms",
        "What an iteration costs the device beside its nodes: 0.4ms.",
        MACHINES,
        default="as the profile has it, else 0",
    ),
    _figure(
        "server.run_overhead_s",
        "--server-run-overhead",
        SECONDS,
        "0.4ms",
        "The same of the server.",
        MACHINES,
        default="as the profile has it, else 0",
    ),
    _figure(
        "device.memory_bytes",
        "--memory",
        BYTES,
        "8e9, 8G or 8GiB",
        "Memory for the model on the device, bytes: 8G or 8GiB.",
        MACHINES,
        default="no limit",
    ),
    FieldOption(
        "mode",
        "--mode",
        "text",
        "training|inference",
        "Split learning, or one forward pass.",
        WORK,
        default="training",
    ),
    FieldOption(
        "batch_size",
        "--batch-size",
        "count",
        "N",
        "Samples per batch.",
        WORK,
        default="the batch that the model was bound to",
    ),
    FieldOption(
        "local_iterations",
        "--local-iterations",
        "count",
        "N",
        "Training: batches per round.",
        WORK,
        default="1",
    ),
    FieldOption(
        "backward_ratio",
        "--backward-ratio",
        "number",
        "RATIO",
        "Training: backward FLOPs over forward FLOPs.",
        WORK,
        default="2.0",
    ),
    FieldOption(
        "optimizer_states",
        "--optimizer-states",
        "count",
        "N",
        "Training, with --memory: values that the optimizer keeps per parameter (momentum 1, "
        "Adam 2).",
        WORK,
        default="0",
    ),
    FieldOption(
        "objective",
        "--objective",
        "text",
        "delay|energy|throughput",
        "What to minimise: seconds, joules of the device, or seconds of the slowest stage of an "
        "inference pipeline.",
        WORK,
        default="delay",
    ),
    _figure(
        "device.compute_w",
        "--compute-power",
        WATTS,
        "10",
        "What the device draws while it computes, watts.",
        ENERGY,
    ),
    _figure(
        "device.transmit_w",
        "--transmit-power",
        WATTS,
        "1.2",
        "What it draws while it sends, watts.",
        ENERGY,
    ),
    _figure(
        "device.receive_w",
        "--receive-power",
        WATTS,
        "0.9",
        "What it draws while it receives, watts.",
        ENERGY,
    ),
)
"""What a situation is."""

CHOOSING = (
    FieldOption(
        "constraints.pin_device",
        "--pin-device",
        "names",
        "NODE",
        "A node that must run on the device; may be given several times.",
        CHOICE,
    ),
    FieldOption(
        "constraints.pin_server",
        "--pin-server",
        "names",
        "NODE",
        "A node that must run on the server; may be given several times.",
        CHOICE,
    ),
    FieldOption(
        "constraints.keep_inputs_on_device",
        "--keep-inputs",
        "flag",
        None,
        "Privacy: no graph input crosses the link raw.",
        CHOICE,
    ),
    FieldOption(
        "method",
        "--method",
        "text",
        "auto|table|blockwise|general",
        "How to find the cut; all find the same optimum.",
        CHOICE,
        default="auto",
    ),
    FieldOption(
        "store",
        "--no-store",
        "flag",
        None,
        "Have the service not keep the result.",
        CHOICE,
        meant=False,
    ),
    FieldOption(
        "current_cut",
        "--current-split",
        "text",
        "ID",
        "The cut that runs now, by the id of a stored split of this model.",
        SWITCHING,
    ),
    FieldOption(
        "current_cut",
        "--current-tensor",
        "names",
        "NAME",
        "The cut that runs now, by its cut tensors; may be given several times.",
        SWITCHING,
    ),
    FieldOption(
        "current_cut",
        "--current-on-device",
        "flag",
        None,
        "Everything runs on the device now.",
        SWITCHING,
        meant=[],
    ),
    _figure(
        "switching_s",
        "--switching",
        SECONDS,
        "5 or 500ms",
        "What a move costs once: 5 or 500ms.",
        SWITCHING,
        default="0",
    ),
    FieldOption(
        "horizon_rounds",
        "--horizon",
        "count",
        "N",
        "Rounds within which a move has to pay for itself.",
        SWITCHING,
        default="1",
    ),
)
"""What is asked about it."""


def flags_of(loc: Sequence[str | int]) -> list[str]:
    """The options that fill in a field at fault."""
    path = ".".join(str(step) for step in loc if step != "body" and not isinstance(step, int))
    return [option.flag for option in (*SCENARIO, *CHOOSING) if option.path == path]
