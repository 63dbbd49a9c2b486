"""The graph at the article's size: each stage's time, CPU, memory and bytes, for ever more pictures.

Run     python benchmarks/size.py --pictures cifar10.tar.xz --sizes 30000 100000 300000
Expect  no stage above 3 GB, none that grows faster than the number of pictures to the power of 1.15.

PICTURES is an archive of `{train,test}/<class>/*.jpg`; CIFAR-10 has 60,000. Four variants of each (mirrored, turned,
darker, cropped) are pictures of their own at every size: dedupe is measured with near copies, and the stages after it
go on with `dedupe.near: false`, which keeps them. Each size is a project of its own in --work, made by the commands
that a person types. `finetune` is one pass of the frozen network, for `evaluate` (of the test set, a tenth) and
`nsfw score` (of all files); last, `dvc commit` caches the outputs, and `dvc repro` has nothing to do.

`--no-near --until audit` measures the stages up to one again, without the search for near copies, the longest.

A line of JSON a stage and size: pictures a second, CPU seconds of all its processes, the largest memory of one process
and of all together (MiB, sampled), MiB of its outputs; last the exponents of CPU time, a straight line by least squares
through the logarithms of all sizes of the stage.
"""

import argparse
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml
from PIL import Image, ImageEnhance, ImageOps

REPOSITORY = Path(__file__).resolve().parents[1]
STAGES = {
    "code": ["build/code"],
    "catalog": ["build/catalog.parquet", "build/fingerprints.parquet", ".cache/catalog"],
    "validate": [],
    "dedupe": ["build/deduped.parquet", "build/duplicates.parquet"],
    "split": ["build/splits.parquet"],
    "pack": ["build/packed"],
    "embed": ["build/embeddings", ".cache/embeddings"],
    "train": ["build/head"],
    "cross_fit": ["build/cross_fit.parquet"],
    "audit": ["build/label_quality.parquet"],
    "finetune": ["build/finetuned"],
    "evaluate": ["build/evidence", "build/predictions.parquet"],
    "register": [],
}
STAGE = (sys.executable, "-m", "pipeline")
NSFW = (sys.executable, "-c", "from pipeline.cli.console import main; main()")
VARIANTS = (
    lambda image: image,
    ImageOps.mirror,
    lambda image: image.rotate(90),
    lambda image: ImageEnhance.Brightness(image).enhance(0.6),
    lambda image: ImageOps.fit(image, image.size, bleed=0.12),
)


def write_pictures(archive: Path, folder: Path, count: int) -> list[str]:
    """Write the first `count` pictures of the archive and its variants as PNG; return the classes."""
    classes = set()
    with tarfile.open(archive) as opened:
        names = sorted(name for name in opened.getnames() if name.endswith(".jpg"))
        contents = {}
        for member in opened:
            if member.name.endswith(".jpg"):
                contents[member.name] = opened.extractfile(member).read()
    order = np.random.default_rng(0).permutation(len(names))
    for number in range(count):
        name = names[order[number // len(VARIANTS)]]
        label = name.split("/")[1]
        classes.add(label)
        variant = VARIANTS[number % len(VARIANTS)]
        (folder / label).mkdir(parents=True, exist_ok=True)
        with Image.open(io.BytesIO(contents[name])) as image:
            variant(image.convert("RGB")).save(folder / label / f"{number:06d}.png", compress_level=1)
    return sorted(classes)


class Usage(threading.Thread):
    """Samples a process and its children, ended ones included.

    Attributes:
        of_one: the largest memory of one process, in MiB, pages that it shares included.
        of_all: the largest memory of all together, in MiB, each shared page once.
        cpu: the CPU seconds of each process, when it was last seen.

    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.root, self.of_one, self.of_all, self.ended = psutil.Process(pid), 0.0, 0.0, threading.Event()
        self.cpu: dict[psutil.Process, float] = {}

    def run(self) -> None:
        """Sample until the end."""
        while not self.ended.wait(0.3):
            with suppress(psutil.Error):
                proportional = 0.0
                for process in [self.root, *self.root.children(recursive=True)]:
                    with suppress(psutil.Error):
                        memory = process.memory_full_info()
                        self.of_one = max(self.of_one, memory.rss / 2**20)
                        proportional += memory.pss / 2**20
                        self.cpu[process] = sum(process.cpu_times()[:2])
                self.of_all = max(self.of_all, proportional)


def measured(project: Path, *command: str) -> dict[str, float]:
    """Run a command in the project; return its seconds, CPU seconds and MiB."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment |= {"DVC_NO_ANALYTICS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONPATH": str(project)}
    with (project / "log.txt").open("ab") as log:
        process = subprocess.Popen(command, cwd=project, env=environment, stdout=log, stderr=log)
        usage = Usage(process.pid)
        usage.start()
        code = process.wait()
        usage.ended.set()
        usage.join()
    if code:
        sys.exit(f"{' '.join(command)} failed:\n{(project / 'log.txt').read_text()[-3000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    waited_for = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "s": round(time.perf_counter() - began, 1),
        # Workers of a fork server are nobody's children when they end: the system's sum lacks them, the samples do not.
        "cpu_s": round(max(waited_for, sum(usage.cpu.values())), 1),
        "one_mb": round(usage.of_one),
        "all_mb": round(usage.of_all),
    }


def make_project(folder: Path, classes: list[str]) -> None:
    """Make a project with params for small pictures."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True).stdout
    for name in names.decode().split("\0"):
        if name and not name.startswith(("tests/", ".dvc/sample/")) and name not in {"data.dvc", "dvc.lock"}:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REPOSITORY / name, folder / name)
    change(folder, "labels", names=classes, unsafe=classes[:2])
    change(folder, "backbone", size=32)
    change(folder, "embed", views=0)
    change(folder, "train", epochs=2)
    change(folder, "audit", views=0)
    change(folder, "finetune", epochs=1, unfreeze="none")
    for command in (["git", "init", "-q"], ["git", "add", "-A"], ["git", *_AUTHOR, "commit", "-qm", "start"]):
        subprocess.run(command, cwd=folder, check=True)


_AUTHOR = ("-c", "user.name=t", "-c", "user.email=t@example.org")


def change(folder: Path, section: str, **values: Any) -> None:
    """Change params.yaml."""
    path = folder / "params.yaml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    document[section] |= values
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def stage_rows(project: Path, raw: Path, size: int, *, near: bool, until: str | None) -> Iterator[dict[str, Any]]:
    """Run every stage, or those up to `until`, and yield each one's figures; `near`: near copies too."""
    for stage, outputs in STAGES.items():
        if stage != "dedupe" or near:
            yield row(project, stage, size, outputs, *STAGE, stage)
        if stage == "dedupe":
            change(project, "dedupe", near=False)
            yield row(project, "dedupe, exact", size, outputs, *STAGE, stage)
        if stage == until:
            return
    version = "models:/nsfw/1"
    yield row(project, "score", size, ["s.parquet"], *NSFW, "score", str(raw), "--out", "s.parquet", "--model", version)
    yield row(project, "dvc commit", size, [".dvc/cache"], "dvc", "commit", "--force", "--quiet")
    yield row(project, "dvc repro, nothing to do", size, [], "dvc", "repro")


def row(project: Path, name: str, size: int, outputs: list[str], *command: str) -> dict[str, Any]:
    """Run a command, and return its figures."""
    figures = measured(project, *command)
    written = sum(
        path.stat().st_size
        for out in outputs
        for path in [project / out, *(project / out).rglob("*")]
        if path.is_file()
    )
    rate = round(size / figures["s"], 1)
    return {"stage": name, "pictures": size, "a_second": rate} | figures | {"out_mb": round(written / 2**20)}


def exponents(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the exponent of CPU time over the number of pictures, by stage."""
    by_stage: dict[str, list[dict[str, Any]]] = {}
    for one in rows:
        by_stage.setdefault(one["stage"], []).append(one)
    return {
        stage: round(float(np.polyfit(*(np.log([one[key] for one in of]) for key in ("pictures", "cpu_s")), 1)[0]), 2)
        for stage, of in by_stage.items()
    }


def ingest(project: Path, folder: Path, source: str) -> dict[str, float]:
    """Ingest a folder by the command."""
    return measured(project, *NSFW, "ingest", "folder", str(folder), "--source", source, "--fresh")


def main() -> None:
    """Print a line a stage and size, and the exponents."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True, metavar="ARCHIVE")
    parser.add_argument("--sizes", type=int, nargs="+", default=[30_000, 100_000, 300_000])
    parser.add_argument("--work", type=Path, default=Path("size-benchmark"))
    parser.add_argument("--no-near", action="store_true", help="no search for near copies, the longest stage")
    parser.add_argument("--until", choices=STAGES, help="the last stage to run")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for size in options.sizes:
        project, raw = options.work.resolve() / str(size) / "project", options.work.resolve() / str(size) / "raw"
        classes = write_pictures(options.pictures, raw, size)
        make_project(project, classes)
        rows.append({"stage": "ingest", "pictures": size} | ingest(project, raw, "cifar"))
        print(json.dumps(rows[-1]), flush=True)
        for figures in stage_rows(project, raw, size, near=not options.no_near, until=options.until):
            rows.append(figures)
            print(json.dumps(figures), flush=True)
        shutil.rmtree(project.parent)
    if len(options.sizes) > 1:
        print(json.dumps({"exponents": exponents(rows)}))


if __name__ == "__main__":
    main()
