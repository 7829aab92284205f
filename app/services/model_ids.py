"""What identifies a model."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any


def model_id_of(
    sha256: str, bound_dims: Mapping[str, int], model_batch: int, parameters: Sequence[str]
) -> str:
    """The id of a model, made from what it identifies: the same upload always has the same.

    ``sha256``: of the file as it was uploaded. ``parameters``: as the upload named them.
    """
    identity: list[Any] = [sha256, sorted(bound_dims.items()), model_batch]
    if parameters:
        identity.append(sorted(parameters))
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]
