"""Why something failed, in a line."""


class LeftOut(Exception):
    """What cannot be measured here, and why; nothing is wrong."""


def reason(error):
    """The first line of an error that says something."""
    if isinstance(error, LeftOut):
        return str(error)
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
