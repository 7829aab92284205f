"""Bodies of requests and answers: what the OpenAPI document says of each field."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.api.examples import (
    CURSOR,
    DEMO_MODEL_ID,
    MODEL,
    PROFILE_ID,
    SPLIT_ANSWER,
    SPLIT_ID,
)
from app.api.rules import broken_rule
from app.core.smashed import SmashedDtype

Rate = Annotated[float, Field(gt=0)]
Seconds = Annotated[float, Field(ge=0)]
Watts = Annotated[float, Field(ge=0)]
NodeName = Annotated[str, Field(max_length=4096)]
ShortText = Annotated[str, Field(max_length=64)]


class RequestBody(BaseModel):
    """Unknown fields, text for numbers, NaN and infinities are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


_SPEEDS = ("flops_per_s", "profile_id", "preset")


class MachineIn(RequestBody):
    """How fast one side is, in one of three ways."""

    flops_per_s: Rate | None = Field(
        default=None,
        description="Sustained forward speed, in FLOPs per second (1 multiply-accumulate = 2 "
        "FLOPs). This, `profile_id` or `preset` is required.",
        examples=[1.33e12],
    )
    profile_id: ShortText | None = Field(
        default=None,
        description="Id of a measured machine (`POST /profiles`), in the place of `flops_per_s`: "
        "the seconds of this model's nodes, or, if it was measured with other models only, what "
        "it sustained over these; `profiles` in the answer says which.",
        examples=[PROFILE_ID],
    )
    preset: ShortText | None = Field(
        default=None,
        description="Name of a common machine (`GET /presets`), in the place of `flops_per_s`, for "
        "its speed; its memory and power count where you state them.",
        examples=["jetson-tx2"],
    )

    run_overhead_s: Seconds | None = Field(
        default=None,
        description="Seconds that an iteration costs this side beside its nodes, where any runs "
        "there: a half that has waited starts with cold caches. By default what was measured, "
        "where a profile is named, else 0. Not counted in a pipeline (`throughput`), which does "
        "not wait.",
        examples=[0.0004],
    )

    @model_validator(mode="after")
    def _has_one_speed(self) -> Self:
        if (self.flops_per_s is None) + (self.profile_id is None) + (self.preset is None) != 2:
            given = [name for name in _SPEEDS if getattr(self, name) is not None]
            if not given:
                raise broken_rule("flops_per_s", "Field required, or profile_id, or preset")
            raise broken_rule(
                given[1], f"{' and '.join(given)} say the same thing; give one of them"
            )
        return self


class DeviceIn(MachineIn):
    """The weak side."""

    memory_bytes: Rate | None = Field(
        default=None,
        description="Memory that the model may use on the device, in bytes. Inference: parameters "
        "and live activations; training: (2 + `optimizer_states`) times the parameters, and all "
        "activations.",
        examples=[8e9],
    )
    compute_w: Watts | None = Field(
        default=None,
        description="What the device draws while it computes, in watts; for the energy objective.",
        examples=[10.0],
    )
    transmit_w: Watts | None = Field(
        default=None,
        description="What the device draws while it sends, in watts; for the energy objective.",
        examples=[1.2],
    )
    receive_w: Watts | None = Field(
        default=None,
        description="What the device draws while it receives, in watts; for the energy objective.",
        examples=[0.9],
    )


class ServerIn(MachineIn):
    """The strong side."""


class LinkIn(RequestBody):
    """The link between them, as it is now."""

    uplink_bits_per_s: Rate | None = Field(
        default=None,
        description="Bandwidth from device to server, in bits per second. Required unless a "
        "`preset` has it.",
        examples=[2e7],
    )
    downlink_bits_per_s: Rate | None = Field(
        default=None,
        description="Bandwidth from server to device, in bits per second. Required unless a "
        "`preset` has it.",
        examples=[1e8],
    )
    round_trip_s: Seconds = Field(
        default=0.0,
        description="Round-trip time, in seconds; paid once per iteration if any node runs on "
        "the server. With a `preset`, that of the preset if left out.",
        examples=[0.01],
    )
    preset: ShortText | None = Field(
        default=None,
        description="Name of a common link (`GET /presets`), for those of the three figures that "
        "are left out; one that is given takes the place of the preset's.",
        examples=["lte"],
    )
    smashed_dtype: SmashedDtype | None = Field(
        default=None,
        description="What floating-point cut tensors, and their gradients, are cast to, to cross "
        "in fewer bytes: `float16`, or `int8` (one byte per element, and five per tensor for scale "
        "and zero point). Casts count as no FLOPs; one that would save nothing is not made. Halves "
        "under `/splits` have no casts in them; `kerf cut --smashed-dtype` makes halves that do.",
        examples=["float16"],
    )

    @model_validator(mode="after")
    def _has_both_rates(self) -> Self:
        if self.preset is None:
            for name in ("uplink_bits_per_s", "downlink_bits_per_s"):
                if getattr(self, name) is None:
                    raise broken_rule(name, "Field required, or a preset of the link")
        return self


class ConstraintsIn(RequestBody):
    """What every acceptable cut must satisfy."""

    pin_device: list[NodeName] = Field(
        default_factory=list,
        max_length=10_000,
        description="Names of nodes that must run on the device, with all that they depend on and "
        "all that an uncuttable tensor ties to these.",
        examples=[["node_Conv_810"]],
    )
    pin_server: list[NodeName] = Field(
        default_factory=list,
        max_length=10_000,
        description="Names of nodes that must run on the server, with all that depends on them and "
        "all that an uncuttable tensor ties to these.",
        examples=[[]],
    )
    keep_inputs_on_device: bool = Field(
        default=False,
        description="Privacy: no graph input may cross the link raw.",
        examples=[True],
    )


class ScenarioIn(RequestBody):
    """One situation."""

    device: DeviceIn = Field(description="The weak side.")
    server: ServerIn = Field(description="The strong side.")
    link: LinkIn = Field(description="The link between them, as it is now.")
    mode: Literal["training", "inference"] = Field(
        default="training",
        description="`training`: split learning, labels and loss on the server; `inference`: one "
        "forward pass.",
        examples=["training"],
    )
    batch_size: int | None = Field(
        default=None,
        ge=1,
        le=2**31,
        description="Samples per batch; the batch that the model was bound to if left out.",
        examples=[32],
    )
    local_iterations: int = Field(
        default=1,
        ge=1,
        le=2**31,
        description="Training only: batches per round, between two transfers of the device-side "
        "model.",
        examples=[10],
    )
    backward_ratio: float = Field(
        default=2.0,
        ge=0,
        description="Training only: backward FLOPs over forward FLOPs.",
        examples=[2.0],
    )
    optimizer_states: int = Field(
        default=0,
        ge=0,
        le=100,
        description="Training with `device.memory_bytes` only: values that the optimizer keeps per "
        "parameter (momentum 1, Adam 2).",
        examples=[0],
    )
    objective: Literal["delay", "energy", "throughput"] = Field(
        default="delay",
        description="What to minimise. `delay`: total seconds; `energy`: joules of the device "
        "(needs `device.compute_w`, `transmit_w`, `receive_w`); `throughput`: seconds of the "
        "slowest stage of an inference pipeline (device, uplink, server, downlink).",
        examples=["delay"],
    )

    @model_validator(mode="after")
    def _objective_has_what_it_needs(self) -> "ScenarioIn":
        if self.objective == "throughput" and self.mode != "inference":
            raise ValueError('objective "throughput" is one of inference; set mode to "inference"')
        if self.objective == "energy":
            missing = [
                name
                for name in ("compute_w", "transmit_w", "receive_w")
                if getattr(self.device, name) is None
            ]
            if missing:
                raise ValueError(f'objective "energy" needs device.{", device.".join(missing)}')
        return self


class SplitIn(ScenarioIn):
    """One situation to find the best cut for."""

    model_id: str = Field(
        description="Id of an uploaded model.", max_length=64, examples=[DEMO_MODEL_ID]
    )
    constraints: ConstraintsIn = Field(
        default_factory=ConstraintsIn, description="What every acceptable cut must satisfy."
    )
    method: Literal["auto", "table", "blockwise", "general"] = Field(
        default="auto",
        description="How to find the cut; every method gives the same optimum. `table`: the best "
        "row of the model's cut table. `blockwise` and `general`: minimum s-t cut on the DAG of "
        "blocks, or on the whole DAG, with a certificate (delay and energy, no memory limit). "
        "`auto`: the table, or what serves where a table is out of reach.",
        examples=["auto"],
    )
    store: bool = Field(
        default=True,
        description="Keep the result, to be read again under `/splits`.",
        examples=[True],
    )
    current_cut: Annotated[str, Field(max_length=64)] | list[NodeName] | None = Field(
        default=None,
        description="The cut that runs now: the id of a stored split of this model, or the names "
        "of its cut tensors (an empty list: everything is on the device). The answer then says "
        "whether to `stay` or `move` (delay and throughput objectives).",
        examples=[["pixel_values"]],
    )
    switching_s: Seconds = Field(
        default=0.0,
        description="With `current_cut`: what a move costs once, in seconds.",
        examples=[5.0],
    )
    horizon_rounds: int = Field(
        default=1,
        ge=1,
        le=2**31,
        description="With `current_cut`: rounds within which a move has to pay for itself.",
        examples=[100],
    )

    @model_validator(mode="after")
    def _switching_has_a_current_cut(self) -> "SplitIn":
        if self.current_cut is None and self.model_fields_set & {"switching_s", "horizon_rounds"}:
            raise ValueError("switching_s and horizon_rounds go with current_cut; name it")
        if self.current_cut is not None and self.objective == "energy":
            raise ValueError("current_cut weighs seconds; it does not go with energy")
        return self


class BatchIn(RequestBody):
    """Many situations of one model."""

    model_id: str = Field(
        description="Id of an uploaded model.", max_length=64, examples=[DEMO_MODEL_ID]
    )
    scenarios: list[ScenarioIn] = Field(
        min_length=1,
        max_length=10_000,
        description="The situations; answers come in the same order.",
    )
    constraints: ConstraintsIn = Field(
        default_factory=ConstraintsIn,
        description="What every acceptable cut must satisfy, in all scenarios.",
    )
    store: bool = Field(
        default=False,
        description="Keep every result, to be read again under `/splits`.",
        examples=[False],
    )


class TensorOut(BaseModel):
    """A tensor."""

    name: str = Field(description="Name in the model.", examples=["pixel_values"])
    shape: list[int] | None = Field(
        description="Extents for the bound batch; null where they are known only when the model "
        "runs.",
        examples=[[1, 3, 224, 224]],
    )
    dtype: str = Field(description="Element type.", examples=["float32"])
    bytes: int = Field(
        description="Size in bytes for the bound batch; 0 where it is known only when the model "
        "runs.",
        examples=[602112],
    )


class CutTensorOut(TensorOut):
    """A tensor that crosses, as the model has it; its size is always known."""

    shape: list[int] = Field(
        description="Extents for the bound batch.", examples=[[1, 3, 224, 224]]
    )
    bytes: int = Field(description="Size in bytes for the bound batch.", examples=[602112])
    smashed_dtype: SmashedDtype | None = Field(
        default=None,
        description="With `link.smashed_dtype`: what it is cast to; null where it crosses as it "
        "is.",
        examples=["float16"],
    )
    smashed_bytes: int | None = Field(
        default=None,
        description="With `link.smashed_dtype`: bytes that cross for it.",
        examples=[301056],
    )


class ModelOut(BaseModel):
    """What Kerf knows of a model."""

    id: str = Field(
        description="Id of the model: the same content, dimensions and batch have the same id.",
        examples=[DEMO_MODEL_ID],
    )
    name: str = Field(description="Name given at upload.", examples=["mobilenet_v2"])
    sha256: str = Field(
        description="SHA-256 of the uploaded file, hexadecimal.", examples=[MODEL["sha256"]]
    )
    created_at: datetime = Field(
        description="When it was uploaded, UTC.", examples=[MODEL["created_at"]]
    )
    ir_version: int = Field(description="ONNX IR version of the file.", examples=[10])
    opsets: dict[str, int] = Field(
        description="Operator set version by domain.", examples=[{"ai.onnx": 20}]
    )
    nodes: int = Field(description="How many operators run in each pass.", examples=[100])
    tensors: int = Field(description="How many tensors the nodes exchange.", examples=[101])
    flops: int = Field(
        description="Forward FLOPs for the bound batch (1 multiply-accumulate = 2 FLOPs).",
        examples=[MODEL["flops"]],
    )
    parameter_bytes: int = Field(
        description="Bytes of all distinct parameters.", examples=[MODEL["parameter_bytes"]]
    )
    model_batch: int = Field(
        description="Samples that the bound shapes hold; `batch_size` scales from it.", examples=[1]
    )
    bound_dims: dict[str, int] = Field(
        description="What each symbolic dimension was bound to.", examples=[{"batch": 1}]
    )
    parameters: list[str] = Field(
        description="Graph inputs that the upload named as parameters.", examples=[[]]
    )
    graph_sha256: str | None = Field(
        description="Digest of the graph's content: the same for a file with its weights and "
        "without; null for a model of an older version of Kerf.",
        examples=[MODEL["graph_sha256"]],
    )
    inputs: list[TensorOut] = Field(description="Graph inputs, which exist on the device.")
    outputs: list[TensorOut] = Field(description="Graph outputs.")
    blocks: int = Field(
        description="How many parts the DAG has between single connecting tensors.", examples=[50]
    )
    warnings: list[str] = Field(
        description="What was approximated, and how much of the FLOPs it touches.", examples=[[]]
    )
    weights: Literal["external", "kept", "not-kept"] = Field(
        description="Where the weights are. `external`: the uploaded file held none but those of "
        "1 KiB or less; `kept`: here, and in the halves; `not-kept`: with whoever has the file.",
        examples=["external"],
    )


class QuantitiesOut(BaseModel):
    """What a cut uses, for one batch of `model_batch` samples, forward."""

    device_flops: float = Field(description="FLOPs on the device.", examples=[6.054e08])
    server_flops: float = Field(description="FLOPs on the server.", examples=[2.56e06])
    uplink_bytes: int = Field(
        description="Bytes that cross for all tensors, each once, of the type in which they cross.",
        examples=[5120],
    )
    gradient_bytes: int = Field(
        description="The part of these for tensors that return a gradient in training.",
        examples=[5120],
    )
    result_bytes: int = Field(
        description="Bytes of graph outputs made on the server; uncuttable ones count as 0.",
        examples=[4000],
    )
    device_parameter_bytes: int = Field(
        description="Bytes of the distinct parameters that device nodes use.", examples=[8827288]
    )
    device_activation_bytes: int = Field(
        description="Training: bytes of the activations kept for the backward pass. Inference: "
        "peak bytes of live activations. Uncuttable tensors count as 0.",
        examples=[52608384],
    )
    crossing_tensors: int = Field(description="How many tensors cross.", examples=[1])


class CutOut(BaseModel):
    """Where the model is cut."""

    device_nodes: int = Field(description="How many nodes run on the device.", examples=[98])
    server_nodes: int = Field(description="How many nodes run on the server.", examples=[2])
    cut_tensors: list[CutTensorOut] = Field(description="The tensors that cross (smashed data).")
    quantities: QuantitiesOut = Field(description="What the cut uses.")


class DelayOut(BaseModel):
    """Where the time goes: one round in training, one pass in inference."""

    total_s: float = Field(description="Sum of the parts, in seconds.", examples=[5.561])
    device_compute_s: float = Field(
        description="Computation on the device, in seconds.", examples=[0.437]
    )
    server_compute_s: float = Field(
        description="Computation on the server, in seconds.", examples=[6.35e-05]
    )
    uplink_s: float = Field(description="Smashed data up, in seconds.", examples=[0.6554])
    downlink_s: float = Field(
        description="Gradients (training) or results (inference) down, in seconds.",
        examples=[0.1311],
    )
    round_trip_s: float = Field(description="Round trips, in seconds.", examples=[0.1])
    model_transfer_s: float = Field(
        description="Training: the device-side model down and up again, in seconds.",
        examples=[4.237],
    )


class BaselinesOut(BaseModel):
    """The delay of the two trivial cuts, whether or not the constraints allow them."""

    device_only_s: float = Field(
        description="Everything on the device, in seconds.", examples=[7.135]
    )
    server_only_s: float | None = Field(
        description="Everything on the server, in seconds; null where that is no cut of the model, "
        "as an uncuttable graph input keeps some of it on the device.",
        examples=[77.19],
    )


class ValidWhileOut(BaseModel):
    """For each rate alone, the range in which this cut stays best; null for an open end.

    Outside of it another cut is better, so that is when to ask again.
    """

    uplink_bits_per_s: tuple[float | None, float | None] = Field(
        description="Range of the uplink, bits/s.", examples=[[12345678.9, None]]
    )
    downlink_bits_per_s: tuple[float | None, float | None] = Field(
        description="Range of the downlink, bits/s.", examples=[[None, 2e8]]
    )
    device_flops_per_s: tuple[float | None, float | None] | None = Field(
        description="Range of the device's speed, FLOPs/s; null where measured seconds are priced, "
        "which hang on no such rate.",
        examples=[[5.5e11, None]],
    )
    server_flops_per_s: tuple[float | None, float | None] | None = Field(
        description="Range of the server's speed, FLOPs/s; null where measured seconds are priced.",
        examples=[[1e12, None]],
    )


class SwitchingOut(BaseModel):
    """Whether to leave the cut that runs."""

    decision: Literal["stay", "move"] = Field(
        description="`move` if the gain of `horizon_rounds` rounds exceeds `switching_s`, or the "
        "current cut is not allowed; else `stay`, and then `cut` is the current one.",
        examples=["stay"],
    )
    gain_s: float | None = Field(
        description="What the best cut saves per round over the current one, s; null where the "
        "current cut is not allowed.",
        examples=[0.02],
    )
    current_total_s: float | None = Field(
        description="The objective's value of the current cut, s; null where it is not allowed.",
        examples=[0.33],
    )
    switching_s: float = Field(description="As asked, s.", examples=[5.0])
    horizon_rounds: int = Field(description="As asked: how many rounds.", examples=[100])


class CertificateOut(BaseModel):
    """A proof of optimality by duality: no cut is below any flow, and these two meet."""

    cut_value: float = Field(description="Delay of the cut, in seconds.", examples=[5.561])
    flow_value: float = Field(description="Value of a feasible flow, in seconds.", examples=[5.561])


class NodeNamesOut(BaseModel):
    """The nodes of both sides, in topological order."""

    device: list[str] = Field(
        description="Names of the device's nodes.", examples=[["node_Conv_810"]]
    )
    server: list[str] = Field(
        description="Names of the server's nodes.", examples=[["node_linear"]]
    )


class UsedProfileOut(BaseModel):
    """What a profile told of one side."""

    profile_id: str = Field(description="Id of the profile.", examples=[PROFILE_ID])
    name: str = Field(description="Its name.", examples=["a laptop on battery"])
    used: Literal["node-seconds", "sustained-flops"] = Field(
        description="`node-seconds`: what was measured of each node of this model; "
        "`sustained-flops`: the profile knows other models only, so its FLOPS over these.",
        examples=["node-seconds"],
    )
    flops_per_s: float = Field(
        description="Sustained FLOPs per second: over this model, or over those that it knows.",
        examples=[1.2e10],
    )


class UsedProfilesOut(BaseModel):
    """What was used of the profiles that the request names."""

    device: UsedProfileOut | None = Field(description="Of the device; null where none is named.")
    server: UsedProfileOut | None = Field(description="Of the server; null where none is named.")


_LOSSES = {"10": 0.0, "25": 0.0, "50": 0.031}


class SensitivityOut(BaseModel):
    """How much the cut loses where a figure of the request is not what it is said to be.

    By percentage p (10, 25, 50): the share by which the objective's value of this cut exceeds the
    least that any allowed cut has, if the figure is really (1 + p/100) or (1 - p/100) times as
    high, whichever is worse. 0 where the cut stays best; null where it cannot be told.
    """

    device_flops_per_s: dict[str, float | None] = Field(
        description="Loss by percentage if the device's speed is off (as FLOPs/s, or as measured).",
        examples=[_LOSSES],
    )
    server_flops_per_s: dict[str, float | None] = Field(
        description="Loss by percentage if the server's speed is off (as FLOPs/s, or as measured).",
        examples=[_LOSSES],
    )
    bandwidth: dict[str, float | None] = Field(
        description="Loss by percentage if uplink and downlink are off together (bits/s).",
        examples=[_LOSSES],
    )


class SplitOut(BaseModel):
    """The best cut for one scenario."""

    id: str | None = Field(
        description="Id of the stored result; null if it was not stored.",
        examples=[SPLIT_ID],
    )
    model_id: str = Field(description="Id of the model.", examples=[DEMO_MODEL_ID])
    created_at: datetime = Field(
        description="When it was answered, UTC.", examples=[SPLIT_ANSWER["created_at"]]
    )
    cut: CutOut = Field(description="Where the model is cut.")
    delay: DelayOut = Field(description="What that costs.")
    baselines: BaselinesOut = Field(description="What the trivial cuts cost.")
    objective_value: float = Field(
        description="The minimised value: seconds for `delay`.", examples=[5.561]
    )
    optimal: bool = Field(description="Whether the cut is proved optimal.", examples=[True])
    gap: float | None = Field(
        default=None,
        description="Where `optimal` is false: how much better any cut can be at most, in seconds.",
        examples=[None],
    )
    method: Literal["table", "blockwise", "general", "integer-programme"] = Field(
        description="The method used.", examples=["table"]
    )
    solve_s: float = Field(description="Time that finding the cut took, s.", examples=[0.0001])
    valid_while: ValidWhileOut | None = Field(
        description="When to ask again; null from methods that do not tell (`general`), in stored "
        "results of a batch, and where the answer is to stay with a cut that is not the best.",
    )
    certificate: CertificateOut | None = Field(
        default=None, description="Proof of optimality, from the methods that give one."
    )
    switching: SwitchingOut | None = Field(
        default=None, description="Whether to leave the cut that runs, with `current_cut`."
    )
    nodes: NodeNamesOut | None = Field(
        default=None, description="Node names of both sides, with `include=nodes`."
    )
    profiles: UsedProfilesOut | None = Field(
        default=None, description="What was used of profiles, where the request names any."
    )
    sensitivity: SensitivityOut | None = Field(
        default=None,
        description="What the cut loses where a figure is off, with `include=sensitivity`.",
    )


class BatchAnswerOut(BaseModel):
    """The best cut for one of the scenarios."""

    id: str | None = Field(
        description="Id of the stored result; null if it was not stored.", examples=[None]
    )
    cut: int = Field(description="Place of the cut in `cuts`.", examples=[0])
    delay: DelayOut = Field(description="What it costs.")
    objective_value: float = Field(
        description="The minimised value: seconds for `delay` and `throughput`, joules for "
        "`energy`.",
        examples=[0.31],
    )
    optimal: bool = Field(description="Whether the cut is proved optimal.", examples=[True])
    profiles: UsedProfilesOut | None = Field(
        default=None, description="What was used of profiles, where the scenario names any."
    )


class BatchOut(BaseModel):
    """The best cuts for many scenarios: each distinct cut once."""

    model_id: str = Field(description="Id of the model.", examples=[DEMO_MODEL_ID])
    cuts: list[CutOut] = Field(description="The distinct cuts that are best somewhere.")
    answers: list[BatchAnswerOut] = Field(description="One answer per scenario, in order.")


class TableRowOut(CutOut):
    """A cut that can be best."""

    id: int = Field(description="Place in the table.", examples=[0])


class CutTableOut(BaseModel):
    """Every cut that can be best for a device no faster than the server.

    For any such scenario the least of `price . quantities` over these rows is the optimum.
    """

    model_id: str = Field(description="Id of the model.", examples=[DEMO_MODEL_ID])
    model_batch: int = Field(
        description="Samples that the quantities are for; scale all but the parameters.",
        examples=[1],
    )
    mode: Literal["training", "inference"] = Field(
        description="Mode that `device_activation_bytes` is for.", examples=["training"]
    )
    cuts: list[TableRowOut] = Field(description="The rows, in order of device FLOPs.")


class BlockOut(BaseModel):
    """A part of the DAG between two places where a single tensor connects before with after."""

    id: int = Field(description="Position in order.", examples=[0])
    kind: int = Field(
        description="Blocks of the same structure (operators, attributes, shapes) share a kind.",
        examples=[0],
    )
    nodes: list[int] = Field(description="Ids of its nodes in the graph.", examples=[[0]])
    input_tensor: str | None = Field(
        description="The tensor that connects it with what is before; null where several graph "
        "inputs do.",
        examples=["pixel_values"],
    )
    output_tensor: str | None = Field(
        description="The tensor that connects it with what is after; null where it ends in several "
        "graph outputs.",
        examples=["logits"],
    )
    flops: int = Field(description="Forward FLOPs.", examples=[21676032])
    can_hold_a_cut: bool = Field(
        description="Whether a cut that can be best (for a device no faster than the server) lies "
        "strictly inside.",
        examples=[False],
    )


class BlocksOut(BaseModel):
    """The blocks of a model, in order."""

    model_id: str = Field(description="Id of the model.", examples=[DEMO_MODEL_ID])
    blocks: list[BlockOut] = Field(description="The blocks.")


class GraphNodeOut(BaseModel):
    """An operator of the DAG."""

    id: int = Field(description="Id: its position in topological order.", examples=[0])
    name: str = Field(
        description="Name in the model, or one made for it.", examples=["node_Conv_810"]
    )
    op_type: str = Field(description="ONNX operator.", examples=["Conv"])
    flops: int = Field(description="Forward FLOPs.", examples=[21676032])
    block: int = Field(description="Id of its block.", examples=[0])


class GraphTensorOut(TensorOut):
    """A tensor of the DAG."""

    id: int = Field(description="Id: its position in the list.", examples=[0])
    producer: int | None = Field(
        description="Id of the node that makes it; null for a graph input.", examples=[None]
    )
    consumers: list[int] = Field(description="Ids of the nodes that use it.", examples=[[0]])
    is_output: bool = Field(description="Whether it is a graph output.", examples=[False])
    uncuttable: bool = Field(
        description="Whether it never crosses, as its size is known only when the model runs: its "
        "producer and its consumers are on one side in every cut (the device, for a graph input).",
        examples=[False],
    )


class GraphParameterOut(BaseModel):
    """A distinct parameter."""

    name: str = Field(
        description="Name in the model.",
        examples=["mobilenet_v2.conv_stem.first_conv.convolution.weight"],
    )
    bytes: int = Field(description="Size in bytes.", examples=[3456])
    users: list[int] = Field(description="Ids of the nodes that use it.", examples=[[0]])


class GraphOut(BaseModel):
    """The costed DAG."""

    nodes: list[GraphNodeOut] = Field(description="Operators in topological order.")
    tensors: list[GraphTensorOut] = Field(description="What they exchange.")
    parameters: list[GraphParameterOut] = Field(description="What the model carries.")


class NodeLinkOut(BaseModel):
    """The costed DAG in networkx's node-link form, for `networkx.node_link_graph`."""

    directed: bool = Field(description="Always true.", examples=[True])
    multigraph: bool = Field(description="Always true.", examples=[True])
    graph: dict[str, Any] = Field(description="Facts of the whole: none.", examples=[{}])
    nodes: list[dict[str, Any]] = Field(
        description="Operators and graph inputs.",
        examples=[[{"id": "node_conv2d", "op_type": "Conv", "flops": 21676032, "block": 0}]],
    )
    edges: list[dict[str, Any]] = Field(
        description="An edge per tensor and consumer.",
        examples=[[{"source": "input:pixel_values", "target": "node_conv2d", "key": 0}]],
    )


class ModelPage(BaseModel):
    """A page of models, newest first."""

    items: list[ModelOut] = Field(description="The models.")
    next_cursor: str | None = Field(
        description="Pass as `cursor` for the next page; null on the last.", examples=[CURSOR]
    )


class SplitPage(BaseModel):
    """A page of stored results, newest first."""

    items: list[SplitOut] = Field(description="The results.")
    next_cursor: str | None = Field(
        description="Pass as `cursor` for the next page; null on the last.", examples=[CURSOR]
    )


class HealthOut(BaseModel):
    """State of the process."""

    status: Literal["ok"] = Field(description="Always `ok` where it answers.", examples=["ok"])
    checks: dict[str, Any] | None = Field(
        default=None, description="What was checked.", examples=[{"database": "ok"}]
    )
