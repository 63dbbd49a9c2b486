"""What goes of each cache, and what stays."""

import ast
import os
import time
from pathlib import Path

import pytest

from pipeline.catalog import cached_results
from pipeline.core import paths
from pipeline.core.files import write_json
from pipeline.data import batch_names, folder
from pipeline.garbage import caches
from pipeline.images import thumbnails
from pipeline.params.root import load_params
from pipeline.training.identity import digests_of
from tests.support.pictures import LABELS, scrape, sha

NOW = time.time()


def touch(path: Path, age: float = 0.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("some bytes", encoding="utf-8")
    os.utime(path, (NOW - age, NOW - age))
    return path


def planned(evidence=(), published=()) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """What goes and what stays, by kind."""
    part = caches.plan(load_params(), evidence, published, NOW)
    unused, stays = (
        {group.kind: [item.name for item in group.items] for group in groups} for groups in (part.unused, part.stays)
    )
    return unused, stays


def names(*files: Path) -> list[str]:
    return sorted(path.as_posix() for path in files)


@pytest.mark.parametrize("stage", ["train", "finetune", "cross_fit"])
def test_what_weights_depend_on_is_as_the_stage_has_it(stage):
    tree = ast.parse((Path(__file__).parents[2] / f"pipeline/stages/{stage}.py").read_text(encoding="utf-8"))
    constants = {
        node.targets[0].id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    sections, inputs = caches.DEPENDENCIES[stage]
    assert ast.literal_eval(constants["SECTIONS"]) == sections
    if stage == "cross_fit":
        inline = next(
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "digests_of"
        )
        expected = inline.args[2].elts
    else:
        expected = constants["INPUTS"].elts + ([constants["HEAD_MODEL"]] if stage == "finetune" else [])
    assert [eval(ast.unparse(each), {"paths": paths}) for each in expected] == list(inputs)  # noqa: S307 -- our own source


def test_catalog_results_and_thumbnails_of_what_is_not_in_data(params, tmp_path):
    raw = scrape(tmp_path / "raw", {"neutral/one.jpg": b"one"})
    folder.ingest(folder.scan(raw, LABELS), paths.DATA, "batch")
    (shard,) = batch_names.shard_files(paths.SHARDS)
    current = touch(cached_results.cache_path(shard, cached_results.recipe(load_params().catalog)))
    other_code = touch(cached_results.cache_path(shard, "another recipe"))
    shown, gone = (touch(thumbnails.path_of(sha(text))) for text in ("one", "two"))
    unused, stays = planned()
    assert unused == {"catalog results": names(other_code), "thumbnails": names(gone)}
    assert stays == {"catalog results": names(current), "thumbnails": names(shown)}
    paths.DATA.rename(tmp_path / "away")  # as before a `dvc pull`
    assert planned()[0] == {}


def test_a_checkpoint_and_folds_stay_while_params_data_and_code_are_the_same(params):
    for path in (paths.SPLITS, paths.EMBEDDINGS / "a.npy", paths.PACKED / "train-0.tfrecord"):
        touch(path)

    def identity(stage: str) -> dict[str, str]:
        sections, inputs = caches.DEPENDENCIES[stage]
        return digests_of(stage, load_params().model_dump(include=set(sections)), inputs)

    def checkpoint(name: str, of: dict[str, str]) -> Path:
        write_json({"record": "x", "identity": of}, paths.CHECKPOINTS / name / "run.json")
        return paths.CHECKPOINTS / name

    current = checkpoint("train-1", identity("train"))
    other = checkpoint("train-2", identity("train") | {"data": "another"})
    unknown = checkpoint("finetune-3", {"data": "x"})  # build/head is not here: nobody can tell
    unused, stays = planned()
    assert unused == {"checkpoints": names(other)}
    assert stays == {"checkpoints": names(current, unknown)}
    touch(paths.SPLITS).write_text("more pictures", encoding="utf-8")
    assert planned()[0] == {"checkpoints": names(current, other)}
    touch(paths.CROSS_FIT_CACHE / ("0" * 16) / "fold-00.npz")
    assert planned()[0]["folds of cross_fit"] == names(paths.CROSS_FIT_CACHE / ("0" * 16))


def test_features_evidence_records_and_leftovers(params):
    last, before = paths.EMBEDDINGS_CACHE / "a", paths.EMBEDDINGS_CACHE / "b"
    for recipe, age in ((last, 1.0), (before, 100.0)):
        touch(recipe / "x.npz")
        os.utime(recipe, (NOW - age, NOW - age))
    digest, other = "a" * 64, "b" * 64
    of_version = touch(paths.EVIDENCE_CACHE / digest / "evidence.json").parent
    of_none = touch(paths.EVIDENCE_CACHE / other / "evidence.json").parent
    answers = touch(paths.EVIDENCE_CACHE / f"{digest[:16]}-1-on-{other[:16]}.parquet")
    old_answers = touch(paths.EVIDENCE_CACHE / f"{other[:16]}-2-on-{digest[:16]}.parquet")
    published, unpublished = (touch(paths.RUNS / name / "record.json").parent for name in ("published", "unpublished"))
    subset = touch(paths.TUNE / "subset-1.tfrecord")
    journal = touch(paths.CACHE / "web_ingest" / "web.db")
    died, at_work = (
        touch(paths.CATALOG_CACHE / ".a.parquet.x.tmp", 2e5),
        touch(paths.CATALOG_CACHE / ".b.parquet.x.tmp"),
    )
    touch(paths.CACHE / "ingest.lock", 2e5)
    touch(paths.REVIEW_KEY, 2e5)
    unused, stays = planned({digest}, [published])
    assert unused == {
        "features": names(before),
        "subsets of the search": names(subset),
        "evidence": names(of_none, old_answers),
        "run records": names(published),
        "leftovers": names(died),
    }
    assert stays == {
        "features": names(last),
        "evidence": names(of_version, answers),
        "run records": names(unpublished),
        "fetched from the web": names(journal),
    }
    unused, _ = planned(None, None)  # MLflow does not answer
    assert unused.keys() == {"features", "subsets of the search", "leftovers"}
    caches.delete(caches.plan(load_params(), {digest}, [published], NOW))
    assert planned({digest}, [published])[0] == {}
    for path in (last, of_version, answers, unpublished, journal, at_work, paths.REVIEW_KEY):
        assert path.exists()
