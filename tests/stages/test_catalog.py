"""Which contents are usable, the reasons why others are not, and the cost of a second batch."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.catalog import cached_results, measure
from pipeline.core import paths, tables
from pipeline.core.errors import UserError
from pipeline.data import folder as folders
from pipeline.data import shards, sightings
from pipeline.duplicates.fingerprint import VIEWS, fingerprint
from pipeline.images import sandbox
from pipeline.images.decode import decode_small
from pipeline.params.root import load_params
from pipeline.stages import catalog
from tests.support.pictures import LABELS, draw, encode, jpeg, png, scrape, sha

pytestmark = pytest.mark.untraced

OUTS = (paths.CATALOG, paths.QUARANTINE, paths.FINGERPRINTS)
CONTENTS = [sha(name) for name in "abcd"]
REASONS = ["", "broken: image file is truncated", "timeout: not done within 20 s"]
REFUSED = "too_large: 101 bytes, more than 100"

few = settings(deadline=None, max_examples=60)
texts = st.sampled_from(["b", "a", "c a", "é"])
sighted = st.lists(st.tuples(st.sampled_from([None, *CONTENTS]), texts, texts, st.integers(0, 9)), max_size=12)
judged = st.dictionaries(st.sampled_from(CONTENTS), st.sampled_from(REASONS))


def seen(rows) -> pd.DataFrame:
    """(content or None where refused, label, source, day) as sightings."""
    return sightings.frame(
        [
            {
                "sha256": content,
                "label": label,
                "origin": f"{label}/{number}",
                "source": source,
                "fetched_at": pd.Timestamp("2026-01-01", tz="UTC") + pd.Timedelta(days=day),
                "bytes": 101 if content is None else CONTENTS.index(content),
                "status": "refused" if content is None else "stored",
                "reason": REFUSED if content is None else "",
            }
            for number, (content, label, source, day) in enumerate(rows)
        ]
    )


def results(reasons: Mapping[str, str]) -> pd.DataFrame:
    """Each content's result; each is in two shards, as in a data/ that was assembled by hand."""
    fine = measure.Measure("PNG", "RGB", 48, 40, 1, 1, 1.0, 2.0, 0.5)
    rows = [
        (content, shard, 512, 7, reason, *fine, 0.1)
        for shard in ("a.tar", "b.tar")
        for content, reason in reasons.items()
    ]
    return pd.DataFrame(rows, columns=list(measure.RESULT))


@few
@given(st.lists(st.lists(texts, min_size=1), max_size=6), st.randoms())
def test_distinct_is_each_owners_sorted_set(lists, random):
    pairs = [(owner, value) for owner, values in enumerate(lists) for value in values]
    random.shuffle(pairs)
    owners = np.array([owner for owner, _ in pairs], dtype=np.intp)
    values = pd.Series([value for _, value in pairs], dtype="str")
    assert catalog.distinct(owners, values) == [sorted(set(values)) for values in lists]


@few
@given(sighted, judged)
def test_every_sighting_is_in_the_catalog_or_in_quarantine_with_its_reason(rows, reasons):
    sightings = seen(rows)
    usable = {content for content, reason in reasons.items() if not reason} & set(sightings["sha256"].dropna())

    table = catalog.catalog(sightings, results(reasons))
    assert list(table.columns) == list(catalog.COLUMNS)
    assert table["sha256"].tolist() == sorted(usable)
    for row in table.itertuples():
        own = [(label, source, day) for content, label, source, day in rows if content == row.sha256]
        labels, sources, days = (set(column) for column in zip(*own, strict=True))
        assert (row.labels, row.sources, row.bytes) == (sorted(labels), sorted(sources), CONTENTS.index(row.sha256))
        assert row.first_seen == pd.Timestamp("2026-01-01", tz="UTC") + pd.Timedelta(days=min(days))
        assert (row.shard, row.offset, row.size, row.width, row.quality) == ("a.tar", 512, 7, 48, 0.5)

    quarantined = catalog.quarantine(sightings, results(reasons))
    expected = {
        f"{label}/{number}": REFUSED
        if content is None
        else reasons.get(content, "missing_bytes: in no shard of data/shards")
        for number, (content, label, _, _) in enumerate(rows)
        if content not in usable
    }
    assert quarantined.set_index("origin")["reason"].to_dict() == expected
    assert quarantined["origin"].is_unique
    assert list(zip(quarantined["source"], quarantined["origin"], strict=True)) == sorted(
        zip(quarantined["source"], quarantined["origin"], strict=True)
    )


def test_the_order_of_sightings_and_results_does_not_matter():
    sightings = seen([(content, label, source, 1) for content in CONTENTS for label in "xy" for source in "pq"])
    judged = results(dict(zip(CONTENTS, ["", "", *REASONS[1:]], strict=True)))
    for table in (catalog.catalog, catalog.quarantine):
        shuffled = table(
            sightings.sample(frac=1, random_state=1), judged.iloc[::-1].sort_values("shard", kind="stable")
        )
        pd.testing.assert_frame_equal(shuffled.reset_index(drop=True), table(sightings, judged).reset_index(drop=True))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_megapixels", 1.0),
        ("min_side", 33),
        ("max_aspect", 9.0),
        ("formats", ("PNG",)),
        ("seconds", 1.0),
        ("memory_mb", 512),
    ],
)
def test_results_are_kept_for_the_bytes_the_name_and_the_params_that_made_them(project, key, value):
    params = load_params().catalog
    first, digest = Path("0001-a-00000.tar"), cached_results.recipe(params)
    first.write_bytes(b"content")
    path = cached_results.cache_path(first, digest)
    assert path == cached_results.cache_path(first, cached_results.recipe(params))
    assert path.parent == paths.CATALOG_CACHE
    others = [cached_results.cache_path(first, cached_results.recipe(params.model_copy(update={key: value})))]
    renamed = first.rename("0002-a-00000.tar")  # a result names its shard
    others.append(cached_results.cache_path(renamed, digest))
    renamed.rename(first).write_bytes(b"Content")
    others.append(cached_results.cache_path(first, digest))
    assert len({path, *others}) == 4


def take(name: str, contents: Mapping[str, bytes]) -> None:
    folders.ingest(folders.scan(scrape(Path(name), contents), LABELS), paths.DATA, name, max_bytes=200_000)


def outputs() -> list[bytes]:
    return [path.read_bytes() for path in OUTS]


def cache_files() -> dict[str, tuple[int, int]]:
    """Every file of the cache, with its inode and time, which change when it is written again."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths.CATALOG_CACHE.iterdir()}


def test_a_batch_costs_its_own_shard_and_cached_results_are_no_other(project, rng):
    sound = {f"neutral/{number}": jpeg(rng) for number in range(3)} | {"porn/turned.png": png(rng, (40, 90))}
    broken = {
        "drawings/half.jpg": jpeg(rng)[:400],
        "drawings/page.jpg": b"<html>404</html>",
        "drawings/nothing": b"",
        "hentai/dot.png": png(rng, (8, 8)),
        "hentai/line.png": png(rng, (400, 33)),
        "sexy/large.bin": bytes(200_001),
        "loose.jpg": sound["neutral/0"],
    }
    take("first", {**sound, "sexy/copy.jpg": sound["neutral/0"], **broken})
    catalog.main()
    whole, table, reasons = outputs(), tables.read_parquet(paths.CATALOG), pd.read_csv(paths.QUARANTINE)
    assert table["sha256"].tolist() == sorted(map(sha, sound.values()))
    labels = table.set_index("sha256")["labels"].map(list)
    assert labels[sha(sound["neutral/0"])] == ["neutral", "sexy"]
    for row in table[list(shards.Member._fields)].itertuples(index=False):
        assert sha(shards.read(paths.SHARDS, shards.Member(*row))) == row.sha256
    assert reasons.set_index("origin")["reason"].str.partition(":")[0].to_dict() == {
        "drawings/half.jpg": "broken",
        "drawings/page.jpg": "not_a_picture",
        "drawings/nothing": "empty",
        "hentai/dot.png": "too_small",
        "hentai/line.png": "too_elongated",
        "sexy/large.bin": "too_large",
        "loose.jpg": "no_label",
    }

    before = cache_files()
    assert len(before) == 1
    catalog.main()
    assert (cache_files(), outputs()) == (before, whole)

    later = encode(draw(rng), "WEBP")
    take("later", {"porn/new.webp": later, "porn/half.webp": later[:-40]})
    catalog.main()
    after = cache_files()
    assert before.items() < after.items()  # the first shard's results were read, not made again
    assert len(after) == 2
    grown = outputs()
    assert set(tables.read_parquet(paths.CATALOG)["sha256"]) == {*table["sha256"], sha(later)}
    prints = tables.read_parquet(paths.FINGERPRINTS)
    assert sorted(prints["sha256"]) == sorted({*table["sha256"], sha(later)})
    for content in (*sound.values(), later):
        row = prints[prints["sha256"] == sha(content)].iloc[0, 1:]
        assert tuple(row) == fingerprint(decode_small(content).image)[:-1]  # the frame is in the catalog

    shutil.rmtree(paths.CACHE)
    catalog.main()
    assert outputs() == grown
    assert cache_files().keys() == after.keys()


def test_what_load_did_to_a_worker_is_measured_again_and_nothing_else(project, rng, monkeypatch, caplog):
    heavy = encode(Image.new("RGB", (6000, 6000)), "PNG")  # 100 kB that take some 0.3 s of CPU
    take("first", {"neutral/a.jpg": jpeg(rng), "porn/heavy.png": heavy, "sexy/half.jpg": jpeg(rng)[:400]})
    hurried = sandbox.WorkerLimits(0.1, 1024)
    with monkeypatch.context() as loaded:
        loaded.setattr(sandbox, "WorkerLimits", lambda *_: hurried)
        catalog.main()
        reasons = pd.read_csv(paths.QUARANTINE).set_index("origin")["reason"].str.partition(":")[0]
        assert reasons.to_dict() == {"porn/heavy.png": "timeout", "sexy/half.jpg": "broken"}
        assert "1 contents are in quarantine without a verdict" in caplog.text
        assert "dvc repro -f catalog" in caplog.text
    monkeypatch.setattr(measure, "measure_shard", lambda *_: pytest.fail("a whole shard is measured"))
    alone = measure.measure_alone
    again = []
    monkeypatch.setattr(measure, "measure_alone", lambda *rest: again.extend(rest[-1]) or alone(*rest))
    caplog.clear()
    catalog.main()
    assert [member.sha256 for member in again] == [sha(heavy)]
    assert set(pd.read_csv(paths.QUARANTINE)["origin"]) == {"sexy/half.jpg"}
    assert sha(heavy) in set(tables.read_parquet(paths.CATALOG)["sha256"])
    assert caplog.text == ""
    settled, cached = outputs(), [path.read_bytes() for path in paths.CATALOG_CACHE.iterdir()]
    monkeypatch.undo()
    monkeypatch.chdir(project)
    shutil.rmtree(paths.CACHE)
    catalog.main()
    assert outputs() == settled
    assert [path.read_bytes() for path in paths.CATALOG_CACHE.iterdir()] == cached


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_picture_is_turned_upright_before_its_fingerprint_is_taken(project, rng, orientation):
    upright = draw(rng, (96, 64))
    turn = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = encode(upright.transpose(turn), "PNG", exif=exif.tobytes())
    take("batch", {"neutral/a.png": encode(upright, "PNG"), "neutral/turned.png": stored})
    catalog.main()
    first, second = tables.read_parquet(paths.FINGERPRINTS).drop(columns="sha256").itertuples(index=False)
    assert first == second
    assert len(first.hashes) == 32 * len(VIEWS)
    assert len(first.thumbnail) == 64 * 64


def test_a_damaged_shard_stops_the_stage_before_it_writes(project, rng):
    take("batch", {"neutral/a.png": png(rng)})
    (shard,) = paths.SHARDS.iterdir()
    content = bytearray(shard.read_bytes())
    content[600] ^= 1
    shard.write_bytes(content)
    with pytest.raises(UserError, match=rf"{shard.name} is damaged.*dvc checkout"):
        catalog.main()
    assert not any(path.exists() for path in (*OUTS, paths.CATALOG_CACHE))


def test_bytes_that_no_shard_holds_are_missed_by_name(project):
    take("batch", {"neutral/a.png": b"a", "loose": b"b"})
    for shard in paths.SHARDS.iterdir():
        shard.unlink()
    catalog.main()
    assert tables.read_parquet(paths.CATALOG, catalog.COLUMNS).empty
    rows = pd.read_csv(paths.QUARANTINE).set_index("origin")
    assert rows["reason"].str.partition(":")[0].to_dict() == {"neutral/a.png": "missing_bytes", "loose": "no_label"}


def test_without_a_sighting_there_is_nothing_to_catalogue(project):
    with pytest.raises(UserError, match="nsfw ingest folder"):
        catalog.main()
