"""The words of foreign errors, cut to what a user can read."""

LONGEST = 500


def reason(error: BaseException) -> str:
    """The first line of what an error says, or its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0][:LONGEST] if lines else type(error).__name__
