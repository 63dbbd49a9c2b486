"""The `nsfw` command: acts of people. Everything heavy is imported inside the command that needs it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline import cli_models, cli_serving, paths
from pipeline.cli_models import tell as _tell
from pipeline.errors import UserError, run

if TYPE_CHECKING:
    from pipeline.tracking.package import Candidate
    from pipeline.tracking.registry import Registration
    from pipeline.tracking.sync import Register

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
ingest_app = typer.Typer(no_args_is_help=True, help="Take pictures into data/.")
app.add_typer(ingest_app, name="ingest")

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@app.callback()
def _root() -> None:
    """Rebuild, trust and replace a picture-moderation classifier. Stages run by `dvc repro`."""


@app.command()
def sample(
    out: Annotated[Path, typer.Option(help="An empty or new folder for the pictures.")] = Path("sample"),
    truth: Annotated[Path, typer.Option(help="Where the ground truth goes.")] = Path("tests/sample_truth.csv"),
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other pictures.")] = 1,
    as_json: Json = False,
) -> None:
    """Draw a benign, messy scrape for the five labels, with its ground truth."""
    from pipeline.ingest.sample import draw_sample

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
    max_mb: Annotated[int, typer.Option(min=1, help="Refuse larger files, MiB.")] = 64,
    as_json: Json = False,
) -> None:
    """Take DIR/<label>/** into data/: each content once, a sighting for every file."""
    from tqdm import tqdm

    from pipeline.ingest import folder as folders
    from pipeline.ingest import project
    from pipeline.params import load_params

    project.check_root()
    if fresh and keep_sample:
        raise typer.BadParameter("--fresh and --keep-sample exclude each other")
    project.check_outside(folder)
    name = folders.check_source(folders.default_source(folder) if source is None else source)
    found = folders.scan(folder, load_params().labels.names)
    with project.only_one():
        project.make_room(name, fresh=fresh, keep_sample=keep_sample)
        taken = folders.ingest(
            found,
            paths.DATA,
            name,
            max_bytes=max_mb * 2**20,
            progress=lambda files: tqdm(files, desc="ingest", unit="file", disable=None),
        )
        project.add_data()
    lines = [f"{len(found)} files: {taken.sighted} new sightings, {taken.stored} new contents in {taken.shards} shards"]
    if taken.refused:
        lines.append(
            f"{taken.refused} files were refused; their rows in data/sightings say why, and build/quarantine.csv will"
        )
    lines += [f"next: git add data.dvc && git commit -m 'Ingest {name}'", "      dvc repro"]
    _tell({"files": len(found), **vars(taken)}, lines, as_json=as_json)


@app.command()
def sync(as_json: Json = False) -> None:
    """Publish to MLflow what it has missed: run records and the registration. Any number of times."""
    from pipeline.tracking.sync import sync as publish_all

    report = publish_all(_registering())
    whole = sum(record.complete for record in report.records)
    lines = [f"{whole} of {len(report.records)} run records are complete in MLflow"]
    if report.registration is not None:
        done = report.registration
        lines.append(f"registered: {done.uri}" if not done.pending else f"registration of {done.model} is pending")
    lines += [f"problem: {problem}" for problem in report.problems]
    _tell(report.to_dict(), lines, as_json=as_json)
    if report.problems:
        raise typer.Exit(1)


def _registering() -> "Register":
    """Return how a registration that MLflow lacks is made up for: with the evidence that lies in build/."""

    def register(candidate: "Candidate") -> "Registration":
        from pipeline.params import load_params
        from pipeline.promotion.registering import register_with_evidence

        return register_with_evidence(candidate, paths.EVIDENCE, load_params(), only_forward=True)[0]

    return register


@app.command()
def summary(as_json: Json = False) -> None:
    """Tell what the last `dvc repro` made: pictures, recall, suspicious labels, model version."""
    from pipeline.summary import collect, describe

    found = collect()
    _tell(found, describe(found), as_json=as_json)


@app.command()
def ui(port: Annotated[int, typer.Option(help="Of this machine.")] = 5000) -> None:
    """Open MLflow's UI on the project's runs and registered models, until Ctrl-C."""
    import os

    from pipeline.tracking import server

    uri = server.tracking_uri()
    if uri.startswith(("http://", "https://")):
        print(f"MLFLOW_TRACKING_URI is set: open {server.shown(uri)}")
        return
    page = f"http://127.0.0.1:{port}/#/experiments?workflowType=machine_learning"
    print(f"MLflow's UI on {server.shown(uri)}: {page}   (Ctrl-C ends it)", flush=True)
    server.prepare_environment()
    command = [
        "mlflow",
        "server",
        "--backend-store-uri",
        uri,
        "--artifacts-destination",
        "mlartifacts",
        "--port",
        str(port),
    ]
    os.execv(sys.executable, [sys.executable, "-m", *command, "--workers", "1"])  # noqa: S606 -- no shell; Ctrl-C and SIGTERM reach the server itself


@app.command()
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
    from pipeline.ingest import project
    from pipeline.params import load_params, parse_params
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


@app.command("export-backbone")
def export_backbone(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A name that ends in .weights.h5.")],
    as_json: Json = False,
) -> None:
    """Write the fine-tuned model's backbone as a weights file, with its recipe beside it."""
    from pipeline.files import read_json
    from pipeline.model.export import export_backbone as export
    from pipeline.params import load_params
    from pipeline.tracking.record import RunRecord, flatten

    record = RunRecord.load(paths.FINETUNED)
    measured = read_json(paths.METRICS / "evaluate.json")["finetuned"]
    recipe = {
        "made_by": "dvc repro && nsfw export-backbone",
        "test": {key: round(measured[key], 4) for key in ("accuracy", "macro_recall", "loss")}
        | {"pictures": measured["pictures"]},
        "params": record.document["params"] | flatten(load_params().model_dump(include={"split", "pack"})),
        "splits": _counts(),
    }
    described = export(paths.FINETUNED / paths.MODEL_FILE, out, recipe)
    size = out.stat().st_size
    _tell(
        {"weights": str(out), "bytes": size, "recipe": str(described)},
        [f"wrote {out} ({size / 1e6:.2f} MB) and {described}", f"next: set backbone.weights to {out} in params.yaml"],
        as_json=as_json,
    )


def _counts() -> dict[str, int]:
    from pipeline.files import read_json

    return {
        split: sum(by_label.values()) for split, by_label in read_json(paths.METRICS / "split.json")["pictures"].items()
    }


@app.command("import-weights")
def import_weights(
    model_json: Annotated[Path, typer.Argument(metavar="MODEL_JSON", help="A TensorFlow.js layers model, as nsfwjs'.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A name that ends in .weights.h5.")],
    alpha: Annotated[float, typer.Option(help="MobileNetV2's width.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Turn nsfwjs' MobileNetV2 into Keras backbone weights, to warm-start from."""
    from pipeline.model import tfjs
    from pipeline.model.export import save_weights

    if not out.name.endswith(".weights.h5"):
        raise UserError(f"{out}: Keras weights files end in .weights.h5. Choose such a name.")
    save_weights(tfjs.mobilenet_v2_backbone(tfjs.read_weights(model_json), alpha, size=224), out)
    section = f"{{name: mobilenet_v2, alpha: {alpha:g}, weights: {out}, size: 224, rescaling: unit}}"
    lines = [f"wrote {out}", f"next: in params.yaml, backbone: {section}"]
    _tell({"weights": str(out)}, lines, as_json=as_json)


@app.command("import-model")
def import_model(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="model.json, .keras, .onnx, or a SavedModel's folder.")],
    *,
    fmt: Annotated[str | None, typer.Option("--format", help="tfjs, keras, saved_model or onnx; guessed.")] = None,
    classes: Annotated[str | None, typer.Option(help="Its classes, a,b,c, in the order of its outputs.")] = None,
    rename: Annotated[list[str] | None, typer.Option("--map", help="THEIRS=OURS; several add up. Repeat it.")] = None,
    rescaling: Annotated[str | None, typer.Option(help="none (0..255), unit, symmetric or imagenet.")] = None,
    size: Annotated[int | None, typer.Option(min=1, max=4096, help="Side of its input, px.")] = None,
    channels: Annotated[str, typer.Option(help="rgb or bgr.")] = "rgb",
    outputs: Annotated[str, typer.Option(help="probabilities or logits.")] = "probabilities",
    sha256: Annotated[str | None, typer.Option(help="The digest that it must have.")] = None,
    max_mb: Annotated[int, typer.Option(min=1, help="Refuse larger ones, MiB.")] = 1024,
    name: Annotated[str | None, typer.Option(help="Registered model; register.model if not given.")] = None,
    as_json: Json = False,
) -> None:
    """Register a model that exists elsewhere, to be challenged. It is inspected before anything of it is loaded."""
    options = {"format": fmt, "rescaling": rescaling, "channels": channels, "outputs": outputs}
    for option, value in options.items():
        if value not in (allowed := _IMPORT_CHOICES[option]):
            raise typer.BadParameter(f"--{option} is one of {', '.join(word for word in allowed if word)}, not {value}")
    if odd := [pair for pair in rename or [] if not all(pair.partition("="))]:
        raise typer.BadParameter(f"--map is THEIRS=OURS, not {odd[0]}")
    from pipeline import importing
    from pipeline.ingest import project
    from pipeline.model.foreign.terms import Said
    from pipeline.params import load_params
    from pipeline.tracking.server import prepare_environment

    project.check_root()
    prepare_environment()
    said: dict[str, Any] = {**options, "size": size, "sha256": sha256, "max_mb": max_mb}
    said["classes"] = tuple(word.strip() for word in classes.split(",")) if classes else None
    said["renamed"] = {theirs: ours for theirs, _, ours in (pair.partition("=") for pair in rename or [])}
    incumbent, done = importing.import_model(path, load_params(), Said(**said), name=name)
    _tell(importing.to_document(incumbent, done), importing.describe(incumbent, done), as_json=as_json)


_IMPORT_CHOICES: dict[str, tuple[str | None, ...]] = {
    "format": (None, "tfjs", "keras", "saved_model", "onnx"),
    "rescaling": (None, "none", "unit", "symmetric", "imagenet"),
    "channels": ("rgb", "bgr"),
    "outputs": ("probabilities", "logits"),
}


cli_models.add_to(app)
cli_serving.add_to(app)


def main() -> None:
    """Run the command: exit 0 done, 1 refused or failed, 2 wrong usage."""
    import logging
    import os

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    run(app, level=logging.WARNING)
