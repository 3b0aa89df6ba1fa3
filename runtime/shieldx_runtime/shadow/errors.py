"""What can be wrong with a task or its data. Each message names the field or the place, the problem and the remedy."""


class TaskError(ValueError):
    """A task cannot be evaluated as it is written. `path` leads to the field, such as `rule.rules[1].pattern`."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path} {problem}")
        self.path = path
        self.problem = problem


class DataError(RuntimeError):
    """The data as a whole cannot be read: not there, not of the format, or growing beyond bounds."""
