"""The error for an MLflow server that does not answer."""


class Unreachable(Exception):  # noqa: N818 -- an expected state of the world: the record stays, `nsfw sync` follows
    """The MLflow server does not answer; the message says which and why."""
