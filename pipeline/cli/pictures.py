"""The commands that make data/ and look into copies: init, sample, ingest, duplicates."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.terminal import Json, print_result
from pipeline.core import paths
from pipeline.core.errors import UserError

ingest_app = typer.Typer(no_args_is_help=True, help="Ingest pictures into data/.")
duplicates_app = typer.Typer(no_args_is_help=True, help="The results of `dedupe`.")


def add_to(app: typer.Typer, panel: str) -> None:
    """Add these commands to the `nsfw` command, under a heading of its help."""
    app.add_typer(ingest_app, name="ingest", rich_help_panel=panel)
    app.add_typer(duplicates_app, name="duplicates", rich_help_panel=panel)
    for command in (init, sample):
        app.command(command.__name__, rich_help_panel=panel)(command)


def init(
    labels: Annotated[str, typer.Option(help="All labels: a,b,c, in the order of the model's outputs.")],
    unsafe: Annotated[str, typer.Option(help="The labels that must not be missed: b, or b,c.")],
    as_json: Json = False,
) -> None:
    """Write your own labels into params.yaml, before the first ingest; comments stay."""
    from pipeline.data import initial_labels

    begun = initial_labels.write_labels(*([word.strip() for word in words.split(",")] for words in (labels, unsafe)))
    print_result(vars(begun), begun.lines(), as_json=as_json)


def sample(
    out: Annotated[Path, typer.Option(help="An empty or new folder for the pictures.")] = Path("sample"),
    truth: Annotated[Path | None, typer.Option(help="The file of the ground truth; OUT_truth.csv by default.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other pictures.")] = 1,
    one: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Only write one unsafe picture, to send to a model.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw a benign, messy scrape for the five labels, with its ground truth."""
    from pipeline.core.files import check_target
    from pipeline.sample.sample import draw_one, draw_sample

    if one is not None:
        check_target(one)
        label = draw_one(one, seed=seed)
        print_result(
            {"out": str(one), "label": label}, [f"drew {one}, a picture of the label {label}"], as_json=as_json
        )
        return
    truth = truth or out.with_name(f"{out.name}_truth.csv")
    if truth.exists():
        raise UserError(
            f"{truth} exists already, and would be overwritten. Move it away, or name another with --truth."
        )
    check_target(truth)
    counts = draw_sample(out, truth, seed=seed)
    print_result(
        {"out": str(out), "truth": str(truth), "files": counts},
        [
            f"drew {sum(counts.values())} files into {out}: " + ", ".join(f"{n} {kind}" for kind, n in counts.items()),
            f"ground truth in {truth}",
            f"next: nsfw ingest folder {out} --source bundled-sample",
        ],
        as_json=as_json,
    )


@ingest_app.command("folder")
def ingest_folder(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Holds a folder for each label.")],
    source: Annotated[str | None, typer.Option(help="The name of the batch; that of DIR by default.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start with an empty data/.")] = False,
    keep_sample: Annotated[bool, typer.Option("--keep-sample", help="Mix with the bundled sample.")] = False,
    max_mb: Annotated[int, typer.Option(min=1, max=2**20, help="Refuse larger files, MiB.")] = 64,
    follow_links: Annotated[bool, typer.Option("--follow-links", help="Follow links to targets below DIR.")] = False,
    as_json: Json = False,
) -> None:
    """Ingest DIR/<label>/** into data/: each content once, a sighting for every file."""
    from tqdm import tqdm

    from pipeline.cli.screening import clear_escalated, escalated_lines, open_screens, screen_of, unscreened_error
    from pipeline.data import folder as folders
    from pipeline.data import project
    from pipeline.params.root import load_params

    project.check_root()
    if fresh and keep_sample:
        raise typer.BadParameter("--fresh and --keep-sample exclude each other")
    if not folder.is_dir():  # a link that leads back to itself, too, which the checks below cannot follow
        raise UserError(f"{folder} is not a folder. Give one that holds a folder for each label.")
    project.check_outside(folder)
    name = folders.check_source(folders.default_source(folder) if source is None else source)
    params = load_params()
    scanned = folders.scan(folder, params.labels.names, follow_links=follow_links)
    screens = open_screens(params)
    with project.ingest_lock():
        project.prepare_for_batch(name, fresh=fresh, keep_sample=keep_sample)
        taken = folders.ingest(
            scanned,
            paths.DATA,
            name,
            max_bytes=max_mb * 2**20,
            screen=screen_of(screens),
            progress=lambda files: tqdm(files, desc="ingest", unit="file", disable=None),
        )
        if taken.escalated:
            clear_escalated()
        project.add_data()
    lines = [
        *folders.describe(scanned, taken),
        *escalated_lines(taken.escalated, params),
        f"next: git add data.dvc && git commit -m 'Ingest {name}'",
    ]
    document = {"files": len(scanned), "skipped": scanned.skipped, **vars(taken)}
    print_result(document, [*lines, "      dvc repro"], as_json=as_json)
    if taken.unscreened:
        raise unscreened_error(taken.unscreened)


@ingest_app.command("urls")
def ingest_urls(
    lists: Annotated[
        Path, typer.Argument(metavar="LIST_OR_DIR", help="A file with a URL a line, or DIR/<label>/urls_<label>.txt.")
    ],
    label: Annotated[str | None, typer.Option(help="The label of a single list.")] = None,
    source: Annotated[str | None, typer.Option(help="The name of the batch; that of the list by default.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start with an empty data/.")] = False,
    keep_sample: Annotated[bool, typer.Option("--keep-sample", help="Mix with the bundled sample.")] = False,
    as_json: Json = False,
) -> None:
    """Fetch URLs politely and safely into data/: a sighting for every one. Cut short, the same command goes on."""
    from tqdm import tqdm

    from pipeline.cli.screening import clear_escalated, escalated_lines, open_screens, unscreened_error
    from pipeline.data import folder as folders
    from pipeline.data import project
    from pipeline.data.escalations import ESCALATED, UNSCREENED
    from pipeline.params.root import load_params
    from pipeline.web_ingest import ingest as web
    from pipeline.web_ingest import lists as listed

    project.check_root()
    if fresh and keep_sample:
        raise typer.BadParameter("--fresh and --keep-sample exclude each other")
    params = load_params()
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
    )
    called = escalated_lines(report.reasons.get(ESCALATED, 0), params)
    nexts = [*called, f"next: git add data.dvc && git commit -m 'Ingest {name}'", "      dvc repro"]
    print_result(report.to_document(), [*report.lines(), *nexts], as_json=as_json)
    if report.reasons.get(UNSCREENED):
        raise unscreened_error(report.reasons[UNSCREENED])
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
    label: Annotated[str | None, typer.Option(help="One label for all samples.")] = None,
    label_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="The key of a sample's json that has its label.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="The name of the batch; that of the first by default.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start with an empty data/.")] = False,
    keep_sample: Annotated[bool, typer.Option("--keep-sample", help="Mix with the bundled sample.")] = False,
    max_mb: Annotated[int, typer.Option(min=1, max=2**20, help="Refuse larger pictures, MiB.")] = 64,
    as_json: Json = False,
) -> None:
    """Ingest archives that others made into data/; labels by folder, unless an option names them."""
    from tqdm import tqdm

    from pipeline.cli.screening import clear_escalated, escalated_lines, open_screens, screen_of, unscreened_error
    from pipeline.data import folder as folders
    from pipeline.data import project
    from pipeline.params.root import load_params
    from pipeline.tar_ingest import archives as listing
    from pipeline.tar_ingest import ingest as tars
    from pipeline.tar_ingest.labels import rule

    project.check_root()
    if fresh and keep_sample:
        raise typer.BadParameter("--fresh and --keep-sample exclude each other")
    if label is not None and label_key is not None:
        raise typer.BadParameter("--label and --label-key exclude each other")
    for path in archives:
        project.check_outside(path)
    params = load_params()
    name = folders.check_source(tars.default_source(archives) if source is None else source)
    intake = tars.Intake(listing.find(archives), rule(params.labels.names, label, label_key), max_mb * 2**20)
    tars.check_labels(intake.archives, intake.rule, intake.max_bytes)
    screens = open_screens(params)
    with project.ingest_lock():
        project.prepare_for_batch(name, fresh=fresh, keep_sample=keep_sample)
        with tqdm(desc="ingest", unit="sample", disable=None) as bar:
            taken = intake.write(paths.DATA, name, screen=screen_of(screens), advance=bar.update)
        if taken.escalated:
            clear_escalated()
        project.add_data()
    called = escalated_lines(taken.escalated, params)
    nexts = [*called, f"next: git add data.dvc && git commit -m 'Ingest {name}'", "      dvc repro"]
    print_result(intake.to_document(taken), [*intake.lines(taken), *nexts], as_json=as_json)
    if taken.unscreened:
        raise unscreened_error(taken.unscreened)


@duplicates_app.command("explain")
def duplicates_explain(
    sha256: Annotated[str, typer.Argument(metavar="SHA256", help="A picture's sha256, or its beginning.")],
    as_json: Json = False,
) -> None:
    """Explain how a picture was deduplicated: its status, its copies, and why."""
    from pipeline.duplicates import explain

    report = explain.collect(sha256)
    print_result(report, explain.describe(report), as_json=as_json)
