"""The graph at the article's size: each stage's time, CPU, memory and bytes, for ever more pictures.

Run     python benchmarks/size.py --pictures cifar10.tar.xz --sizes 30000 100000 300000 [--views 0] [--growth]
Expect  no stage above 3 GB, none that grows faster than the number of pictures to the power of 1.15.

PICTURES is an archive of `{train,test}/<class>/*.jpg`; CIFAR-10 has 60,000. Beyond those, variants of each (mirrored,
turned, darker, cropped) are pictures of their own: dedupe is measured with near copies, and the stages after it go on
with `dedupe.near: false`, which keeps them. Each size is a project of its own in --work, made by the commands that a
person types. A line of JSON a stage and size: pictures a second, CPU seconds of all its processes, the largest memory
of one process and of all together (MiB, sampled), MiB of its outputs; last the exponents between the smallest and the
largest size. `--growth`: then 1 % more pictures, and what catalog and embed cost for them, of what they cost before.
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
    "catalog": ["build/catalog.parquet", "build/fingerprints.parquet", ".cache/catalog"],
    "validate": [],
    "dedupe": ["build/deduped.parquet", "build/duplicates.parquet"],
    "split": ["build/splits.parquet"],
    "pack": ["build/packed"],
    "embed": ["build/embeddings", ".cache/embeddings"],
    "train": ["build/head"],
    "cross_fit": [],
    "audit": ["build/label_quality.parquet"],
}
VARIANTS = (
    lambda image: image,
    ImageOps.mirror,
    lambda image: image.rotate(90),
    lambda image: ImageEnhance.Brightness(image).enhance(0.6),
    lambda image: ImageOps.fit(image, image.size, bleed=0.12),
)


def write_pictures(archive: Path, folder: Path, count: int, first: int = 0) -> list[str]:
    """Write pictures number `first` to `count` of the archive and its variants as PNG; return the classes."""
    classes = set()
    with tarfile.open(archive) as opened:
        names = sorted(name for name in opened.getnames() if name.endswith(".jpg"))
        contents = {}
        for member in opened:
            if member.name.endswith(".jpg"):
                contents[member.name] = opened.extractfile(member).read()  # type: ignore[union-attr]
    order = np.random.default_rng(0).permutation(len(names))
    for number in range(first, count):
        name = names[order[number % len(names)]]
        label = name.split("/")[1]
        classes.add(label)
        variant = VARIANTS[number // len(names)]
        (folder / label).mkdir(parents=True, exist_ok=True)
        with Image.open(io.BytesIO(contents[name])) as image:
            variant(image.convert("RGB")).save(folder / label / f"{number:06d}.png", compress_level=1)
    return sorted(classes)


class Memory(threading.Thread):
    """Samples the memory of a process and its children, in MiB: the largest of one, and of all together."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.root, self.of_one, self.of_all, self.ended = psutil.Process(pid), 0.0, 0.0, threading.Event()

    def run(self) -> None:
        """Sample until the end."""
        while not self.ended.wait(0.3):
            with suppress(psutil.Error):
                each = []
                for process in [self.root, *self.root.children(recursive=True)]:
                    with suppress(psutil.Error):
                        each.append(process.memory_full_info().pss / 2**20)
                self.of_one, self.of_all = max(self.of_one, *each), max(self.of_all, sum(each))


def measured(project: Path, *command: str) -> dict[str, float]:
    """Run a command in the project; return its seconds, CPU seconds and MiB."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment |= {"DVC_NO_ANALYTICS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONPATH": str(project)}
    with (project / "log.txt").open("ab") as log:
        process = subprocess.Popen(command, cwd=project, env=environment, stdout=log, stderr=log)
        memory = Memory(process.pid)
        memory.start()
        code = process.wait()
        memory.ended.set()
        memory.join()
    if code:
        sys.exit(f"{' '.join(command)} failed:\n{(project / 'log.txt').read_text()[-3000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "s": round(time.perf_counter() - began, 1),
        "cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "one_mb": round(memory.of_one),
        "all_mb": round(memory.of_all),
    }


def make_project(folder: Path, classes: list[str], views: int) -> None:
    """Make a project with params for small pictures."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True).stdout
    for name in names.decode().split("\0"):
        if name and not name.startswith(("tests/", "docs/", ".dvc/sample/")) and name not in {"data.dvc", "dvc.lock"}:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REPOSITORY / name, folder / name)
    change(folder, "labels", names=classes, unsafe=classes[:2])
    change(folder, "backbone", size=32)
    change(folder, "embed", views=views)
    change(folder, "train", epochs=2)
    change(folder, "audit", views=views)
    for command in (["git", "init", "-q"], ["git", "add", "-A"], ["git", *_AUTHOR, "commit", "-qm", "start"]):
        subprocess.run(command, cwd=folder, check=True)


_AUTHOR = ("-c", "user.name=t", "-c", "user.email=t@example.org")


def change(folder: Path, section: str, **values: Any) -> None:
    """Change params.yaml."""
    path = folder / "params.yaml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    document[section] |= values
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def stage_rows(project: Path, size: int) -> Iterator[dict[str, Any]]:
    """Run every stage, and yield its figures."""
    for stage, outputs in STAGES.items():
        if stage == "validate":
            yield row(project, "code", size, [], "code")
        yield row(project, stage, size, outputs, stage)
        if stage == "dedupe":
            change(project, "dedupe", near=False)
            yield row(project, "dedupe, exact", size, outputs, stage)


def row(project: Path, name: str, size: int, outputs: list[str], stage: str) -> dict[str, Any]:
    """Run a stage, and return its figures."""
    figures = measured(project, sys.executable, "-m", "pipeline", stage)
    written = sum(
        path.stat().st_size
        for out in outputs
        for path in [project / out, *(project / out).rglob("*")]
        if path.is_file()
    )
    rate = round(size / figures["s"], 1)
    return {"stage": name, "pictures": size, "a_second": rate} | figures | {"out_mb": round(written / 2**20)}


def exponents(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the exponent of CPU time between the smallest and the largest size, by stage."""
    by_stage: dict[str, list[dict[str, Any]]] = {}
    for one in rows:
        by_stage.setdefault(one["stage"], []).append(one)
    return {
        stage: round(
            float(np.log(many["cpu_s"] / few["cpu_s"]) / np.log(many["pictures"] / few["pictures"])), 2
        )
        for stage, (few, *_, many) in by_stage.items()
        if many["pictures"] > few["pictures"]
    }  # fmt: skip


def grown(project: Path, archive: Path, size: int, rows: list[dict[str, Any]]) -> dict[str, float]:
    """Add 1 % more pictures, and return what catalog and embed cost of what they cost before."""
    more = project.parent / "more"
    write_pictures(archive, more, size + size // 100, size)
    ingest(project, more, "more")
    before = {one["stage"]: one["cpu_s"] for one in rows if one["pictures"] == size}
    shares = {}
    for stage in ("code", "catalog", "dedupe", "split", "pack", "embed"):
        cost = measured(project, sys.executable, "-m", "pipeline", stage)["cpu_s"]
        if stage in {"catalog", "embed"}:
            shares[stage] = round(cost / before[stage], 3)
    shutil.rmtree(more)
    return shares


def ingest(project: Path, folder: Path, source: str) -> dict[str, float]:
    """Ingest a folder by the command."""
    fresh = [] if (project / "data").exists() else ["--fresh"]
    command = "from pipeline.cli.console import main; main()"
    return measured(project, sys.executable, "-c", command, "ingest", "folder", str(folder), "--source", source, *fresh)


def main() -> None:
    """Print a line a stage and size, and the exponents."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True, metavar="ARCHIVE")
    parser.add_argument("--sizes", type=int, nargs="+", default=[30_000, 100_000, 300_000])
    parser.add_argument("--views", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("size-benchmark"))
    parser.add_argument("--growth", action="store_true")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    shares: dict[str, float] = {}
    for size in options.sizes:
        project, raw = options.work.resolve() / str(size) / "project", options.work.resolve() / str(size) / "raw"
        classes = write_pictures(options.pictures, raw, size)
        make_project(project, classes, options.views)
        rows.append({"stage": "ingest", "pictures": size} | ingest(project, raw, "cifar"))
        print(json.dumps(rows[-1]), flush=True)
        shutil.rmtree(raw)
        for figures in stage_rows(project, size):
            rows.append(figures)
            print(json.dumps(figures), flush=True)
        if options.growth and size == options.sizes[-1]:
            shares = grown(project, options.pictures, size, rows)
        shutil.rmtree(project.parent)
    print(json.dumps({"exponents": exponents(rows) if len(options.sizes) > 1 else {}, "growth": shares}))


if __name__ == "__main__":
    main()
