"""What 1 % more pictures cost: `catalog`, `pack` and `embed` from nothing, with nothing new, and after the growth.

Run     python benchmarks/growth.py --pictures flowers.tar --count 10000
Expect  `grown` at most 3 % of `from nothing` in catalog and in embed.

PICTURES is an archive of `.../<class>/*.jpg`. Where it has fewer than COUNT, variants of them follow (mirrored, turned,
darker, cropped); all are JPEG files whose shorter side is --side px, which is the network's input as well. The params
are the bundled sample's: MobileNetV2 at width 0.35, four augmented views beside the picture itself. A line of JSON a
stage: CPU seconds of its processes and seconds, of each of the three, and the share. Most of what `nothing new` takes
is the start: a process that imports TensorFlow; it does not grow with the number of pictures.
"""

import argparse
import io
import json
import shutil
import tarfile
from pathlib import Path, PurePosixPath

from PIL import Image, ImageOps
from size import NSFW, STAGE, VARIANTS, change, ingest, make_project, measured

MEASURED = ("catalog", "pack", "embed")
STAGES = ("code", "catalog", "validate", "dedupe", "split", "pack", "embed")


def write_pictures(archive: Path, folders: tuple[Path, Path], counts: tuple[int, int], side: int) -> list[str]:
    """Write so many pictures to the first folder and so many others to the second; return the classes."""
    with tarfile.open(archive) as opened:
        files = {
            one.name: opened.extractfile(one).read() for one in opened if one.isfile() and one.name.endswith(".jpg")
        }
    names = sorted(files, key=lambda name: (PurePosixPath(name).name, name))  # the classes mixed
    for number in range(sum(counts)):
        name, variant = names[number % len(names)], VARIANTS[number // len(names) % len(VARIANTS)]
        path = folders[number >= counts[0]] / PurePosixPath(name).parent.name / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(io.BytesIO(files[name])) as image:
            variant(ImageOps.cover(image.convert("RGB"), (side, side))).save(path, quality=90)
    return sorted({PurePosixPath(name).parent.name for name in names})


def run(project: Path) -> dict[str, dict[str, float]]:
    """Run the stages up to `embed`; return the figures of those that are measured."""
    figures = {stage: measured(project, *STAGE, stage) for stage in STAGES}
    return {stage: figures[stage] for stage in MEASURED}


def main() -> None:
    """Print a line a stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True, metavar="ARCHIVE")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--share", type=float, default=0.01, help="of COUNT, that are added")
    parser.add_argument("--side", type=int, default=256, help="px")
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--work", type=Path, default=Path("growth-benchmark"))
    options = parser.parse_args()
    work = options.work.resolve()
    project, raw, more = work / "project", work / "raw", work / "more"
    added = round(options.count * options.share)
    classes = write_pictures(options.pictures, (raw, more), (options.count, added), options.side)
    make_project(project, classes)
    change(project, "backbone", size=options.side)
    change(project, "embed", views=options.views)
    change(project, "dedupe", near=False)  # variants would be dropped
    change(project, "validate", smallest_class={"limit": 1, "severity": "error"})
    ingest(project, raw, "first")
    first, again = run(project), run(project)
    measured(project, *NSFW, "ingest", "folder", str(more), "--source", "second")
    grown = run(project)
    for stage in MEASURED:
        courses = {"from nothing": first[stage], "nothing new": again[stage], "grown": grown[stage]}
        figures = {
            unit: {name: course[unit] for name, course in courses.items()}
            | {"share": round(grown[stage][unit] / first[stage][unit], 3)}
            for unit in ("cpu_s", "s")
        }
        print(json.dumps({"stage": stage, "pictures": options.count, "added": added} | figures), flush=True)
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
