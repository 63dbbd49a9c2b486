"""The `nsfw` command: acts of people. Everything heavy is imported inside the command that needs it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import data, model_import, models, serving
from pipeline.cli.models import tell as _tell
from pipeline.core import paths, tensorflow_log
from pipeline.core.errors import UserError, run

if TYPE_CHECKING:
    from pipeline.registry.model_versions import Registration
    from pipeline.registry.package import Candidate
    from pipeline.registry.sync import Register

DATA, MODELS, SEARCH, SERVING = "Pictures", "Models", "Search", "Serving"  # in the order of work
app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
ingest_app = typer.Typer(no_args_is_help=True, help="Take pictures into data/.")
app.add_typer(ingest_app, name="ingest", rich_help_panel=DATA)
duplicates_app = typer.Typer(no_args_is_help=True, help="What `dedupe` found.")
app.add_typer(duplicates_app, name="duplicates", rich_help_panel=DATA)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def _version(wanted: bool) -> None:  # noqa: FBT001 -- as typer calls it
    if wanted:
        from importlib.metadata import version

        print(f"nsfw-pipeline {version('nsfw-pipeline')}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Rebuild, trust and replace a picture-moderation classifier. Stages run by `dvc repro`."""


@app.command(rich_help_panel=DATA)
def init(
    labels: Annotated[str, typer.Option(help="All of them: a,b,c, in the order of the model's outputs.")],
    unsafe: Annotated[str, typer.Option(help="Those that must not be missed: b, or b,c.")],
    as_json: Json = False,
) -> None:
    """Write your own labels into params.yaml, before the first ingest; comments stay."""
    from pipeline.data import initial_labels

    begun = initial_labels.begin(*([word.strip() for word in words.split(",")] for words in (labels, unsafe)))
    _tell(vars(begun), begun.lines(), as_json=as_json)


@app.command(rich_help_panel=DATA)
def sample(
    out: Annotated[Path, typer.Option(help="An empty or new folder for the pictures.")] = Path("sample"),
    truth: Annotated[Path | None, typer.Option(help="Where the ground truth goes; OUT_truth.csv if not given.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other pictures.")] = 1,
    one: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write one unsafe picture, to send to a model, and no more.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw a benign, messy scrape for the five labels, with its ground truth."""
    from pipeline.core.files import check_target
    from pipeline.sample.sample import draw_one, draw_sample

    if one is not None:
        check_target(one)
        label = draw_one(one, seed=seed)
        _tell({"out": str(one), "label": label}, [f"drew {one}, a picture of the label {label}"], as_json=as_json)
        return
    truth = truth or out.with_name(f"{out.name}_truth.csv")
    if truth.exists():
        raise UserError(
            f"{truth} exists already, and would be overwritten. Move it away, or name another with --truth."
        )
    check_target(truth)
    counts = draw_sample(out, truth, seed=seed)
    _tell(
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
    source: Annotated[str | None, typer.Option(help="The batch's name; DIR's if not given.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin an empty data/.")] = False,
    keep_sample: Annotated[bool, typer.Option("--keep-sample", help="Mix with the bundled sample.")] = False,
    max_mb: Annotated[int, typer.Option(min=1, max=2**20, help="Refuse larger files, MiB.")] = 64,
    follow_links: Annotated[bool, typer.Option("--follow-links", help="Follow links to what lies below DIR.")] = False,
    as_json: Json = False,
) -> None:
    """Take DIR/<label>/** into data/: each content once, a sighting for every file."""
    from tqdm import tqdm

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
    scanned = folders.scan(folder, load_params().labels.names, follow_links=follow_links)
    with project.only_one():
        project.make_room(name, fresh=fresh, keep_sample=keep_sample)
        taken = folders.ingest(
            scanned,
            paths.DATA,
            name,
            max_bytes=max_mb * 2**20,
            progress=lambda files: tqdm(files, desc="ingest", unit="file", disable=None),
        )
        project.add_data()
    lines = [*folders.describe(scanned, taken), f"next: git add data.dvc && git commit -m 'Ingest {name}'"]
    document = {"files": len(scanned), "skipped": scanned.skipped, **vars(taken)}
    _tell(document, [*lines, "      dvc repro"], as_json=as_json)


@app.command(rich_help_panel=MODELS)
def sync(as_json: Json = False) -> None:
    """Publish to MLflow what it has missed: run records and the registration. Any number of times."""
    from pipeline.registry import lost_runs
    from pipeline.registry.sync import sync as publish_all

    mended = lost_runs.mend(lost_runs.restore)  # first: a record whose run was deleted would be published as another
    report = publish_all(_registering())
    mended += lost_runs.mend(lost_runs.attach)
    whole = sum(record.complete for record in report.records)
    lines = [f"{whole} of {len(report.records)} run records are complete in MLflow"]
    if report.registration is not None:
        done = report.registration
        lines.append(f"registered: {done.uri}" if not done.pending else f"registration of {done.model} is pending")
    lines += mended
    lines += [f"problem: {problem}" for problem in report.problems]
    _tell({**report.to_dict(), "mended": mended}, lines, as_json=as_json)
    if report.problems:
        raise typer.Exit(1)


def _registering() -> "Register":
    """Return how a registration that MLflow lacks is made up for: with the evidence that lies in build/."""

    def register(candidate: "Candidate") -> "Registration":
        from pipeline.params.root import load_params
        from pipeline.promotion.registration import register_with_evidence

        return register_with_evidence(candidate, paths.EVIDENCE, load_params(), only_forward=True)[0]

    return register


@app.command(rich_help_panel=MODELS)
def summary(as_json: Json = False) -> None:
    """Tell what the last `dvc repro` made, and write reports/index.html. Exit 1 where MLflow disagrees."""
    from pipeline.overview import index_page
    from pipeline.overview.summary import collect, describe

    found = collect()
    index_page.write(found, index_page.registered_card(found["model"]))
    _tell(found, describe(found), as_json=as_json)
    if found["problem"]:
        raise typer.Exit(1)


@duplicates_app.command("explain")
def duplicates_explain(
    sha256: Annotated[str, typer.Argument(metavar="SHA256", help="A picture's; its beginning will do.")],
    as_json: Json = False,
) -> None:
    """Tell what became of a picture, which others are one with it, and why."""
    from pipeline.duplicates import explain

    found = explain.collect(sha256)
    _tell(found, explain.describe(found), as_json=as_json)


@app.command(rich_help_panel=MODELS)
def ui(port: Annotated[int, typer.Option(help="Of this machine.")] = 5000) -> None:
    """Open MLflow's UI on the project's runs and registered models, until Ctrl-C."""
    from pipeline.tracking import server
    from pipeline.tracking import ui as pages

    server.prepare_environment()
    pages.serve(port)


@app.command(rich_help_panel=SEARCH)
def tune(
    trials: Annotated[int | None, typer.Option(min=1, help="Finished trials in all; tune.trials if not given.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes on this machine.")] = 1,
    study: Annotated[str | None, typer.Option(help="Its name; tune.study if not given.")] = None,
    storage: Annotated[str | None, typer.Option(metavar="URL", help="tune.storage if not given.")] = None,
    join: Annotated[str | None, typer.Option(metavar="URL", help="Help a search that another machine began.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Confirm the winner, put it into params.yaml.")] = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Write a gain that may be noise.")] = False,
    as_json: Json = False,
) -> None:
    """Search dropout, L2, unfreeze point and schedule, as tune: in params.yaml says. The same command goes on."""
    if join and (write or storage):
        raise typer.BadParameter("--join goes with neither --write nor --storage")
    if anyway and not write:
        raise typer.BadParameter("--anyway goes with --write")
    from pipeline.data import project
    from pipeline.params.root import load_params, parse_params
    from pipeline.tracking.server import prepare_environment
    from pipeline.tuning import report, search

    project.check_root()
    prepare_environment()
    params = load_params()
    said = {"trials": trials, "study": study, "storage": join or storage}
    document = params.model_dump(by_alias=True)
    document["tune"] |= {name: value for name, value in said.items() if value is not None}
    params = parse_params(document, "nsfw tune")
    found = report.collect(search.search(params, workers=workers, joining=bool(join)), params)
    if not write:
        _tell(found, report.describe(found), as_json=as_json)
        return
    print("\n".join(report.describe(found)), file=sys.stderr)
    proposed = report.propose(params, anyway=anyway, tell=lambda line: print(line, file=sys.stderr, flush=True))
    _tell(found | proposed, report.describe_proposal(proposed), as_json=as_json)


data.add_to(app, DATA)
model_import.add_to(app, MODELS)
models.add_to(app, MODELS)
serving.add_to(app, SERVING)


def main() -> None:
    """Run the command: exit 0 done, 1 refused or failed, 2 wrong usage."""
    import logging

    tensorflow_log.quiet()
    run(app, level=logging.WARNING)
