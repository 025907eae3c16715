"""Reasons of failures, in one line each."""


class LeftOut(Exception):
    """Raised for a measurement that is not possible here. It is not an error."""


def reason(error):
    """The message of LeftOut; for other errors, their type and first line that is not blank."""
    if isinstance(error, LeftOut):
        return str(error)
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
