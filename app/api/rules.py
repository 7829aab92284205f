"""Rules about what fields hold, and about several fields together."""

from pydantic_core import PydanticCustomError

PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
"""Text without what a terminal or a log would take for more than text."""
FIELD = "field"
"""Where the error's context has the path of the field, from the body that the rule is about."""


def broken_rule(field: str, message: str) -> PydanticCustomError:
    """What a validator raises where a field does not go with the others."""
    return PydanticCustomError("broken_rule", "{message}", {"message": message, FIELD: (field,)})
