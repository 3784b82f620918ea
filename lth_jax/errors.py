"""The exceptions that a program turns into one line for its user and an exit status."""


class InputError(ValueError):
    """A bad file, folder or setting of the user's; the message is one clear line. Status 2."""


class RunError(RuntimeError):
    """A run could not go on (full disk, lost process, folder in use); one clear line.

    What was finished is safe, and the same command continues.
    """

    def __init__(self, message: str, status: int = 1):
        """Keeps the message and the program's exit status."""
        super().__init__(message)
        self.status = status
