"""The result of one check, and how all of them are shown."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pipeline.core.errors import UserError

Status = Literal["ok", "warning", "failed"]
OK: Status = "ok"
WARNING: Status = "warning"  # something will be missing, or slow, one day
FAILED: Status = "failed"  # a command will fail


@dataclass(frozen=True)
class Check:
    """What was checked, how it went, what was seen, and what to do; `remedy` is empty if all is well."""

    name: str
    status: Status
    text: str
    remedy: str = ""


def ok(name: str, text: str) -> Check:
    """Return a check that went well."""
    return Check(name, OK, text)


def attempt(name: str, look: Callable[[], Check], remedy: str) -> Check:
    """Return what `look` returns; its UserError or OSError as a failed check with `remedy`."""
    try:
        return look()
    except (UserError, OSError) as error:
        return Check(name, FAILED, " ".join(str(error).split()), remedy)


def document(checks: Sequence[Check]) -> dict[str, Any]:
    """Return the checks for JSON."""
    counts: dict[str, Any] = {status: sum(one.status == status for one in checks) for status in (OK, WARNING, FAILED)}
    return counts | {"checks": [asdict(one) for one in checks]}


def lines(checks: Sequence[Check]) -> list[str]:
    """Return the checks for a terminal, a remedy below what it is for."""
    width = max(len(check.name) for check in checks)
    rows = []
    for check in checks:
        rows.append(f"{check.status:<8}{check.name:<{width}}  {check.text}")
        if check.remedy:
            rows.append(f"{'':<8}{'':<{width}}  -> {check.remedy}")
    failed = sum(check.status == FAILED for check in checks)
    return [*rows, f"{failed} of {len(checks)} checks failed" if failed else f"none of {len(checks)} checks failed"]
