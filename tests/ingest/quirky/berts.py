"""BERT: 2 layers of width 16 with 2 heads and inner width 32, on texts of 8 tokens."""

from tests.ingest.quirky.figures import (
    BATCH,
    FLOAT_BYTES,
    HALF_BYTES,
    INT32_BYTES,
    INT64_BYTES,
    Figures,
    inference,
    product,
)

LENGTH, WIDTH, HEADS, INNER, LAYERS = 8, 16, 2, 32, 2
VOCABULARY, PLACES, KINDS = 64, 32, 2
TOKENS = BATCH * LENGTH
ALL = TOKENS * WIDTH
"""Elements of what flows between layers."""
WIDE = TOKENS * INNER
SCORES = BATCH * HEADS * LENGTH * LENGTH
PAIRS = BATCH * LENGTH * LENGTH
"""Elements of the mask, one for each query and key."""
POOLED = BATCH * WIDTH

PRODUCTS = 4 * product(TOKENS, WIDTH, WIDTH) + 2 * product(TOKENS, WIDTH, INNER)
"""Of one layer: query, key, value, output; wide, narrow."""
ATTENTION = 2 * product(SCORES // LENGTH, WIDTH // HEADS, LENGTH)
POOLER = product(BATCH, WIDTH, WIDTH)
NORM = 7 * ALL + 5 * TOKENS
"""LayerNormalization: 7 per element, 5 per token."""
NORM_IN_PARTS = 7 * ALL + 4 * TOKENS
"""ReduceMean, Sub, Pow, ReduceMean, Add, Sqrt, Div, Mul, Add: no reciprocal."""
NORMS = 1 + 2 * LAYERS
GELU, SOFTMAX = 5 * WIDE, 5 * SCORES
BIASES = 5 * ALL + WIDE
RESIDUALS = 2 * ALL
LAYER = PRODUCTS + ATTENTION + 2 * SCORES + SOFTMAX + BIASES + RESIDUALS + GELU
"""Scores are scaled and masked (2 each)."""
# Cast of the mask, Range over samples and places (2 per element), GreaterOrEqual and And over
# places, Max over tokens; And and Where over pairs.
MASK = TOKENS + 2 * BATCH + 2 * LENGTH + 2 * LENGTH + TOKENS + 2 * PAIRS
# The older exporter: three Casts of scalars, a second Range over places, a Cast and an And over
# places; Mul over samples, Add and Cast over tokens; Mul, Equal and Where over the 4 extents of a
# shape; And and Where over pairs.
LONG_MASK = TOKENS + 3 + 2 * BATCH + 4 * LENGTH + 3 * LENGTH + BATCH + 2 * TOKENS + 12 + 2 * PAIRS
# Of these ONNX Runtime drops the Casts but for the first, and works out the Mul over a shape.
EXTENDED_MASK = LONG_MASK - 3 - LENGTH - TOKENS - 4

BERT = 2 * ALL + MASK + LAYERS * LAYER + NORMS * NORM + POOLER + POOLED
"""Two sums of embeddings at the start, Tanh at the end."""
TORCHSCRIPT_BERT = BERT - MASK + LONG_MASK - NORMS * (NORM - NORM_IN_PARTS)

EMBEDDINGS = (VOCABULARY + PLACES + KINDS) * WIDTH
MATRICES = LAYERS * (4 * WIDTH * WIDTH + 2 * WIDTH * INNER)
VECTORS = LAYERS * (5 * WIDTH + INNER)
GAINS = SHIFTS = NORMS * WIDTH
POOLER_MATRIX = WIDTH * WIDTH
FLOATS = EMBEDDINGS + MATRICES + VECTORS + GAINS + SHIFTS + POOLER_MATRIX + WIDTH
NUMBERS_OF_PLACES = PLACES * INT64_BYTES
ARGUMENTS = NUMBERS_OF_PLACES + (8 + 2 * 2) * INT64_BYTES + 1
"""Eight integers, two pairs of them, a boolean."""
SCALARS = 3
"""What masked scores are set to, what the others are, the scale of scores."""
BERT_BYTES = FLOAT_BYTES * (FLOATS + SCALARS) + ARGUMENTS

SPLIT = inference(2e6, 1e6)
CAST_MASK = ("input_ids", "token_type_ids", "_to_copy")
"""Cast runs on the device: its booleans are an eighth of the mask's integers."""
TORCHSCRIPT_CAST_MASK = ("input_ids", "token_type_ids", "/model/Cast_output_0")


def float_bert() -> dict[str, Figures]:
    """As exported, as optimised, and with narrower weights."""
    narrow_floats = HALF_BYTES * (FLOATS + SCALARS) + ARGUMENTS
    # Blocks of 16 values of 4 bits, with a scale each.
    in_blocks = BERT_BYTES - FLOAT_BYTES * MATRICES + MATRICES // 2 + FLOAT_BYTES * MATRICES // 16
    fused_layer = (
        PRODUCTS
        + ATTENTION
        + 2 * SCORES  # scaled and masked within Attention, whose projection has the biases
        + SOFTMAX
        + 6 * WIDE  # BiasGelu
        + 2 * (2 * ALL + NORM)  # SkipLayerNormalization, which adds a bias as well
    )
    return {
        "torch/bert_dynamo": Figures(96, BERT, BERT_BYTES, SPLIT, CAST_MASK),
        # 65 integers, 20 scalars (3 of them as above).
        "torch/bert_torchscript": Figures(
            198,
            TORCHSCRIPT_BERT,
            FLOAT_BYTES * (FLOATS + 20) + NUMBERS_OF_PLACES + 65 * INT64_BYTES + 1,
            SPLIT,
            TORCHSCRIPT_CAST_MASK,
        ),
        # The scale of scores is an attribute of FusedMatMul; eight integers, two shapes of four.
        "optimised/bert_extended": Figures(
            116,
            BERT - MASK + EXTENDED_MASK,
            FLOAT_BYTES * (FLOATS + 2) + NUMBERS_OF_PLACES + (8 + 2 * 4) * INT64_BYTES + 1,
            SPLIT,
            TORCHSCRIPT_CAST_MASK,
        ),
        # The inputs are cast to 32 bits, and the mask is summed up per sample.
        "optimised/bert_fused": Figures(
            21,
            3 * TOKENS + 2 * ALL + NORM + TOKENS + LAYERS * fused_layer + POOLER + POOLED,
            FLOAT_BYTES * FLOATS + INT64_BYTES,
            SPLIT,
            ("/model/Cast_output_0_int32", "input_ids_int32", "token_type_ids_int32"),
            ("the model does not say which operator set of com.microsoft it uses",),
        ),
        # Both outputs are cast to 32 bits.
        "quantised/bert_float16": Figures(98, BERT + ALL + POOLED, narrow_floats, SPLIT, CAST_MASK),
        # The weights are dequantised beforehand by nodes of their own, or each time by their user.
        "quantised/bert_int4": Figures(96, BERT, in_blocks, SPLIT, CAST_MASK),
        "quantised/bert_matmul_nbits": Figures(
            96, BERT + 2 * MATRICES, in_blocks, SPLIT, CAST_MASK
        ),
    }


def qdq_bert() -> Figures:
    """QuantizeLinear (4) and DequantizeLinear (2) after each operator."""
    # The mask; embeddings and their sums (places once for all samples), the first norm.
    pairs = PAIRS + 5 * ALL + LENGTH * WIDTH
    # Of a layer: query, key, value by product, bias, Reshape and Transpose; scores by product,
    # scale, mask and softmax; the mix by product, Transpose and Reshape; output by product, bias,
    # sum and norm; wide by product, bias and Gelu; narrow by product, bias, sum and norm.
    pairs += LAYERS * (3 * 4 * ALL + 4 * SCORES + (3 + 4) * ALL + 3 * WIDE + 4 * ALL)
    pairs += 2 * POOLED
    # Scales and zero points: 75 tensors have one, 12 one for each of 16 channels, 2 of 32.
    scales = 75 + 12 * 16 + 2 * 32
    in_8_bits = EMBEDDINGS + MATRICES + POOLER_MATRIX + VECTORS + GAINS + 1
    in_32_bits = SHIFTS + WIDTH
    zero_points_of_32_bits = NORMS + WIDTH
    return Figures(
        234,
        BERT + 6 * pairs,
        in_8_bits
        + INT32_BYTES * in_32_bits
        + FLOAT_BYTES * scales
        + (scales - zero_points_of_32_bits)
        + INT32_BYTES * zero_points_of_32_bits
        + ARGUMENTS
        + FLOAT_BYTES * (SCALARS - 1),
        SPLIT,
        CAST_MASK,
    )


def qoperator_bert() -> Figures:
    """Operators on 8 bits; norms, Gelu and the mask stay in floating point."""
    to_float, to_bits, zero_point = 2, 4, 1
    add = 2 * to_float + 1 + to_bits
    multiply = 3 + to_bits
    layer = (
        PRODUCTS
        + ATTENTION
        + 3 * (zero_point + to_bits + add) * ALL  # query, key, value, with their biases
        + zero_point * ALL
        + to_bits * SCORES
        + (multiply + add + to_float + 5 + to_bits) * SCORES  # scale, mask, softmax
        + zero_point * SCORES
        + to_bits * ALL
        + (zero_point + to_bits + 2 * add + to_float) * ALL  # output: bias, sum
        + (to_bits + zero_point) * ALL
        + (to_bits + add + to_float + to_bits + zero_point) * WIDE
        + GELU
        + (to_bits + 2 * add + to_float) * ALL  # narrow: bias, sum
    )
    flops = 2 * add * ALL + to_float * ALL + NORMS * NORM + MASK + to_bits * PAIRS
    flops += LAYERS * (to_bits * ALL + layer)
    flops += POOLER + (to_bits + zero_point + to_bits + to_float + 1) * POOLED
    return Figures(
        112,
        flops,
        (EMBEDDINGS + MATRICES + POOLER_MATRIX + VECTORS + 1)
        + INT32_BYTES * WIDTH
        + FLOAT_BYTES * (GAINS + SHIFTS)
        + 78 * (FLOAT_BYTES + 1)
        + ARGUMENTS
        + FLOAT_BYTES * (SCALARS - 1),
        SPLIT,
        CAST_MASK,
    )


def dynamic_bert() -> Figures:
    """Before products DynamicQuantizeLinear (6 per element, and 8), which query, key and value
    share, a product of scales and 1 per element (zero point); after them Cast and Mul."""
    layer = 6 * (3 * ALL + WIDE) + 4 * 8 + 6 + (5 * ALL + WIDE) + 2 * (5 * ALL + WIDE)
    pooler = (6 + 1) * POOLED + 8 + 1 + 3 * POOLED  # the bias is an Add of its own
    looked_up = 2 * (2 * ALL + LENGTH * WIDTH)
    matrices = 6 * LAYERS + 1
    return Figures(
        148,
        BERT + LAYERS * layer + pooler + looked_up,
        (EMBEDDINGS + MATRICES + POOLER_MATRIX)
        + (3 + matrices) * (FLOAT_BYTES + 1)
        + FLOAT_BYTES * (VECTORS + GAINS + SHIFTS + WIDTH + SCALARS)
        + ARGUMENTS,
        SPLIT,
        CAST_MASK,
    )


BERTS = {
    **float_bert(),
    "quantised/bert_qdq": qdq_bert(),
    "quantised/bert_qoperator": qoperator_bert(),
    "quantised/bert_dynamic": dynamic_bert(),
}
