"""The error for a picture that the catalog decoded, and that does not decode now."""

from pipeline.core.errors import UserError
from pipeline.data.shards import Member
from pipeline.images.sandbox import Failure


def undecodable_error(member: Member, failure: Failure, purpose: str) -> UserError:
    """Return the error for a catalogued picture that cannot be `purpose` (packed, rendered), with advice."""
    if failure.final:
        advice = (
            "If Pillow has changed since it was catalogued, `dvc repro -f catalog` checks every picture again; "
            "otherwise give it a row in data/decisions.csv whose new_label is `drop`."
        )
    else:
        advice = (
            "That may be due to the machine's load, and it is not cached: run this again. If it fails again, "
            "raise catalog.seconds or catalog.memory_mb in params.yaml."
        )
    return UserError(f"{member.sha256} in {member.shard} was catalogued but cannot be {purpose}: {failure}. {advice}")
