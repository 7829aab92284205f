"""Tenants: whose models, results, profiles and keys are whose."""

import re

DEFAULT_TENANT = "default"
"""Whose all is while keys are off, and what was stored before there were tenants."""
MOST_TENANT_CHARACTERS = 64
_TENANT = re.compile(rf"[a-z0-9][a-z0-9._-]{{0,{MOST_TENANT_CHARACTERS - 1}}}")


def is_tenant(text: str) -> bool:
    """Whether a text can name a tenant: lower-case letters, digits, dots, dashes, underscores."""
    return _TENANT.fullmatch(text) is not None
