"""Who runs this program."""

import getpass


def user_name() -> str:
    """Return the user's login name, or `unknown` where it has none, as in a container."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
