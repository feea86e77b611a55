"""The two kinds of error that end a command with one clear message instead of a traceback."""


class FleetprofError(Exception):
    """Something the user can understand and mend: what happened and why, then what to do.

    `message` is one sentence or two without a trailing newline; `hint` says what to do and may be empty.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class InputError(FleetprofError):
    """What the user gave (flag, selector, range, file, request) cannot be used."""

    exit_code = 2


class UnavailableError(FleetprofError):
    """Something outside is missing or refuses: a kernel feature, a port, a folder, a server."""

    exit_code = 3
