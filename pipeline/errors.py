"""What a user can cause and mend: one error, and all settings that are wrong."""


class UserError(ValueError):
    """What a user can cause and mend; shown as one message, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows in its place."""
        return f"{type(self).__name__}: {self}".split("\n")


class ConfigError(UserError):
    """All settings that are wrong, each with its key, what was found and what is allowed."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(["The settings have problems:", *(f"  {p}" for p in problems)]))
        self.problems = problems

    def __reduce__(self) -> tuple[type["ConfigError"], tuple[list[str]]]:
        return ConfigError, (self.problems,)  # it must cross from worker processes whole
