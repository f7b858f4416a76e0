"""Errors for people: what went wrong, why, and what to do next."""


class AmplyError(Exception):
    """Base of the errors that a person reads.

    `hint` is the next step for the reader, shown on a line of its own; `exit_code` is what the command line ends with
    (1 failed, 2 usage, 3 not found, 4 refused, 5 unreachable).
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message
