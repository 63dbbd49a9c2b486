"""The `nsfw` command. Everything heavy is imported inside the command that needs it."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import data, model_import, models, monitoring, pictures, reports, review, search, serving
from pipeline.cli.terminal import Json, print_result
from pipeline.core import import_hooks, paths, tensorflow_log
from pipeline.core.errors import run

if TYPE_CHECKING:
    from pipeline.registry.model_versions import Registration
    from pipeline.registry.package import Candidate
    from pipeline.registry.sync import Register

DATA, REVIEW, MODELS, SEARCH, SERVING = "Pictures", "People", "Models", "Search", "Serving"  # in the order of work
app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


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


pictures.add_to(app, DATA)
review.add_to(app, REVIEW)


@app.command(rich_help_panel=DATA)
def doctor(as_json: Json = False) -> None:
    """Check what a set-up needs: packages, git, data, disk, memory, GPU, remote, MLflow. Exit 1 if a check fails."""
    from pipeline.diagnosis import check
    from pipeline.diagnosis.doctor import examine
    from pipeline.tracking.server import prepare_environment

    prepare_environment()
    checks = examine()
    print_result(check.document(checks), check.lines(checks), as_json=as_json)
    if any(one.status == check.FAILED for one in checks):
        raise typer.Exit(1)


@app.command(rich_help_panel=MODELS)
def sync(as_json: Json = False) -> None:
    """Publish to MLflow what it lacks: run records and the registration. It can be repeated."""
    from pipeline.registry import lost_runs
    from pipeline.registry.sync import sync as publish_all

    # Restoring comes first: a record whose run was deleted would be published as another run.
    mended = lost_runs.run_action(lost_runs.restore)
    report = publish_all(_registration_with_evidence())
    mended += lost_runs.run_action(lost_runs.attach)
    whole = sum(record.complete for record in report.records)
    lines = [f"{whole} of {len(report.records)} run records are complete in MLflow"]
    if report.registration is not None:
        done = report.registration
        lines.append(f"registered: {done.uri}" if not done.pending else f"registration of {done.model} is pending")
    lines += mended
    lines += [f"problem: {problem}" for problem in report.problems]
    print_result({**report.to_dict(), "mended": mended}, lines, as_json=as_json)
    if report.problems:
        raise typer.Exit(1)


def _registration_with_evidence() -> "Register":
    """Return the function that completes a pending registration, with the evidence in build/."""

    def register(candidate: "Candidate") -> "Registration":
        from pipeline.params.root import load_params
        from pipeline.promotion.registration import register_with_evidence

        return register_with_evidence(candidate, paths.EVIDENCE, load_params(), only_forward=True)[0]

    return register


@app.command(rich_help_panel=MODELS)
def summary(as_json: Json = False) -> None:
    """Summarize the last `dvc repro`, and write reports/index.html. Exit 1 if MLflow disagrees."""
    from pipeline.overview import index_page
    from pipeline.overview.summary import collect, describe

    report = collect()
    model = report["model"]
    index_page.write(report, index_page.registered_card(model), index_page.registered_errors(model))
    print_result(report, describe(report), as_json=as_json)
    if report["problem"]:
        raise typer.Exit(1)


@app.command(rich_help_panel=MODELS)
def ui(port: Annotated[int, typer.Option(help="A port of this machine.")] = 5000) -> None:
    """Open MLflow's UI on the project's runs and registered models, until Ctrl-C."""
    from pipeline.tracking import server
    from pipeline.tracking import ui as pages

    server.prepare_environment()
    pages.serve(port)


search.add_to(app, SEARCH)
data.add_to(app, DATA)
reports.add_to(app, DATA)
model_import.add_to(app, MODELS)
models.add_to(app, MODELS)
serving.add_to(app, SERVING)
monitoring.add_to(app, SERVING)


def main() -> None:
    """Run the command: exit 0 done, 1 refused or failed, 2 wrong usage."""
    import logging

    tensorflow_log.silence()
    import_hooks.speed_up_imports()
    run(app, level=logging.WARNING)
