"""Bodies: an If counts its dearest branch, a Loop or Scan its body times the trip count where that
is known, all else once. Parameters of all bodies count."""

from tests.ingest.quirky.figures import (
    BATCH,
    FLOAT_BYTES,
    GUESSED,
    INT32_BYTES,
    INT64_BYTES,
    ONCE,
    UNSIZED,
    Figures,
    inference,
    product,
    training,
)

NARROW_LINK = inference(1e4, 3e3)


def if_branches() -> Figures:
    """The deep branch: Gemm, Relu, MatMul. The shallow one: MatMul, Add."""
    deep = product(BATCH, 16, 64) + BATCH * 64 + product(BATCH, 64, 4)
    shallow = product(BATCH, 16, 4) + BATCH * 4
    mean = BATCH * 16 + 1
    floats = 32 * 16 + 1 + (16 * 64 + 64 + 64 * 4) + 16 * 4
    return Figures(
        5,
        product(BATCH, 32, 16) + mean + 1 + max(deep, shallow) + 5 * BATCH * 4,
        FLOAT_BYTES * floats,
        NARROW_LINK,
        ("hidden",),
    )


def loop_counted() -> Figures:
    """Five rounds of MatMul, Add, Tanh, ReduceSum."""
    body = product(BATCH, 8, 8) + 3 * BATCH * 8
    constants = 2 * INT64_BYTES + 1
    return Figures(
        4,
        product(BATCH, 24, 8) + BATCH * 8 + 5 * body + product(BATCH, 8, 3),
        FLOAT_BYTES * (24 * 8 + 8 * 8 + 8 * 3) + constants,
        inference(1e4, 1e4),
        ("drive",),
    )


def loop_open() -> Figures:
    """One round: MatMul, Tanh, ReduceMax, three scalars, a branch of one operation per element.
    The maximum over all rounds counts its one element."""
    body = product(BATCH, 8, 8) + 3 * BATCH * 8 + 3
    return Figures(
        5,
        product(BATCH, 24, 8) + body + 1 + product(BATCH, 8, 3) + BATCH * 3,
        FLOAT_BYTES * (24 * 8 + 8 * 8 + 8 * 3 + 1) + INT64_BYTES + 1,
        inference(1e6, 1e4),
        (),
        (UNSIZED, GUESSED, ONCE),
    )


def scan_backwards() -> Figures:
    """Twelve rounds of Gemm (10 -> 6), Add, Mul, Max."""
    return Figures(
        3,
        4 * BATCH * 12 * 6 + 12 * (product(BATCH, 10, 6) + 3 * BATCH * 6) + BATCH * 6,
        FLOAT_BYTES * (10 * 6 + 6),
        inference(1e5, 1e5),
        (),
    )


def sequence_map() -> Figures:
    """The body for one item, MatMul and Relu; the product of the joined items, whose number is not
    known, counts its output's elements."""
    return Figures(
        5,
        product(3, 40, 20) + product(1, 20, 5) + 5 + 3 * 2,
        FLOAT_BYTES * (40 * 20 + 20 * 5 + 5 * 2),
        training(1e6, 1e6),
        ("x",),
        (UNSIZED, GUESSED, ONCE),
    )


def nested() -> Figures:
    """Seven rounds of an If, of which one branch loops three times over a product, and two sums."""
    size = 2 * 16
    body = max(3 * product(2, 16, 16), size) + 2 * size
    return Figures(
        4,
        size + 7 * body + 7 * size + size,
        FLOAT_BYTES * 16 * 16 + INT64_BYTES + 1,
        training(1e6, 1e6),
        ("x", "items", "flag", "bias"),
    )


def search(*, beams: bool) -> Figures:
    """One step of the decoder for 4 tokens (the symbol ``length`` is bound to that in the body,
    too) and one of the past: sum of embeddings, Attention, sum, MatMul."""
    length, width, heads, vocabulary = 4, 8, 2, 20
    tokens, keys = BATCH * length, length + 1
    scores = BATCH * heads * length * keys
    decoder = (
        2 * tokens * width
        + product(tokens, width, 3 * width)
        + 2 * product(scores // keys, width // heads, keys)
        + (1 + 1 + 5) * scores  # scale, mask, softmax
        + product(tokens, width, vocabulary)
    )
    made = BATCH * (2 if beams else 1) * 12
    floats = (vocabulary + 32 + 3 * width + 3 + vocabulary) * width
    return Figures(
        3,
        tokens + decoder + made,  # Cast at either end
        FLOAT_BYTES * floats + (6 if beams else 3) * INT32_BYTES,
        training(1e6, 1e6),
        ("ids_32",),
        (UNSIZED, ONCE),
    )


def torch_cond() -> Figures:
    """8 -> 8, Relu, ReduceSum, Greater; the deep branch 8 -> 32, Relu, -> 4; 4 -> 2."""
    deep = product(BATCH, 8, 32) + BATCH * 32 + product(BATCH, 32, 4)
    shallow = product(BATCH, 8, 4) + BATCH * 8 + BATCH * 4
    floats = (8 * 8 + 8) + (8 * 32 + 32 + 32 * 4 + 4) + (8 * 4 + 4) + (4 * 2 + 2) + 1
    return Figures(
        6,
        product(BATCH, 8, 8) + 2 * BATCH * 8 + 1 + max(deep, shallow) + product(BATCH, 4, 2),
        FLOAT_BYTES * floats,
        training(1e6, 1e6),
        ("x",),
    )


def torch_loop() -> Figures:
    """One round: Gemm, Tanh, ReduceSum, Greater, Cast, and Mul in a branch; then 8 -> 2."""
    body = product(BATCH, 8, 8) + 2 * BATCH * 8 + 2 + BATCH * 8
    return Figures(
        2,
        body + product(BATCH, 8, 2),
        FLOAT_BYTES * (8 * 8 + 8 + 8 * 2 + 2 + 2) + 1,
        inference(1e6, 1e6),
        (),
        (ONCE,),
    )


def torch_scan() -> Figures:
    """Five rounds of Gemm, Add, Tanh for three samples; before them 6 -> 8, after them 8 -> 2."""
    return Figures(
        4,
        product(5 * 3, 6, 8) + 5 * 3 * 8 + 5 * (product(3, 8, 8) + 2 * 3 * 8) + product(3, 8, 2),
        FLOAT_BYTES * (6 * 8 + 8 + 8 * 8 + 8 + 8 * 2 + 2),
        training(1e6, 1e6),
        ("x", "state"),
    )


CONTROL_FLOW = {
    "control_flow/if_branches": if_branches(),
    "control_flow/loop_counted": loop_counted(),
    "control_flow/loop_open": loop_open(),
    "control_flow/scan_backwards": scan_backwards(),
    "control_flow/sequence_map": sequence_map(),
    "control_flow/nested": nested(),
    "control_flow/beam_search": search(beams=True),
    "control_flow/greedy_search": search(beams=False),
    "torch/cond": torch_cond(),
    "torch/loop": torch_loop(),
    "torch/scanned": torch_scan(),
}
