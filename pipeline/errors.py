"""The error a user can do something about."""


class PipelineError(Exception):
    """Says what is wrong, where, and what to do; the command line shows it as one message without a traceback."""
