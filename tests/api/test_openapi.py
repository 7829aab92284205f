"""The OpenAPI document: complete, true, and with examples that run as they stand."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app.api.dependencies import IDEMPOTENCY_KEY
from app.api.examples import BATCH_ANSWER, BATCH_REQUEST, DEMO_MODEL_ID, MODEL, SPLIT_ANSWER
from app.api.profile_example import PROFILE_ANSWER, PROFILE_REQUEST
from app.demo.demo import DEMO_MODEL
from tests.server import Server, assert_problem, split

Json = dict[str, Any]
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
UNIT_SUFFIXES = ("_s", "_bytes", "_flops", "_flops_per_s", "_bits_per_s")
UNITS = re.compile(
    r"watts|"
    r"seconds|[Bb]ytes|[Bb]its|FLOPs|[Ss]amples|[Hh]ow many|Ids?\b|[Ii]d of|Extents|[Vv]ersion|"
    r"HTTP status|batches per round|integer|[Rr]ounds|Place (in|of)|Position in|share a kind"
)
"""What may stand for a unit: a unit, or what is counted, or that it is an id or a place."""


@pytest.fixture
def document(client: httpx.Client) -> Json:
    """The document as it is served."""
    answer: Json = client.get("/openapi.json").json()
    return answer


def operations(document: Json) -> Iterator[tuple[str, Json]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def fields(document: Json) -> Iterator[tuple[str, Json]]:
    for name, schema in document["components"]["schemas"].items():
        for field, facts in schema.get("properties", {}).items():
            yield f"{name}.{field}", facts


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        for key, value in part.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def resolve(document: Json, reference: str) -> Any:
    assert reference.startswith("#/")
    found: Any = document
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found


def test_document_keeps_the_rules_of_openapi(document: Json) -> None:
    """Version 3.1, every reference leads somewhere, operations have ids of their own, path
    parameters are declared, and every response is described."""
    assert document["openapi"].startswith("3.1.")
    assert document["info"]["title"]
    assert document["info"]["version"]
    for reference in references(document):
        resolve(document, reference)
    ids = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(ids)) == len(ids)
    tags = {tag["name"] for tag in document["tags"]}
    for path, item in document["paths"].items():
        assert path.startswith("/")
        assert set(item) <= set(METHODS)
        for operation in item.values():
            declared = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
            assert declared == set(re.findall(r"{(\w+)}", path))
            assert all(p["required"] for p in operation.get("parameters", []) if p["in"] == "path")
            assert operation["summary"]
            assert operation["description"]
            assert set(operation["tags"]) <= tags
            assert operation["responses"]
            for status, response in operation["responses"].items():
                assert re.fullmatch(r"[1-5]\d\d", status)
                assert response["description"] not in ("", "Successful Response")
                assert "X-Request-Id" in response["headers"]


def test_document_names_every_route(document: Json, server: Server) -> None:
    """The calls of the design's contract that this version has are all in the document."""
    assert server.url
    assert {name for name, _ in operations(document)} >= {
        "POST /models",
        "GET /models",
        "GET /models/{model_id}",
        "DELETE /models/{model_id}",
        "GET /models/{model_id}/graph",
        "GET /models/{model_id}/blocks",
        "GET /models/{model_id}/cuts",
        "POST /split",
        "POST /split/batch",
        "GET /splits",
        "GET /splits/{split_id}",
        "POST /profiles",
        "GET /profiles",
        "GET /profiles/{profile_id}",
        "DELETE /profiles/{profile_id}",
        "GET /presets",
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
    }


def test_calls_stand_with_their_like(document: Json) -> None:
    """Measured machines and common ones, which tell speeds, are one group."""
    tags = {name: operation["tags"] for name, operation in operations(document)}
    for name in ("POST /profiles", "GET /profiles/{profile_id}", "GET /presets"):
        assert tags[name] == ["profiles"]


def test_every_field_and_parameter_is_explained(document: Json) -> None:
    """Every field and parameter has a description; every one that holds a plain value has an
    example."""
    for name, facts in fields(document):
        # Where the two are the same, pydantic leaves it to the schema referred to.
        whole = {**resolve(document, facts["$ref"]), **facts} if "$ref" in facts else facts
        assert whole.get("description"), name
        if not list(references(facts)):
            assert facts.get("examples"), name
    for name, operation in operations(document):
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), (name, parameter["name"])
            # The name of a request is its client's own: the page may not fill in one for all.
            is_a_name = parameter["name"] == IDEMPOTENCY_KEY
            assert is_a_name != bool(parameter["schema"].get("examples")), (name, parameter["name"])
    for name, schema in document["components"]["schemas"].items():
        assert schema.get("description") or name.startswith("Body_"), name


def test_every_number_has_a_unit(document: Json) -> None:
    """The unit of every number stands in its name or in its description."""
    numbers = [
        (name, facts)
        for name, facts in fields(document)
        if {"integer", "number"} & {part.get("type") for part in (facts, *facts.get("anyOf", []))}
    ]
    assert len(numbers) > 40
    for name, facts in numbers:
        has_unit = name.endswith(UNIT_SUFFIXES) or UNITS.search(facts["description"])
        assert has_unit, (name, facts["description"])


def test_every_route_lists_its_problems(document: Json) -> None:
    """Every route lists the statuses of its problems, each as application/problem+json with an
    example of that status."""
    for name, operation in operations(document):
        responses = operation["responses"]
        problems = {status for status in responses if status[0] in "45"}
        expected = {"422", "503"}
        if "{" in name:
            expected.add("404")
        if "requestBody" in operation:
            expected |= {"400", "413", "415"}
        if name.startswith("POST /split"):
            expected.add("404")
        if name.endswith(".onnx"):
            expected.add("409")
        if name == "POST /models":
            expected |= {"403", "507"}
        assert problems == expected, name
        for status in problems:
            content = responses[status]["content"]
            assert list(content) == ["application/problem+json"]
            body = content["application/problem+json"]
            assert body["schema"] == {"$ref": "#/components/schemas/Problem"}
            assert body["example"]["status"] == int(status)


SPEEDS = ("flops_per_s", "profile_id", "preset")
"""Of which a machine has one."""


def request_examples(document: Json) -> list[tuple[str, str, Any]]:
    """(method, path, body) of every example of a JSON request body: those that the schema states
    as a whole, and those that the examples of its fields make together, with each of the ways to
    say how fast a machine is."""
    found = []
    for name, operation in operations(document):
        method, path = name.split()
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None:
            continue
        schema = resolve(document, content["schema"]["$ref"])
        wholes = [*schema.get("examples", [])]
        for speed in SPEEDS if path.startswith("/split") else SPEEDS[:1]:
            wholes.append(_from_fields(document, schema, {*SPEEDS} - {speed}))
        found += [(method, path, whole) for whole in wholes]
    return found


def _from_fields(document: Json, schema: Json, without: set[str]) -> Any:
    """What the examples of fields make together; a list of objects has one of them, and a machine
    is without some of its fields."""
    body = {}
    for field, facts in schema["properties"].items():
        if {*SPEEDS} <= set(schema["properties"]) and field in without:
            continue
        nested = facts.get("$ref")
        items = facts.get("items", {}).get("$ref")
        if nested is not None:
            body[field] = _from_fields(document, resolve(document, nested), without)
        elif items is not None:
            body[field] = [_from_fields(document, resolve(document, items), without)]
        else:
            body[field] = facts["examples"][0]
    return body


def test_examples_run_as_they_stand(client: httpx.Client, demo_model: Json, document: Json) -> None:
    """With the demo model uploaded, every request example of the document succeeds as it stands,
    and the answer has the fields of the documented answer, all the way down (and, where the example
    of each field is put in, what is told of the current cut, of profiles and of smashed data)."""
    assert demo_model["id"] == DEMO_MODEL_ID
    examples = request_examples(document)
    assert {path for _, path, _ in examples} == {"/split", "/split/batch", "/profiles", "/keys"}
    assert len(examples) == 4 + 4 + 2 + 2
    # A profile is there before it is named.
    examples.sort(key=lambda example: example[1] != "/profiles")
    for method, path, body in examples:
        response = client.request(method, path, json=body)
        assert response.status_code in (200, 201), response.text
        responses = document["paths"][path][method.lower()]["responses"]
        documented = responses.get("200") or responses["201"]
        schema = documented["content"]["application/json"]["schema"]
        example = resolve(document, schema["$ref"])["examples"][0]
        answer = response.json()
        if "current_cut" in body:
            assert answer.pop("switching")["decision"] in ("stay", "move")
        is_named = "profile_id" in json.dumps(body)
        if is_named and "valid_while" in answer:
            ranges = answer["valid_while"].items()
            answer["valid_while"] = {name: ends or [None, None] for name, ends in ranges}
        for part in (answer, *answer.get("answers", [])):
            assert ("device" in part.pop("profiles", {})) == (is_named and "delay" in part)
        for cut in (answer.get("cut", {}), *answer.get("cuts", [])):
            for tensor in cut.get("cut_tensors", []):
                is_cast = "smashed_dtype" in json.dumps(body)
                assert (tensor.pop("smashed_dtype", None) is not None) == is_cast
                tensor.pop("smashed_bytes", None)
        assert _shape(answer) == _shape(example)


def _shape(part: Any) -> Any:
    """The names of all fields; of a list, the shapes that its items have."""
    if isinstance(part, dict):
        return {key: _shape(value) for key, value in part.items()}
    if isinstance(part, list):
        return {str(_shape(value)) for value in part}
    return None


def test_documented_answers_are_the_real_ones(
    client: httpx.Client, demo_model: Json, document: Json
) -> None:
    """The documented summary and answer are what the service answers, but for ids, times, and the
    name, which is that of whoever uploaded the model first."""
    assert {**demo_model, "created_at": MODEL["created_at"], "name": MODEL["name"]} == MODEL
    _, _, body = request_examples(document)[0]
    answer = split(client, body)
    for moving in ("id", "created_at", "solve_s"):
        answer[moving] = SPLIT_ANSWER[moving]
    assert answer == _approximately(SPLIT_ANSWER)
    batch = client.post("/split/batch", json=BATCH_REQUEST)
    assert batch.json() == _approximately(BATCH_ANSWER)
    profile = client.post("/profiles", json=PROFILE_REQUEST).json()
    assert {**profile, "created_at": PROFILE_ANSWER["created_at"]} == _approximately(PROFILE_ANSWER)


def _approximately(part: Any) -> Any:
    if isinstance(part, dict):
        return {key: _approximately(value) for key, value in part.items()}
    if isinstance(part, list):
        return [_approximately(item) for item in part]
    return pytest.approx(part) if isinstance(part, float) else part


def test_parameter_examples_are_accepted(client: httpx.Client, demo_model: Json) -> None:
    """The examples of query and path parameters are right: no problem but that of a result that is
    only an example."""
    document = client.get("/openapi.json").json()
    assert client.post("/profiles", json=PROFILE_REQUEST).status_code in (200, 201)
    for name, operation in operations(document):
        method, path = name.split()
        if method != "GET":
            continue
        parameters = operation.get("parameters", [])
        first = {p["in"] + p["name"]: p["schema"]["examples"][0] for p in parameters}
        for parameter in parameters:
            if parameter["in"] == "path":
                value = first[f"path{parameter['name']}"]
                path = path.replace(f"{{{parameter['name']}}}", value)
        query = {p["name"]: first[f"query{p['name']}"] for p in parameters if p["in"] == "query"}
        response = client.get(path, params=query)
        if path.startswith("/splits/"):
            assert_problem(response, 404, "not-found")
        else:
            assert response.status_code == 200, response.text
    assert demo_model["id"]


def test_form_examples_are_accepted(client: httpx.Client, demo_model: Json) -> None:
    """The form that `/docs` fills in uploads the demo model: it is found to be there already."""
    document = client.get("/openapi.json").json()
    content = document["paths"]["/models"]["post"]["requestBody"]["content"]
    schema = resolve(document, content["multipart/form-data"]["schema"]["$ref"])
    form = {name: str(facts["examples"][0]) for name, facts in schema["properties"].items()}
    assert DEMO_MODEL.name == form.pop("file")
    with DEMO_MODEL.open("rb") as file:
        response = client.post("/models", files={"file": file}, data=form)
    assert response.status_code == 200
    assert response.json() == demo_model
