"""The versions that a model states: of the format, and of the operator sets that it uses.

Files leave them out, or state some that are newer than the onnx at hand. What can be told is told,
each with a warning; onnx's checker and its shape inference need all of them.
"""

from collections.abc import Iterable, Iterator, Mapping

import onnx
from onnx import ModelProto, helper

from app.errors import InvalidModelError
from app.ingest.captures import with_inner
from app.ingest.operators import AI_ONNX, domain_of

OLDEST_WITH_OPSETS = 3
"""Before this version of the format, models had no operator sets."""

LARGEST_VERSION = 2**31 - 1
NEWEST = {
    AI_ONNX: onnx.defs.onnx_opset_version(),
    "ai.onnx.ml": onnx.defs.onnx_ml_opset_version(),
}
"""The newest operator set that onnx knows, by domain."""


def settle_versions(model: ModelProto, functions_state: Mapping[str, int]) -> list[str]:
    """State the versions that a model leaves out, in place; a warning for each guess.

    ``functions_state``: the operator sets that functions, inlined by now, stated for themselves.
    Raises ``InvalidModelError`` for a version that cannot be.
    """
    warnings = []
    _leave_default_domain_empty(model)
    if model.ir_version > onnx.IR_VERSION:
        warnings.append(
            f"version {model.ir_version} of the ONNX format is newer than {onnx.IR_VERSION}, the "
            "newest that is known here: read as that one"
        )
        model.ir_version = onnx.IR_VERSION
    warnings.extend(_import_missing(model, functions_state))
    for item in model.opset_import:
        domain = item.domain or AI_ONNX
        newest = NEWEST.get(domain, LARGEST_VERSION)
        if item.version < 1:
            raise InvalidModelError(
                f"the model states operator set {item.version} of {domain}; there is none below 1"
            )
        if item.version > newest:
            warnings.append(
                f"operator set {item.version} of {domain} is newer than {newest}, the newest that "
                "is known here: operators are taken as that one defines them"
            )
            item.version = newest
    return warnings


def _leave_default_domain_empty(model: ModelProto) -> None:
    """Some files spell ai.onnx out, which onnx's checker does not know by that name."""
    for node in with_inner(model.graph.node):
        if node.domain == AI_ONNX:
            node.domain = ""
    imports = {item.domain: item.version for item in model.opset_import}
    if AI_ONNX in imports:
        imports.setdefault("", imports[AI_ONNX])
        del imports[AI_ONNX], model.opset_import[:]
        model.opset_import.extend(helper.make_opsetid(*item) for item in imports.items())


def _import_missing(model: ModelProto, functions_state: Mapping[str, int]) -> Iterator[str]:
    stated = {item.domain or AI_ONNX for item in model.opset_import}
    for domain in sorted({domain_of(node) for node in with_inner(model.graph.node)} - stated):
        if domain in functions_state:
            version = functions_state[domain]
        elif domain == AI_ONNX:
            version = _newest_opset_of(model.ir_version)
        else:
            version = 1
        model.opset_import.append(helper.make_opsetid("" if domain == AI_ONNX else domain, version))
        if domain not in functions_state:
            yield (
                f"the model does not say which operator set of {domain} it uses: taken as "
                f"version {version}"
            )


def _newest_opset_of(ir_version: int) -> int:
    """The newest operator set of ai.onnx that was released with a version of the format."""
    if ir_version < OLDEST_WITH_OPSETS:
        return 1
    released: Iterable[tuple[int, int]] = ((row[1], row[2]) for row in helper.VERSION_TABLE)
    return max(opset for version, opset in released if version <= ir_version)
