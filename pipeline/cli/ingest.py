"""The commands that take pictures into data/: ingest folder, urls, tars."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.terminal import Json, print_result
from pipeline.core import paths
from pipeline.core.errors import UserError

if TYPE_CHECKING:
    from pipeline.params.root import Params

ingest_app = typer.Typer(no_args_is_help=True, help="Ingest pictures into data/.")

Fresh = Annotated[bool, typer.Option("--fresh", help="Start with an empty data/.")]
KeepSample = Annotated[bool, typer.Option("--keep-sample", help="Mix with the bundled sample.")]
About = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A yaml on the source: licence, collected, terms, contact."),
]


@ingest_app.command("folder")
def ingest_folder(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Holds a folder for each label.")],
    source: Annotated[str | None, typer.Option(help="The name of the batch; that of DIR by default.")] = None,
    fresh: Fresh = False,
    keep_sample: KeepSample = False,
    max_mb: Annotated[int, typer.Option(min=1, max=2**20, help="Refuse larger files, MiB.")] = 64,
    follow_links: Annotated[bool, typer.Option("--follow-links", help="Follow links to targets below DIR.")] = False,
    about: About = None,
    as_json: Json = False,
) -> None:
    """Ingest DIR/<label>/** into data/: each content once, a sighting for every file."""
    from tqdm import tqdm

    from pipeline.cli.screening import check_screened, clear_escalated, open_screens, screen_of
    from pipeline.data import folder as folders
    from pipeline.data import project, sources
    from pipeline.params.root import load_params

    _check_project(fresh=fresh, keep_sample=keep_sample)
    if not folder.is_dir():  # a link that leads back to itself, too, which the checks below cannot follow
        raise UserError(f"{folder} is not a folder. Give one that holds a folder for each label.")
    project.check_outside(folder)
    name = folders.check_source(folders.default_source(folder) if source is None else source)
    known, params = sources.read(about) if about else None, load_params()
    scanned = folders.scan(folder, params.labels.names, follow_links=follow_links)
    screen = screen_of(open_screens(params))
    with project.writing_batch(name, fresh=fresh, keep_sample=keep_sample, about=known):
        taken = folders.ingest(
            scanned,
            paths.DATA,
            name,
            max_bytes=max_mb * 2**20,
            screen=screen,
            progress=lambda files: tqdm(files, desc="ingest", unit="file", disable=None),
        )
        clear_escalated(taken.escalated)
    document = {"files": len(scanned), "skipped": scanned.skipped, **vars(taken)}
    lines = [*folders.describe(scanned, taken), *_last_lines(name, taken.escalated, params)]
    print_result(document, lines, as_json=as_json)
    check_screened(taken.unscreened)


@ingest_app.command("urls")
def ingest_urls(
    lists: Annotated[
        Path, typer.Argument(metavar="LIST_OR_DIR", help="A file with a URL a line, or DIR/<label>/urls_<label>.txt.")
    ],
    label: Annotated[str | None, typer.Option(help="The label of a single list.")] = None,
    source: Annotated[str | None, typer.Option(help="The name of the batch; that of the list by default.")] = None,
    fresh: Fresh = False,
    keep_sample: KeepSample = False,
    about: About = None,
    as_json: Json = False,
) -> None:
    """Fetch URLs politely and safely into data/: a sighting for every one. Cut short, the same command goes on."""
    from tqdm import tqdm

    from pipeline.cli.screening import check_screened, clear_escalated, open_screens
    from pipeline.data import folder as folders
    from pipeline.data import project, sources
    from pipeline.data.escalations import ESCALATED, UNSCREENED
    from pipeline.params.root import load_params
    from pipeline.web_ingest import ingest as web
    from pipeline.web_ingest import lists as listed

    _check_project(fresh=fresh, keep_sample=keep_sample)
    known, params = sources.read(about) if about else None, load_params()
    project.check_outside(lists)
    items = listed.read(lists, label, params.labels.names)
    name = folders.check_source(web.default_source(lists) if source is None else source)
    report = web.ingest(
        items,
        name,
        params.ingest,
        fresh=fresh,
        keep_sample=keep_sample,
        progress=lambda urls, done: tqdm(total=urls, initial=done, desc="fetch", unit="URL", disable=None).update,
        screens=open_screens(params),
        clear=clear_escalated,
        about=known,
    )
    nexts = _last_lines(name, report.reasons.get(ESCALATED, 0), params)
    print_result(report.to_document(), [*report.lines(), *nexts], as_json=as_json)
    check_screened(report.reasons.get(UNSCREENED, 0))
    if not report.enough:
        raise UserError(
            f"only {report.success:.1%} of the URLs gave pictures, and ingest.min_success is {report.min_success:.1%}. "
            "All rows were written; data/fetches says why each failed."
        )


@ingest_app.command("tars")
def ingest_tars(
    archives: Annotated[
        list[Path], typer.Argument(metavar="TAR_OR_DIR...", help="WebDataset's or img2dataset's tars, or folders.")
    ],
    *,
    label: Annotated[str | None, typer.Option(help="One label for all samples.")] = None,
    label_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="The key of a sample's json that has its label.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="The name of the batch; that of the first by default.")] = None,
    fresh: Fresh = False,
    keep_sample: KeepSample = False,
    max_mb: Annotated[int, typer.Option(min=1, max=2**20, help="Refuse larger pictures, MiB.")] = 64,
    about: About = None,
    as_json: Json = False,
) -> None:
    """Ingest archives that others made into data/; labels by folder, unless an option names them."""
    from tqdm import tqdm

    from pipeline.cli.screening import check_screened, clear_escalated, open_screens, screen_of
    from pipeline.data import folder as folders
    from pipeline.data import project, sources
    from pipeline.params.root import load_params
    from pipeline.tar_ingest import archives as listing
    from pipeline.tar_ingest import ingest as tars
    from pipeline.tar_ingest.labels import rule

    _check_project(fresh=fresh, keep_sample=keep_sample)
    if label is not None and label_key is not None:
        raise typer.BadParameter("--label and --label-key exclude each other")
    for path in archives:
        project.check_outside(path)
    known, params = sources.read(about) if about else None, load_params()
    name = folders.check_source(tars.default_source(archives) if source is None else source)
    intake = tars.Intake(listing.find(archives), rule(params.labels.names, label, label_key), max_mb * 2**20)
    tars.check_labels(intake.archives, intake.rule, intake.max_bytes)
    screen = screen_of(open_screens(params))
    with project.writing_batch(name, fresh=fresh, keep_sample=keep_sample, about=known):
        with tqdm(desc="ingest", unit="sample", disable=None) as bar:
            taken = intake.write(paths.DATA, name, screen=screen, advance=bar.update)
        clear_escalated(taken.escalated)
    nexts = _last_lines(name, taken.escalated, params)
    print_result(intake.to_document(taken), [*intake.lines(taken), *nexts], as_json=as_json)
    check_screened(taken.unscreened)


def _check_project(*, fresh: bool, keep_sample: bool) -> None:
    from pipeline.data import project

    project.check_root()
    if fresh and keep_sample:
        raise typer.BadParameter("--fresh and --keep-sample exclude each other")


def _last_lines(source: str, escalated: int, params: "Params") -> list[str]:
    """Return the last lines of any ingest: whom to call, that a source's licence is unknown, what to type next."""
    from pipeline.cli.screening import escalated_lines
    from pipeline.data import sources

    return [
        *escalated_lines(escalated, params),
        *sources.unknown_lines(paths.DATA, source),
        f"next: git add data.dvc && git commit -m 'Ingest {source}'",
        "      dvc repro",
    ]
