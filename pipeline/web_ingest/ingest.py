"""From lists of URLs to a batch of data/: fetched into a journal, and written under data/'s lock when all is there.

A run that is killed at any moment and run again fetches nothing twice, and ends in the same tables.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.data import folder, project, sources
from pipeline.data.escalations import ESCALATED
from pipeline.params.ingest import Ingest
from pipeline.screening.screens import Screens
from pipeline.screening.stream import Stream
from pipeline.web_ingest import batch, crawl
from pipeline.web_ingest.addresses import AddressRule, is_public
from pipeline.web_ingest.connecting import Lookup, resolve
from pipeline.web_ingest.journal import Journal, JournalInUseError, open_journal
from pipeline.web_ingest.lists import Item
from pipeline.web_ingest.report import Report, report

JOURNALS = paths.CACHE / "web_ingest"


def contact_of(limits: Ingest) -> str:
    """Return whom a server's owner may turn to.

    Raises:
        UserError: params.yaml names nobody.

    """
    if limits.contact is None:
        raise UserError(
            "ingest.contact in params.yaml is null: name a mail address or a page about you, which every request "
            "will carry, and run this again. Nothing was fetched."
        )
    return limits.contact


def fetch(
    items: Sequence[Item],
    journal: Journal,
    limits: Ingest,
    *,
    progress: Callable[[int, int], Callable[[], object]],
    screens: Screens | None = None,
    rule: AddressRule = is_public,
    lookup: Lookup = resolve,
) -> None:
    """Fetch every URL that the journal has no outcome for; `progress` gets how many there are, and how many are done.

    `rule`, `lookup`: as `crawl.fetch_all` has them.
    """
    contact = contact_of(limits)
    urls = list(dict.fromkeys(item.url for item in items))
    left = [url for url in urls if journal.outcome(url) is None]
    if left:
        done = progress(len(urls), len(urls) - len(left))
        crawl.fetch_all(left, journal, limits, contact, done=done, screens=screens, rule=rule, lookup=lookup)


def ingest(
    items: Sequence[Item],
    source: str,
    limits: Ingest,
    *,
    fresh: bool,
    keep_sample: bool,
    progress: Callable[[int, int], Callable[[], object]],
    screens: Screens | None = None,
    clear: Callable[[int], object] = lambda _: None,
    about: Mapping[str, str] | None = None,
) -> Report:
    """Fetch the items, and write them as a batch of `source`, versioned in DVC.

    What `screens` match is never written; `clear`, called with how many that were, deletes what data/ held of it.
    `about`: what data.sources.read gave.

    Raises:
        UserError: nobody is named as contact; data/ may not take the batch, which is known before anything is fetched;
            or a screen is out of service.

    """
    contact_of(limits)
    if not fresh:
        with project.ingest_lock():
            project.prepare_for_batch(source, fresh=False, keep_sample=keep_sample)
            sources.check(paths.DATA, source, about)
    with open_journal(JOURNALS, source) as journal:
        if screens is not None:
            screen_journal(journal, screens)
        fetch(items, journal, limits, progress=progress, screens=screens)
        with project.writing_batch(source, fresh=fresh, keep_sample=keep_sample, about=about):
            written = batch.write(items, journal, paths.DATA, source)
            clear(written.count(ESCALATED))
        journal.delete()
    return report(written, limits.min_success)


def screen_journal(journal: Journal, screens: Screens) -> int:
    """Screen the contents that have not passed these screens yet, and delete what matches; return how many that were.

    Raises:
        UserError: a screen does not answer; nothing passes without it.

    """
    escalated = 0
    for sha256, verdict in Stream(screens).screen(journal.unscreened(screens.digest), journal.content):
        if verdict is not None and verdict.matches:
            journal.escalate(verdict)
            escalated += 1
        elif verdict is not None and verdict.problem:
            raise UserError(f"{journal.path}: a content fetched earlier, {sha256[:12]}, is {verdict.reason}")
        else:
            journal.note_screened(sha256, screens.digest)
    return escalated


def screen_journals(screens: Screens) -> int:
    """Screen what ingests that were cut short have fetched; return how many contents match. A running one does its own.

    Raises:
        UserError: as `screen_journal` does.

    """
    escalated = 0
    for path in sorted(JOURNALS.glob("*.db")):
        try:
            with open_journal(JOURNALS, path.stem) as journal:
                escalated += screen_journal(journal, screens)
        except JournalInUseError:
            continue
    return escalated


def default_source(path: Path) -> str:
    """Return a source name made of the list's or the folder's own name."""
    return folder.default_source(path if path.is_dir() else path.with_suffix(""))
