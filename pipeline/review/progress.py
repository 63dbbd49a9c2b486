"""How far the work is: what is left of each queue, what the last hundred decisions changed, how far people agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.review import opinions
from pipeline.review.acts import Rules, all_opinions
from pipeline.review.opinions import Opinion
from pipeline.review.queues import Queue
from pipeline.review.store import Store

LAST = 100


@dataclass(frozen=True)
class Finds:
    """Of the last `looked_at` decisions (100 at most), how many changed something."""

    looked_at: int
    changed: int


def states(by_picture: Mapping[str, Sequence[Opinion]], rules: Rules) -> dict[str, str]:
    """Return the state of each picture that anyone has decided about."""
    return {
        sha256: opinions.state(listed, due=opinions.is_due(sha256, rules.second_opinion, rules.seed))
        for sha256, listed in by_picture.items()
    }


def disagreed(by_picture: Mapping[str, Sequence[Opinion]], rules: Rules) -> list[str]:
    """Return the pictures on which two people differ, and nobody has decided finally."""
    return [sha256 for sha256, state in states(by_picture, rules).items() if state == opinions.DISAGREED]


def left(queue: Queue, by_state: Mapping[str, str]) -> int:
    """Return how many pictures of a queue someone still has to look at."""
    if queue.link:
        return queue.size
    done = {opinions.SETTLED, opinions.DISAGREED}
    if queue.name == "disagreements":
        done = {opinions.SETTLED}
    return sum(1 for group in queue.groups for sha256 in group if by_state.get(sha256, "") not in done)


def finds(by_picture: Mapping[str, Sequence[Opinion]], queue: str | None = None) -> Finds:
    """Return the finds among the last hundred decisions, of one queue or of all."""
    listed = [one for several in by_picture.values() for one in several if queue in {None, one.queue}]
    last = sorted(listed, key=lambda one: one.number)[-LAST:]
    return Finds(len(last), sum(one.changes for one in last))


def pairs(by_picture: Mapping[str, Sequence[Opinion]]) -> list[tuple[str, str]]:
    """Return what first and second opinions made of each picture that has both; a final decision is neither."""
    several = ([one for one in listed if not one.final] for listed in by_picture.values())
    return [(listed[0].meaning, listed[1].meaning) for listed in several if len(listed) > 1]


def activity(store: Store) -> list[dict[str, Any]]:
    """Return `reviewer, decisions, minutes, pictures` of everyone who has looked at anything, by name."""
    with store.reading() as connection:
        looked = connection.execute(
            "SELECT reviewer, SUM(seconds) AS seconds, SUM(pictures) AS pictures FROM activity GROUP BY reviewer"
        ).fetchall()
        decided = connection.execute(
            "SELECT reviewer, COUNT(*) AS number FROM decisions WHERE undone = 0 GROUP BY reviewer"
        ).fetchall()
    numbers = {row["reviewer"]: int(row["number"]) for row in decided}
    seen = {row["reviewer"]: (float(row["seconds"]), int(row["pictures"])) for row in looked}
    return [
        {
            "reviewer": name,
            "decisions": numbers.get(name, 0),
            "minutes": round(seen.get(name, (0.0, 0))[0] / 60, 1),
            "pictures": seen.get(name, (0.0, 0))[1],
        }
        for name in sorted({*numbers, *seen})
    ]


def document(store: Store, rules: Rules, queues: Mapping[str, Queue]) -> dict[str, Any]:
    """Return all of it, ready for JSON: `nsfw review --status --json`."""
    by_picture = all_opinions(store)
    by_state, compared, last = states(by_picture, rules), pairs(by_picture), finds(by_picture)
    agreed = sum(first == second for first, second in compared)
    return {
        "decisions": sum(map(len, by_picture.values())),
        "pictures": len(by_picture),
        "settled": sum(state == opinions.SETTLED for state in by_state.values()),
        "unwritten": sum(
            by_state[sha256] == opinions.SETTLED and not opinions.verdict(listed).written
            for sha256, listed in by_picture.items()
        ),
        "waiting": sum(state == opinions.WAITING for state in by_state.values()),
        "disagreements": sum(state == opinions.DISAGREED for state in by_state.values()),
        "second_opinions": {"pictures": len(compared), "agreed": agreed, "kappa": opinions.kappa(compared)},
        "last": {"decisions": last.looked_at, "changed": last.changed},
        "queues": [
            {"name": queue.name, "title": queue.title, "items": queue.count, "left": left(queue, by_state)}
            for queue in queues.values()
        ],
        "reviewers": activity(store),
    }


def describe(status: Mapping[str, Any]) -> list[str]:
    """Return `document` as lines for a terminal."""
    second, last = status["second_opinions"], status["last"]
    kappa = "not known yet" if second["kappa"] is None else f"{second['kappa']:.2f}"
    settled = f"{status['settled']:,} settled, {status['unwritten']:,} of them not in data/ yet"
    queues = [f"  {queue['left']:>7,} left of {queue['items']:>7,}  {queue['title']}" for queue in status["queues"]]
    people = [
        f"  {row['reviewer']}: {row['decisions']:,} decisions, {row['pictures']:,} pictures, {row['minutes']:g} minutes"
        for row in status["reviewers"]
    ]
    return [
        f"decisions  {status['decisions']:,} on {status['pictures']:,} pictures; {settled}",
        f"           {status['waiting']:,} wait for a second opinion, {status['disagreements']:,} disagreements",
        f"agreement  {second['agreed']:,} of {second['pictures']:,} second opinions agree; Cohen's kappa {kappa}",
        f"finds      {last['changed']} of the last {last['decisions']} decisions changed something",
        "queues",
        *queues,
        *people,
        "next: nsfw review          decide",
        "      nsfw review --done   write what is settled into data/",
    ]
