"""Decoders: GPT-2 of 2 layers, and one layer that takes and hands on keys and values."""

from tests.ingest.quirky.figures import (
    BATCH,
    FLOAT_BYTES,
    INT64_BYTES,
    Figures,
    inference,
    product,
    training,
)

WIDTH, HEADS, VOCABULARY, PLACES = 16, 2, 64, 32
HEAD = WIDTH // HEADS


def norm(tokens: int) -> int:
    """LayerNormalization: 7 per element, 5 per token."""
    return 7 * tokens * WIDTH + 5 * tokens


def gpt2() -> Figures:
    """Products are Gemms, whose biases are free; Gelu is tanh's form in 8 operators."""
    length, layers = 8, 2
    tokens = BATCH * length
    all_, scores, pairs = tokens * WIDTH, BATCH * HEADS * length**2, BATCH * length**2
    layer = (
        2 * norm(tokens)
        + product(tokens, WIDTH, 3 * WIDTH)
        + 2 * product(scores // length, HEAD, length)
        + (2 + 5) * scores  # scale, mask, softmax
        + product(tokens, WIDTH, WIDTH)
        + 2 * product(tokens, WIDTH, 4 * WIDTH)
        + 8 * tokens * 4 * WIDTH
        + 2 * all_  # residual connections
    )
    # Range over places and over samples (2 per element); Sub over samples, Add of a scalar; Sub,
    # Equal, Not, Cast, CumSum and two Max over tokens; Equal, And, LessOrEqual, And, Where over
    # pairs: the exporter numbers packed sequences.
    mask = 2 * length + 2 * BATCH + BATCH + 1 + 7 * tokens + 5 * pairs
    floats_of_layer = 4 * WIDTH + (3 + 1 + 4 + 4) * WIDTH**2 + (3 + 1 + 4 + 1) * WIDTH
    floats = VOCABULARY * WIDTH + PLACES * WIDTH + layers * floats_of_layer + 2 * WIDTH
    # The head is the embedding, but the exporter stores its transpose again. Besides: 12 integers,
    # 4 pairs of them, 8 scalars, a boolean.
    constants = (12 + 4 * 2) * INT64_BYTES + 8 * FLOAT_BYTES + 1
    return Figures(
        136,
        all_ + mask + layers * layer + norm(tokens) + product(tokens, WIDTH, VOCABULARY),
        FLOAT_BYTES * (floats + VOCABULARY * WIDTH) + constants,
        inference(2e6, 1e6),
        ("input_ids",),
    )


def decoders() -> dict[str, Figures]:
    """3 tokens after 5 of the past."""
    length, keys = 3, 8
    tokens, scores = BATCH * length, BATCH * HEADS * length * keys
    flops = (
        norm(tokens)
        + product(tokens, WIDTH, 3 * WIDTH)
        + tokens * 3 * WIDTH  # bias
        + 2 * product(scores // keys, HEAD, keys)
        + (1 + 5) * scores  # scale, softmax
        + product(tokens, WIDTH, WIDTH)
        + 2 * tokens * WIDTH  # bias, residual connection
        + product(tokens, WIDTH, VOCABULARY)
    )
    floats = VOCABULARY * WIDTH + 2 * WIDTH + (3 + 1) * WIDTH**2 + (3 + 1) * WIDTH
    # The transposed embedding is stored again.
    stored = FLOAT_BYTES * (floats + VOCABULARY * WIDTH)
    split = training(1e6, 1e6)
    raw = ("input_ids", "past_key", "past_value")
    return {
        "torch/decoder_dynamo": Figures(
            29, flops, stored + 6 * INT64_BYTES + FLOAT_BYTES, split, raw
        ),
        # The norm in parts (no reciprocal); the scale comes of Div, three Casts and Pow. Integers:
        # 11 numbers, 7 axes of one element (3 of Squeeze), and a split of three.
        "torch/decoder_torchscript": Figures(
            49,
            flops - tokens + 5,
            stored + (15 + 3) * INT64_BYTES + 3 * FLOAT_BYTES,
            split,
            raw,
        ),
    }


DECODERS = {"torch/gpt2_dynamo": gpt2(), **decoders()}
