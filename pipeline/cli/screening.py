"""What commands that screen pictures share: opening the screens, clearing data/ of matches, the lines on a match."""

from typing import TYPE_CHECKING

from pipeline.core import paths
from pipeline.core.errors import UserError

if TYPE_CHECKING:
    from pipeline.data.escalations import Screen
    from pipeline.params.root import Params
    from pipeline.screening.screens import Screens


def open_screens(params: "Params") -> "Screens | None":
    """Return the screens of params.yaml, with the catalog's limits of a picture; None where there are none.

    Raises:
        UserError: a list cannot be read, or has wrong lines.

    """
    if not params.ingest.screens.active:
        return None
    from pipeline.core import executor
    from pipeline.images.sandbox import WorkerLimits
    from pipeline.screening import screens

    cost = WorkerLimits(params.catalog.seconds, params.catalog.memory_mb, executor.cores())
    return screens.open_screens(params, cost=cost)


def screen_of(screens: "Screens | None") -> "Screen | None":
    """Return what screens a stream of contents; None without screens."""
    if screens is None:
        return None
    from pipeline.screening.stream import Stream

    return Stream(screens)


def clear_escalated(count: int) -> None:
    """Delete what data/ held already of the `count` contents that a screen matched; nothing for none."""
    if count:
        from pipeline.takedown import clearing

        clearing.clear_escalated()


def escalated_lines(count: int, params: "Params") -> list[str]:
    """Return the lines for the operator about `count` files that screens matched in an ingest; [] for none."""
    if not count:
        return []
    contact = params.ingest.screens.contact or "whoever handles such pictures in your team"
    return [
        f"ESCALATED: {count} {'file matches' if count == 1 else 'files match'} a list; nothing of that was stored",
        f"CALL {contact}. Do not open, copy or send these files; the records, hashes alone: {paths.ESCALATION_RECORDS}",
        "  pictures that data/ held before: earlier versions in DVC's cache may hold them (`nsfw data remove --help`)",
    ]


def check_screened(unscreened: int) -> None:
    """Raise UserError if there are pictures that a screen gave no answer for."""
    if unscreened:
        raise UserError(
            f"{unscreened} pictures could not be screened, so nobody knows what they are, and none has passed: their "
            "rows say why. Run the same command again."
        )
