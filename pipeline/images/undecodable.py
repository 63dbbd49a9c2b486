"""Pictures that the catalog has decoded, and that do not decode when they are needed."""

from pipeline.core.errors import UserError
from pipeline.data.shards import Member
from pipeline.images.sandbox import Failure


def undecodable(member: Member, failure: Failure, purpose: str) -> UserError:
    """Return what to tell of a catalogued picture that cannot be `purpose` (packed, rendered), with the way out."""
    if failure.final:
        advice = (
            "If Pillow has changed since it was catalogued, `dvc repro -f catalog` judges every picture anew; "
            "otherwise give it a row in data/decisions.csv whose new_label is `drop`."
        )
    else:
        advice = (
            "That may have been the machine's load, and nothing of it is kept: run this again. If it fails again, "
            "raise catalog.seconds or catalog.memory_mb in params.yaml."
        )
    return UserError(f"{member.sha256} in {member.shard} was catalogued but cannot be {purpose}: {failure}. {advice}")
