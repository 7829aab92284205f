"""What identifies a model."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from app.store.tenants import DEFAULT_TENANT


def model_id_of(
    sha256: str,
    bound_dims: Mapping[str, int],
    model_batch: int,
    parameters: Sequence[str],
    tenant_id: str = DEFAULT_TENANT,
) -> str:
    """The id of a model, made from what it identifies: the same upload of a tenant always has the
    same, and that of another tenant another one.

    ``sha256``: of the file as it was uploaded. ``parameters``: as the upload named them.
    """
    identity: list[Any] = [sha256, sorted(bound_dims.items()), model_batch]
    if parameters:
        identity.append(sorted(parameters))
    if tenant_id != DEFAULT_TENANT:
        identity.append({"tenant": tenant_id})
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]
