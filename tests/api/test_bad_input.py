"""Bad input: each is refused with a problem that says what is wrong; nothing is stored; the service
goes on."""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import onnx
import pytest
from onnx import helper

from app.api.profile_example import PROFILE_REQUEST
from tests.fixture_models import BY_NAME
from tests.server import (
    DEMO_BYTES,
    assert_problem,
    chain,
    listed,
    model_of,
    scenario,
    split,
    upload,
)

Json = dict[str, Any]
JSON = "application/json"


@dataclass(frozen=True)
class Case:
    """A request that must be refused with this status and type, and with these words in detail."""

    name: str
    ask: Callable[[httpx.Client, str], httpx.Response]
    status: int
    kind: str
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


def uploads(
    label: str, data: bytes | None, kind: str, *words: str, status: int = 422, **fields: str
) -> Case:
    """A case of POST /models."""

    def ask(client: httpx.Client, _model_id: str) -> httpx.Response:
        if data is None:
            return client.post("/models", files={"name": (None, "x")})
        return upload(client, data, **fields)

    return Case(label, ask, status, kind, words)


def splits(
    name: str,
    kind: str,
    *words: str,
    status: int = 422,
    changes: Json | None = None,
    **more_changes: Any,
) -> Case:
    """A case of POST /split, by what it changes in a good request."""

    def ask(client: httpx.Client, model_id: str) -> httpx.Response:
        body = {**scenario(model_id), **(changes or {}), **more_changes}
        return client.post("/split", json=body)

    return Case(name, ask, status, kind, words)


def sends(
    name: str,
    edit: Callable[[str], str | bytes],
    status: int,
    kind: str,
    *words: str,
    content_type: str | None = "application/json",
) -> Case:
    """A case of POST /split, by what it makes of the text of a good request."""

    def ask(client: httpx.Client, model_id: str) -> httpx.Response:
        headers = {} if content_type is None else {"Content-Type": content_type}
        content = edit(json.dumps(scenario(model_id)))
        return client.post("/split", content=content, headers=headers)

    return Case(name, ask, status, kind, words)


def profiles(
    label: str, kind: str, words: str, loc: list[str | int], edit: Callable[[Json], object]
) -> Case:
    """A case of POST /profiles, by how a good body for the demo model is edited; the problem has to
    name the field at fault."""

    def ask(client: httpx.Client, model_id: str) -> httpx.Response:
        body = copy.deepcopy(PROFILE_REQUEST)
        assert body["models"][0]["model_id"] == model_id
        edit(body)
        content = json.dumps(body)
        response = client.post("/profiles", content=content, headers={"Content-Type": JSON})
        assert ["body", *loc] in [error["loc"] for error in response.json()["errors"]]
        return response

    return Case(f"profile: {label}", ask, 422, kind, (words,))


def seconds(body: Json) -> dict[str, float]:
    """Of the nodes of the only model of a profile."""
    found: dict[str, float] = body["models"][0]["node_seconds"]
    return found


def asks(method: str, path: str, status: int, kind: str, *words: str, **options: Any) -> Case:
    """A case of any call; ``{id}`` in the path is the demo model's."""

    def ask(client: httpx.Client, model_id: str) -> httpx.Response:
        return client.request(method, path.replace("{id}", model_id), **options)

    return Case(f"{method} {path}"[:80], ask, status, kind, words)


def node(op_type: str, inputs: list[str], outputs: list[str], **attributes: Any) -> Any:
    """A node, named after its operator."""
    return helper.make_node(op_type, inputs, outputs, name=f"the_{op_type}", **attributes)


def number(text: str) -> Callable[[str], str]:
    """Write this in place of the device's rate."""
    return lambda body: body.replace("5000000000.0", text)


RELU = chain("a", extents=("batch", 8))
BERT = BY_NAME["bert_base"].path.read_bytes()
CYCLE = model_of([node("Add", ["x", "y"], ["t"]), node("Relu", ["t"], ["y"])], (1,), (1,))
TWO_MAKERS = model_of([node("Relu", ["x"], ["y"]), node("Abs", ["x"], ["y"])], (1,), (1,))
WRONG_USE = model_of([node("Relu", ["x", "x"], ["y"])], (1,), (1,))
TOO_LARGE = model_of([node("Relu", ["x"], ["y"])], ("batch", 2**31, 2**31), ("batch", 2**31, 2**31))

MODELS = [
    uploads("not ONNX", b"This is not a model.", "not-onnx", "not an ONNX model"),
    uploads("zeros", bytes(1000), "not-onnx", "not an ONNX model"),
    uploads("a zip archive", b"PK\x03\x04" + bytes(100), "not-onnx"),
    uploads("empty file", b"", "not-onnx", "empty"),
    uploads("missing file", None, "invalid-request", "file"),
    *(
        uploads(f"truncated to {length} bytes", DEMO_BYTES[:length], "not-onnx", "upload")
        for length in (1, 2, 10, 100, 1000, len(DEMO_BYTES) // 2, len(DEMO_BYTES) - 1)
    ),
    uploads("unbound dimension", BERT, "unbound-dimension", "'sequence'", 'dims={"sequence": 128}'),
    uploads("unknown key in dims", RELU, "bad-binding", "'seq'", "'batch'", dims='{"seq": 1}'),
    uploads("zero in dims", RELU, "bad-binding", "'batch'", "to 0", dims='{"batch": 0}'),
    uploads("negative in dims", RELU, "bad-binding", "to -3", dims='{"batch": -3}'),
    uploads("fraction in dims", RELU, "bad-binding", "integer", dims='{"batch": 1.5}'),
    uploads("text in dims", RELU, "bad-binding", "integer", dims='{"batch": "2"}'),
    uploads("true in dims", RELU, "bad-binding", "integer", dims='{"batch": true}'),
    uploads("null in dims", RELU, "bad-binding", "integer", dims='{"batch": null}'),
    uploads("NaN in dims", RELU, "bad-binding", "integer", dims='{"batch": NaN}'),
    uploads("dims beyond 31 bits", RELU, "bad-binding", "2147483647", dims='{"batch": 2147483648}'),
    uploads("dims beyond 64 bits", RELU, "bad-binding", dims=f'{{"batch": {10**40}}}'),
    uploads("dims of too many digits", RELU, "bad-binding", dims=f'{{"batch": 1{"0" * 5000}}}'),
    uploads("dims not JSON", RELU, "bad-binding", "not JSON", dims='{"batch": '),
    uploads("dims not an object", RELU, "bad-binding", "object", dims="[1]"),
    uploads("dims null", RELU, "bad-binding", "object", dims="null"),
    uploads("dims nested deeply", RELU, "bad-binding", "not JSON", dims="[" * 100_000),
    uploads("a key twice", RELU, "bad-binding", "twice", dims='{"batch": 1, "batch": 2}'),
    uploads("a surrogate in dims", RELU, "bad-binding", dims='{"\\ud800": 1}'),
    uploads("zero batch", RELU, "invalid-request", "model_batch", model_batch="0"),
    uploads("fractional batch", RELU, "invalid-request", "model_batch", model_batch="1.5"),
    uploads("text for the batch", RELU, "invalid-request", "model_batch", model_batch="one"),
    uploads("huge batch", RELU, "invalid-request", "model_batch", model_batch="9" * 30),
    uploads("name too long", RELU, "invalid-request", "name", "200", name="x" * 201),
    uploads("control character in the name", RELU, "invalid-request", "name", name="a\x00b"),
    uploads("unknown form field", RELU, "invalid-request", "nmae", "unknown", nmae="x"),
    uploads(
        "unknown rank of an input",
        model_of([node("Relu", ["x"], ["y"])], None, (1,)),
        "unknown-shape",
        "'x'",
        "static shapes",
    ),
    uploads("a cycle", CYCLE, "invalid-model", "cycle"),
    uploads("a tensor of two nodes", TWO_MAKERS, "invalid-model", "'y'"),
    uploads("an operator used wrongly", WRONG_USE, "invalid-model", "Relu"),
    uploads("a long name in the model", chain("x" * 5000), "limit-exceeded", "4096"),
    uploads("parameters not JSON", RELU, "invalid-request", "not JSON", parameters="x"),
    uploads("parameters not a list", RELU, "invalid-request", "list", parameters='"x"'),
    uploads("parameters not names", RELU, "invalid-request", "names", parameters="[1]"),
    uploads("a parameter twice", RELU, "invalid-request", "twice", parameters='["x", "x"]'),
    uploads("parameters nested deeply", RELU, "invalid-request", parameters="[" * 100_000),
    uploads("unknown parameter", RELU, "bad-binding", "'nope'", parameters='["nope"]'),
    uploads("sizes beyond 64 bits", TOO_LARGE, "invalid-model", dims='{"batch": 2147483647}'),
    asks(
        "POST",
        "/models",
        422,
        "invalid-request",
        "other: unknown",
        files=[("file", ("a.onnx", RELU)), ("other", ("b.onnx", RELU))],
    ),
    asks(
        "POST",
        "/models",
        422,
        "invalid-request",
        "given twice",
        files=[("file", ("a.onnx", RELU)), ("file", ("b.onnx", RELU))],
    ),
    asks("POST", "/models", 422, "invalid-request", "file name", files={"file": (None, RELU)}),
    asks(
        "POST",
        "/models",
        415,
        "unsupported-media-type",
        "multipart/form-data",
        content=RELU,
        headers={"Content-Type": "application/octet-stream"},
    ),
    asks("POST", "/models", 415, "unsupported-media-type", "multipart", json={"file": "x"}),
    asks("POST", "/models", 422, "invalid-request", "file"),
    asks(
        "POST",
        "/models",
        400,
        "malformed-body",
        content=b"no parts at all",
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    ),
    asks(
        "POST",
        "/models",
        400,
        "malformed-body",
        "before the multipart form",
        content=b'--b\r\nContent-Disposition: form-data; name="file"; filename="m"\r\n\r\nabc',
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    ),
    asks(
        "POST",
        "/models",
        400,
        "malformed-body",
        "boundary",
        content=b"--b--",
        headers={"Content-Type": "multipart/form-data"},
    ),
    asks("POST", "/models?name=x", 422, "invalid-request", "query.name", files={"file": RELU}),
]

RATES = [
    splits(f"{label} {side}.{rate}", "invalid-request", f"{side}.{rate}", changes={side: body})
    for side, rate, others in (
        ("device", "flops_per_s", {}),
        ("server", "flops_per_s", {}),
        ("link", "uplink_bits_per_s", {"downlink_bits_per_s": 1e8}),
        ("link", "downlink_bits_per_s", {"uplink_bits_per_s": 1e8}),
    )
    for label, body in (
        ("zero", {rate: 0, **others}),
        ("negative", {rate: -1.0, **others}),
        ("text for", {rate: "1e9", **others}),
        ("true for", {rate: True, **others}),
        ("null for", {rate: None, **others}),
        ("no", others),
    )
]

SPLITS = [
    *RATES,
    sends("NaN", number("NaN"), 422, "invalid-request", "flops_per_s", "finite"),
    sends("Infinity", number("Infinity"), 422, "invalid-request", "flops_per_s", "finite"),
    sends("-Infinity", number("-Infinity"), 422, "invalid-request", "flops_per_s"),
    sends("beyond doubles", number("1e999"), 422, "invalid-request", "flops_per_s", "finite"),
    sends("400 digits", number("9" * 400), 422, "invalid-request", "flops_per_s"),
    sends("5000 digits", number("9" * 5000), 422, "invalid-request", "number out of range"),
    *(
        splits(f"absurdly small rates {rate}", "unpriceable", device={"flops_per_s": rate})
        for rate in (5e-324, 1e-308, 1e-300)
    ),
    splits(
        "absurdly slow link",
        "unpriceable",
        link={"uplink_bits_per_s": 1e-300, "downlink_bits_per_s": 1e-300},
        constraints={"pin_device": ["node_Conv_810"]},
    ),
    splits(
        "delays at the end of doubles",
        "unpriceable",
        device={"flops_per_s": 1e-298},
        server={"flops_per_s": 1e-298},
        local_iterations=1000,
    ),
    splits("absurd backward ratio", "unpriceable", backward_ratio=1e308, local_iterations=1000),
    splits(
        "absurd round trip",
        "unpriceable",
        local_iterations=1000,
        link={"uplink_bits_per_s": 1e8, "downlink_bits_per_s": 1e8, "round_trip_s": 1e308},
    ),
    splits("negative backward ratio", "invalid-request", "backward_ratio", backward_ratio=-1),
    splits("zero batch size", "invalid-request", "batch_size", batch_size=0),
    splits("fractional batch size", "invalid-request", "batch_size", batch_size=1.5),
    splits("batch size as a float", "invalid-request", "batch_size", batch_size=2.0),
    splits("batch size beyond 31 bits", "invalid-request", "batch_size", batch_size=2**31 + 1),
    splits("batch size beyond 64 bits", "invalid-request", "batch_size", batch_size=2**70),
    splits("zero iterations", "invalid-request", "local_iterations", local_iterations=0),
    splits("unknown mode", "invalid-request", "mode", "'training' or 'inference'", mode="both"),
    splits("unknown objective", "invalid-request", "objective", "delay", objective="joy"),
    splits("unknown method", "invalid-request", "method", "general", method="magic"),
    splits("text for a flag", "invalid-request", "store", store="no"),
    splits("unknown field", "invalid-request", "body.batchsize: unknown", batchsize=32),
    splits(
        "unknown field of the device",
        "invalid-request",
        "body.device.flops: unknown",
        device={"flops_per_s": 1e9, "flops": 1e9},
    ),
    splits(
        "unknown constraint",
        "invalid-request",
        "body.constraints.pin: unknown",
        constraints={"pin": ["node_Conv_810"]},
    ),
    splits("unknown model", "not-found", "'nope'", status=404, model_id="nope"),
    splits("unknown model id", "not-found", "0" * 32, status=404, model_id="0" * 32),
    splits("a null character for an id", "not-found", status=404, model_id="\x00"),
    splits("a long id", "invalid-request", "model_id", model_id="x" * 100_000),
    splits("a number for an id", "invalid-request", "model_id", model_id=7),
    splits(
        "pinned node that is not there",
        "unknown-node",
        "'node_Conv_81'",
        "near it are 'node_Conv_81",
        constraints={"pin_device": ["node_Conv_81"]},
    ),
    splits(
        "pinned node nothing like any",
        "unknown-node",
        "'\u2603'",
        constraints={"pin_server": ["\u2603"]},
    ),
    splits(
        "node pinned both ways",
        "contradictory-pins",
        "'node_Conv_810'",
        constraints={"pin_device": ["node_Conv_810"], "pin_server": ["node_Conv_810"]},
    ),
    splits(
        "pins against the order",
        "contradictory-pins",
        "'node_linear'",
        "'node_Conv_810'",
        "nothing flows back",
        constraints={"pin_device": ["node_linear"], "pin_server": ["node_Conv_810"]},
    ),
    splits(
        "inputs kept against a pin",
        "infeasible",
        "keep_inputs_on_device",
        "'pixel_values' (602112 bytes)",
        constraints={"pin_server": ["node_Conv_810"], "keep_inputs_on_device": True},
    ),
    splits(
        "too many pins",
        "invalid-request",
        "pin_device",
        "10000",
        constraints={"pin_device": ["node_Conv_810"] * 10_001},
    ),
    splits(
        "a pin of a megabyte",
        "invalid-request",
        "pin_device",
        constraints={"pin_device": ["x" * 1_000_000]},
    ),
    sends("malformed JSON", lambda body: body[:-1], 422, "invalid-request", "not JSON"),
    sends("single quotes", lambda body: body.replace('"', "'"), 422, "invalid-request", "not JSON"),
    sends("empty body", lambda _: "", 422, "invalid-request", "body"),
    sends("null", lambda _: "null", 422, "invalid-request", "body"),
    sends("a list", lambda body: f"[{body}]", 422, "invalid-request", "body"),
    sends("nested deeply", lambda _: "[" * 100_000, 422, "invalid-request", "recursion limit"),
    sends("not UTF-8", lambda _: b'{"model_id": "\xff"}', 422, "invalid-request", "unicode"),
    sends(
        "a surrogate for an id",
        lambda _: json.dumps(scenario("?")).replace("?", "\\ud800"),
        422,
        "invalid-request",
        "not JSON",
        "hex escape",
    ),
    sends(
        "a surrogate for a field",
        lambda body: body[:-1] + ', "\\ud800": 1}',
        422,
        "invalid-request",
    ),
    sends(
        "text/plain",
        str,
        415,
        "unsupported-media-type",
        "application/json",
        content_type="text/plain",
    ),
    sends("no content type", str, 415, "unsupported-media-type", content_type=None),
    sends(
        "a form",
        lambda _: "model_id=x",
        415,
        "unsupported-media-type",
        content_type="application/x-www-form-urlencoded",
    ),
    sends("a huge body", lambda body: body + " " * 2**24, 413, "content-too-large", "16777216"),
    asks("POST", "/split?foo=1", 422, "invalid-request", "query.foo: unknown", json={}),
    asks("POST", "/split?include=edges", 422, "invalid-request", "query.include", json={}),
]

MACHINES = [
    *(
        splits(
            f"{' and '.join(given)} of the {side}",
            "invalid-request",
            f"body.{side}.{second}: {' and '.join(given)} say the same thing",
            changes={side: {name: 1e9 if name == "flops_per_s" else "x" for name in given}},
        )
        for side in ("device", "server")
        for given, second in (
            (("flops_per_s", "profile_id"), "profile_id"),
            (("flops_per_s", "preset"), "preset"),
            (("profile_id", "preset"), "preset"),
            (("flops_per_s", "profile_id", "preset"), "profile_id"),
        )
    ),
    splits(
        "no machine", "invalid-request", "body.device.flops_per_s", device={"memory_bytes": 1e9}
    ),
    splits("unknown preset", "unknown-preset", "'jetson-tx2'", device={"preset": "jetson-tx"}),
    splits("a link for a device", "unknown-preset", "jetson-tx1", device={"preset": "lte"}),
    splits("unknown link", "unknown-preset", "'ethernet-1g'", link={"preset": "ethernet"}),
    splits("a long preset", "invalid-request", "link.preset", link={"preset": "x" * 65}),
    splits("a null character for a preset", "unknown-preset", server={"preset": "\x00"}),
    splits("half a link", "invalid-request", "downlink", link={"uplink_bits_per_s": 1e6}),
    splits(
        "null for a round trip", "invalid-request", link={"preset": "lte", "round_trip_s": None}
    ),
    splits(
        "another type of smashed data",
        "invalid-request",
        "body.link.smashed_dtype",
        "'float16' or 'int8'",
        link={"preset": "lte", "smashed_dtype": "float32"},
    ),
    splits("unknown profile", "not-found", "'nope'", status=404, device={"profile_id": "nope"}),
    splits("no such profile", "not-found", status=404, server={"profile_id": "0" * 32}),
    splits(
        "a null character for a profile", "not-found", status=404, server={"profile_id": "\x00"}
    ),
    splits("a number for a profile", "invalid-request", "profile_id", server={"profile_id": 7}),
    splits("a long profile id", "invalid-request", "profile_id", device={"profile_id": "x" * 65}),
]

WRONG: dict[str, tuple[Any, ...]] = {
    "whole_s": (0, -1, float("nan"), 86_401.0, "1", None),
    "flops_per_s": (-1, 1.01e18, float("inf"), "1"),
    "spread": (-0.1, float("nan")),
    "runs": (0, -1, 1.5, 2**31 + 1),
    "node_seconds": (None, [], 1),
    "model_id": (None, 7, "x" * 65),
    "seconds": (1,),
}
"""Of a model in a profile."""
MODELS_0: list[str | int] = ["models", 0]
PROFILES = [
    profiles(
        "unknown model",
        "invalid-profile",
        "upload it before",
        [*MODELS_0, "model_id"],
        lambda body: body["models"][0].update(model_id="0" * 32),
    ),
    profiles(
        "no model id",
        "invalid-profile",
        "there is no model '\\x00'",
        [*MODELS_0, "model_id"],
        lambda body: body["models"][0].update(model_id="\x00"),
    ),
    profiles(
        "a node that is not there",
        "invalid-profile",
        "no node named 'node_Conv_81'; near it are 'node_Conv_81",
        [*MODELS_0, "node_seconds", "node_Conv_81"],
        lambda body: seconds(body).update({"node_Conv_81": 0.0}),
    ),
    profiles(
        "a node that is missing",
        "invalid-profile",
        "the seconds of 1 of the model's 100 nodes are missing, 'n4_9'",
        [*MODELS_0, "node_seconds"],
        lambda body: seconds(body).pop("n4_9"),
    ),
    profiles(
        "no nodes",
        "invalid-request",
        "the nodes take 0 s together",
        [*MODELS_0, "node_seconds"],
        lambda body: seconds(body).clear(),
    ),
    *(
        profiles(
            f"{value} seconds of a node",
            "invalid-request",
            words,
            [*MODELS_0, "node_seconds", "n4"],
            lambda body, value=value: seconds(body).update(n4=value),  # type: ignore[misc]
        )
        for value, words in (
            (-1e-9, "greater than or equal to 0"),
            (float("nan"), "finite"),
            (float("inf"), "finite"),
            (86_401.0, "less than or equal to 86400"),
            ("1", "valid number"),
            (None, "valid number"),
            (True, "valid number"),
        )
    ),
    *(
        profiles(
            f"{value} for {name}",
            "invalid-request",
            name,
            [*MODELS_0, name],
            lambda body, name=name, value=value: body["models"][0].update({name: value}),  # type: ignore[misc]
        )
        for name, values in WRONG.items()
        for value in values
    ),
    profiles(
        "nodes that do not sum to the whole",
        "invalid-request",
        "agree within 5 %",
        [*MODELS_0, "node_seconds"],
        lambda body: seconds(body).update(n4=1.0),
    ),
    profiles(
        "FLOPS of another batch",
        "invalid-profile",
        "measure batches of 1 samples",
        [*MODELS_0, "flops_per_s"],
        lambda body: body["models"][0].update(flops_per_s=2 * body["models"][0]["flops_per_s"]),
    ),
    profiles(
        "a model twice",
        "invalid-request",
        "is there twice",
        ["models"],
        lambda body: body["models"].append(body["models"][0]),
    ),
    profiles(
        "no models", "invalid-request", "models", ["models"], lambda body: body["models"].clear()
    ),
    profiles(
        "too many models",
        "invalid-request",
        "100",
        ["models"],
        lambda body: body["models"].extend({**body["models"][0]} for _ in range(100)),
    ),
    *(
        profiles(
            f"{value!r} for {name}"[:60],
            "invalid-request",
            name,
            [name],
            lambda body, name=name, value=value: body.update({name: value}),  # type: ignore[misc]
        )
        for name, value in (
            ("name", ""),
            ("name", "x" * 201),
            ("name", "a\nb"),
            ("name", None),
            ("threads", 0),
            ("threads", 2**20 + 1),
            ("machine", None),
            ("nmae", "x"),
        )
    ),
    profiles(
        "no processor",
        "invalid-request",
        "machine.cpu",
        ["machine", "cpu"],
        lambda body: body["machine"].pop("cpu"),
    ),
    asks(
        "POST",
        "/profiles",
        422,
        "invalid-request",
        "not JSON",
        content="{",
        headers={"Content-Type": JSON},
    ),
    asks("POST", "/profiles", 415, "unsupported-media-type", content="{}"),
    asks("POST", "/profiles?x=1", 422, "invalid-request", "query.x", json=PROFILE_REQUEST),
    asks("GET", "/profiles/nope", 404, "not-found", "'nope'"),
    asks("DELETE", "/profiles/nope", 404, "not-found", "'nope'"),
    asks("DELETE", "/profiles/%00", 404, "not-found"),
    asks("GET", f"/profiles/{'x' * 65}", 422, "invalid-request", "profile_id"),
    asks("GET", "/profiles?limit=0", 422, "invalid-request", "limit"),
    asks("GET", "/profiles?cursor=abc", 422, "bad-cursor", "next_cursor"),
    asks("PUT", "/profiles", 405, "method-not-allowed", "GET, POST"),
]

OTHERS = [
    asks("GET", "/nothing", 404, "not-found", "/nothing", "/docs"),
    asks("GET", "/", 404, "not-found"),
    asks("GET", "/static/../main.py", 404, "not-found"),
    asks("GET", "/static/%2e%2e/%2e%2e/main.py", 404, "not-found"),
    asks("GET", "/models/nope", 404, "not-found", "'nope'"),
    asks("GET", "/models/%00", 404, "not-found"),
    asks("GET", "/models/%ff", 404, "not-found"),
    asks("GET", "/models/nope/graph", 404, "not-found", "'nope'"),
    asks("DELETE", "/models/nope", 404, "not-found", "'nope'"),
    asks("GET", "/splits/nope", 404, "not-found", "'nope'"),
    asks("GET", f"/models/{'x' * 65}", 422, "invalid-request", "model_id"),
    asks("GET", "/models/{id}/graph?format=dot", 422, "invalid-request", "format", "'graphml'"),
    asks("GET", "/models?limit=0", 422, "invalid-request", "limit"),
    asks("GET", "/models?limit=201", 422, "invalid-request", "limit", "200"),
    asks("GET", "/models?limit=-1", 422, "invalid-request", "limit"),
    asks("GET", "/models?limit=ten", 422, "invalid-request", "limit"),
    asks("GET", f"/models?limit={'9' * 30}", 422, "invalid-request", "limit"),
    asks("GET", "/models?Limit=1", 422, "invalid-request", "query.Limit: unknown"),
    asks("GET", "/splits?model=x", 422, "invalid-request", "query.model: unknown"),
    asks("GET", "/healthz?x=1", 422, "invalid-request", "query.x"),
    asks("DELETE", "/models/{id}?force=1", 422, "invalid-request", "query.force"),
    *(
        asks("GET", f"/{rows}?cursor={cursor}", 422, "bad-cursor", "next_cursor")
        for rows in ("models", "splits")
        for cursor in (
            "",
            "abc",
            "%00",
            "%C3%A9",
            "MjAyNnx4",  # 2026|x
            "MjAyNi0wMS0zMXw=",  # 2026-01-31|
            # 0001-01-01T00:00:00+14:00|000..., which is no moment of UTC
            "MDAwMS0wMS0wMVQwMDowMDowMCsxNDowMHwwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMA==",
        )
    ),
    asks("GET", f"/models?cursor={'x' * 201}", 422, "invalid-request", "cursor"),
    asks("PUT", "/models", 405, "method-not-allowed", "PUT", "GET, POST"),
    asks("GET", "/split", 405, "method-not-allowed", "allowed: POST"),
    asks("PATCH", "/models/{id}", 405, "method-not-allowed", "GET, DELETE"),
    asks("OPTIONS", "/split", 405, "method-not-allowed", "POST"),
    asks("POST", "/healthz", 405, "method-not-allowed", "GET"),
]


@pytest.mark.parametrize("case", [*MODELS, *SPLITS, *MACHINES, *PROFILES, *OTHERS], ids=str)
def test_bad_input_is_refused(client: httpx.Client, demo_model: dict[str, Any], case: Case) -> None:
    """The request is refused with a problem of the right type that says what is wrong, nothing is
    stored, and the next good request is answered."""
    before = [listed(client, f"/{rows}") for rows in ("models", "splits", "profiles")]
    body = assert_problem(case.ask(client, demo_model["id"]), case.status, case.kind)
    for word in case.words:
        assert word in body["detail"]
    assert [listed(client, f"/{rows}") for rows in ("models", "splits", "profiles")] == before
    assert split(client, scenario(demo_model["id"], store=False))["optimal"] is True


def test_every_prefix_of_a_model_is_refused(client: httpx.Client) -> None:
    """No model cut off anywhere is taken for a whole one, but where all that is cut off are the
    versions of its operators, which are then assumed with a warning."""
    data = chain("first", "second")
    (opset,) = onnx.load_from_string(data).opset_import
    whole_graph = len(data) - len(opset.SerializeToString()) - 2
    before = listed(client, "/models")
    for length in range(len(data)):
        response = upload(client, data[:length])
        if length == whole_graph:
            assert response.json()["warnings"]
            client.delete(response.headers["location"])
            continue
        assert response.status_code == 422, length
        assert response.json()["type"] in ("not-onnx", "invalid-model"), length
    assert listed(client, "/models") == before
    assert upload(client, data).status_code == 201


def test_field_errors_name_the_place(client: httpx.Client, demo_model: dict[str, Any]) -> None:
    """Every field at fault is listed with its path from the request's root, whether the schema or
    the domain refuses it."""
    body = scenario(demo_model["id"], device={"flops_per_s": 0}, mode="x", typo=1)
    problem = assert_problem(client.post("/split", json=body), 422, "invalid-request")
    assert sorted(error["loc"] for error in problem["errors"]) == [
        ["body", "device", "flops_per_s"],
        ["body", "mode"],
        ["body", "typo"],
    ]
    pins = {"pin_server": ["node_Conv_810", "no_such_node"]}
    response = client.post("/split", json=scenario(demo_model["id"], constraints=pins))
    problem = assert_problem(response, 422, "unknown-node")
    assert problem["errors"][0]["loc"] == ["body", "constraints", "pin_server", 1]
    problem = assert_problem(upload(client, RELU, dims='{"n": 1}'), 422, "bad-binding")
    assert problem["errors"][0]["loc"] == ["body", "dims", "n"]
    problem = assert_problem(client.get("/models/nope/graph"), 404, "not-found")
    assert problem["errors"][0]["loc"] == ["path", "model_id"]
    problem = assert_problem(client.get("/splits?cursor=x"), 422, "bad-cursor")
    assert problem["errors"][0]["loc"] == ["query", "cursor"]
