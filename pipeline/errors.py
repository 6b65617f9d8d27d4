"""What a user can cause and mend."""


class UserError(ValueError):
    """What a user can cause and mend; shown as one message, without a traceback."""
