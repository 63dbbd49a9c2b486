"""What the tests of the fetcher share: limits, an address rule, lists."""

from typing import Any

from pipeline.web_ingest.addresses import is_public
from pipeline.web_ingest.lists import Item

LIMITS: dict[str, Any] = {
    "contact": "me@example.org", "connections": 16, "per_host": 16, "delay_seconds": 0.0, "attempts": 3,
    "backoff_seconds": 0.01, "longest_wait_seconds": 5.0, "seconds": 20.0, "picture_mb": 1, "min_success": 0.5,
    "screens": {"contact": None, "lists": [], "hooks": [], "records": "escalations.csv", "pdq_distance": 31,
                "pdq_quality": 50, "hook_seconds": 5.0, "hook_calls": 2},
}  # fmt: skip


def loopback(address: str) -> bool:
    """The rule of the tests: what is public, and the server."""
    return address == "127.0.0.1" or is_public(address)


def items(port: int) -> list[Item]:
    """Two labels' lists: pictures, copies, dead links, one URL under both labels."""
    paths = [*(f"ok/{number}" for number in range(30)), "gone/1", "html", "error", "to_other", "noai", "bomb"]
    both = [Item(f"http://good.test:{port}/{path}", "neutral") for path in paths]
    return [*both, both[0]._replace(label="drawings"), Item(f"http://alike.test:{port}/ok/1", "drawings")]
