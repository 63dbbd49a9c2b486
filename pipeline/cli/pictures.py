"""The commands that make data/ and look into copies: init, sample, duplicates; those of ingest are in ingest.py."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.ingest import ingest_app
from pipeline.cli.terminal import Json, print_result
from pipeline.core.errors import UserError

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


@duplicates_app.command("explain")
def duplicates_explain(
    sha256: Annotated[str, typer.Argument(metavar="SHA256", help="A picture's sha256, or its beginning.")],
    as_json: Json = False,
) -> None:
    """Explain how a picture was deduplicated: its status, its copies, and why."""
    from pipeline.duplicates import explain

    report = explain.collect(sha256)
    print_result(report, explain.describe(report), as_json=as_json)
