"""Graph inputs that are parameters by the word of whoever uploads the model."""

import pytest

from app.errors import BadBindingError
from app.ingest import IngestedModel, ingest
from tests.ingest.build import floats, model, node, parameters, value

TRAINING = model(
    [node("MatMul", "x w", "h", name="product"), node("Add", "h b", "y", name="sum")],
    [value("w", [4, "n"]), value("x", ["batch", 4]), value("b", ["n"])],
    [value("y", ["batch", "n"])],
    [floats("c", 1)],
)
"""A training graph: its weights ``w`` and ``b`` are inputs, the first of them before the data."""


def given(*names: str, **dims: int) -> IngestedModel:
    """The model with these inputs as parameters."""
    return ingest(TRAINING.SerializeToString(), dims, parameters=names)


def test_named_inputs_are_parameters() -> None:
    """They count as parameters of the nodes that use them, are no tensors, and do not state the
    batch; their symbolic dimensions are bound as those of other inputs are."""
    ingested = given("w", "b", batch=2, n=8)
    assert parameters(ingested.dag) == {"w": (128, ["product"]), "b": (32, ["sum"])}
    assert ingested.dag.tensor_names == ("x", "h", "y")
    assert ingested.dag.model_batch == 2
    assert ingested.dag.total_flops == 2 * 2 * 4 * 8 + 16


def test_without_a_word_they_are_data() -> None:
    """The same inputs cross from the device otherwise."""
    ingested = given(n=8)
    assert parameters(ingested.dag) == {}
    assert ingested.dag.tensor_names == ("w", "x", "b", "h", "y")


def test_an_initializer_is_a_parameter_anyway() -> None:
    """Naming one that the file holds changes nothing."""
    assert parameters(given("c", n=8).dag) == parameters(given(n=8).dag)


def test_names_that_are_no_inputs_are_refused() -> None:
    """An unknown name, or that of an inner tensor, is refused, and the inputs are listed."""
    for name in ("nowhere", "h", ""):
        with pytest.raises(BadBindingError, match="inputs are 'w', 'x', 'b'") as caught:
            given("w", name, n=8)
        assert caught.value.loc == ("parameters", 1)


def test_inputs_without_a_size_are_refused() -> None:
    """A parameter has a type and a shape."""
    proto = model([node("Add", "x w", "y")], [value("x"), value("w", None)], [value("y")])
    with pytest.raises(BadBindingError, match="'w', whose size is not known"):
        ingest(proto.SerializeToString(), parameters=["w"])
