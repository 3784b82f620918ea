"""The one exception that a program turns into a line for its user and exit status 2."""


class InputError(ValueError):
    """A bad file, folder or setting of the user's; the message is one clear line."""
