import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

from pipeline.core import files, paths, tables
from pipeline.core.errors import UserError
from pipeline.data import annotation_files, cluster_origins, sightings
from pipeline.params.root import load_params
from pipeline.stages import dedupe
from tests.support.copies import COPIES, app, change, decide, ingest, outs, phone, report, run, scene
from tests.support.pictures import LABELS, encode, sha

pytestmark = pytest.mark.untraced

ORIGINAL = encode(scene(1), "PNG")
VARIANTS = {name: make(scene(1)) for name, make in COPIES.items()}
LARGEST = sha(VARIANTS["large"])


def others(count=6):
    return {f"neutral/other{n}.png": encode(scene(100 + n), "PNG") for n in range(count)}


@pytest.fixture
def copied(project):
    """A picture with seven near copies under one label, an exact copy, and six other pictures."""
    pictures = {"porn/original.png": ORIGINAL, "porn/again.png": ORIGINAL, **others()}
    ingest(pictures | {f"porn/{name}.jpg": data for name, data in VARIANTS.items()})


def test_every_kind_of_copy_is_one_with_its_original_and_the_largest_is_kept(copied):
    outputs = run()
    assert set(outputs["deduped"]["sha256"]) == {LARGEST, *(sha(data) for data in others().values())}
    copies = outputs["duplicates"]
    near = copies[copies["kind"] == "near"]
    assert set(near["sha256"]) == {sha(ORIGINAL), *map(sha, VARIANTS.values())} - {LARGEST}
    assert set(near["kept"]) == {LARGEST}
    assert near["distance"].between(0, 80).all()
    exact = copies[copies["kind"] == "exact"]
    assert exact[["sha256", "kept", "distance"]].to_numpy().tolist() == [[sha(ORIGINAL), LARGEST, 0]]
    assert outputs["conflicts"].empty
    assert outputs["set_aside"].empty
    metrics = files.read_json(paths.METRICS / "dedupe.json")
    assert (metrics["catalogued"], metrics["kept"], metrics["near_copies"], metrics["exact_copies"]) == (14, 7, 7, 1)
    assert metrics["kept_by_label"] == {"neutral": 6, "porn": 1}


def test_turned_and_flipped_copies_are_one_with_their_original(project):
    turns = {turn.name: encode(scene(1).transpose(turn), "JPEG", quality=85) for turn in Image.Transpose}
    ingest({"porn/original.png": ORIGINAL} | {f"porn/{name}.jpg": data for name, data in turns.items()} | others(2))
    outputs = run()
    assert len(outputs["deduped"]) == 3
    assert {*outputs["duplicates"]["sha256"], *outputs["deduped"]["sha256"]} >= {sha(data) for data in turns.values()}
    assert len(set(outputs["duplicates"]["cluster"])) == 1


def test_a_phones_screenshot_is_one_with_the_photograph_which_is_kept(project):
    photo = scene(1, (256, 192))
    shots = {f"porn/{ground}.jpg": encode(phone(photo, ground), "JPEG", quality=80) for ground in (0, 245)}
    ingest({"porn/photo.png": encode(photo, "PNG"), **shots, **others(2)})
    outputs = run()
    assert sha(encode(photo, "PNG")) in set(outputs["deduped"]["sha256"])
    assert set(outputs["duplicates"]["sha256"]) == {sha(data) for data in shots.values()}


def test_screenshots_of_one_app_are_as_many_pictures_as_photographs(project):
    boxes = [(55, 110, 185, 200), (10, 60, 230, 210), (0, 45, 240, 245)]  # 12, 34 and 50 %
    shots = {
        f"porn/{at}-{seed}.png": encode(app(scene(10 * at + seed), box), "PNG")
        for at, box in enumerate(boxes)
        for seed in range(4)
    }
    again = {
        f"porn/again-{at}.jpg": encode(app(scene(10 * at), box), "JPEG", quality=60) for at, box in enumerate(boxes)
    }
    ingest(shots | again)
    outputs = run()
    assert len(outputs["deduped"]) == len(shots)
    assert len(outputs["duplicates"]) == len(again)


def test_what_a_frame_adds_does_not_count(project):
    ingest({"porn/a.png": ORIGINAL, "porn/b.jpg": VARIANTS["border"]})  # 200 x 160, and 216 x 176 with its frame
    outputs = run()
    assert outputs["deduped"]["sha256"].tolist() == [sha(ORIGINAL)]
    assert "frame" in paths.DUPLICATES_REPORT.read_text(encoding="utf-8")


def test_shuffled_tables_give_identical_bytes(copied):
    run()
    first = [path.read_bytes() for path in outs()]
    for path in (paths.CATALOG, *paths.SIGHTINGS.glob("*.parquet")):
        table = pd.read_parquet(path)
        tables.write_parquet(table.sample(frac=1, random_state=5), path)
    run()
    assert [path.read_bytes() for path in outs()] == first


def test_params_reorder_what_is_kept(copied):
    change(keep=["quality", "largest"])
    canonical = run()["deduped"]
    catalog = pd.read_parquet(paths.CATALOG).set_index("sha256")
    cluster = [sha(ORIGINAL), *map(sha, VARIANTS.values())]
    assert set(canonical["sha256"]) & set(cluster) == {catalog.loc[cluster, "quality"].idxmax()}
    change(keep=["prettiest"])
    with pytest.raises(UserError, match=r"dedupe\.keep"):
        load_params()


def test_without_near_a_content_is_its_own_cluster(copied):
    change(near=False)
    outputs = run()
    assert len(outputs["deduped"]) == 14
    assert set(outputs["duplicates"]["kind"]) == {"exact"}


@pytest.fixture
def conflicting(project):
    """One picture, under porn three times and under sexy once."""
    ingest({"porn/a.png": ORIGINAL, "porn/b.jpg": VARIANTS["jpeg"], "porn/c.png": VARIANTS["half"],
            "sexy/d.jpg": VARIANTS["mirror"], **others(2)})  # fmt: skip


def test_a_cluster_under_two_labels_is_a_conflict_as_a_whole(conflicting):
    outputs = run()
    assert set(outputs["conflicts"]["label"]) == {"porn", "sexy"}
    assert set(outputs["conflicts"]["sha256"]) == {
        sha(ORIGINAL),
        *(sha(VARIANTS[n]) for n in ("jpeg", "half", "mirror")),
    }
    assert set(outputs["deduped"]["label"]) == {"neutral"}
    near = outputs["duplicates"]
    assert near["kept"].isna().all()
    assert len(set(near["cluster"])) == 1


def test_a_decision_on_one_settles_those_that_it_confirms_and_is_offered_to_the_others(conflicting):
    decide((sha(VARIANTS["jpeg"]), "porn"))
    outputs = run()
    canonical = outputs["deduped"].set_index("sha256")["label"]
    assert canonical[canonical != "neutral"].to_dict() in ({sha(ORIGINAL): "porn"}, {sha(VARIANTS["jpeg"]): "porn"})
    rest = outputs["conflicts"][["sha256", "label", "offered"]].to_numpy().tolist()
    assert rest == [[sha(VARIANTS["mirror"]), "sexy", "porn"]]
    decide((sha(VARIANTS["jpeg"]), "porn"), (sha(VARIANTS["mirror"]), "drop"))
    outputs = run()
    assert outputs["conflicts"].empty
    assert files.read_json(paths.METRICS / "dedupe.json")["dropped"] == 1


def test_a_content_under_two_labels_is_a_conflict_that_a_decision_settles(project):
    ingest({"porn/a.png": ORIGINAL, "sexy/a.png": ORIGINAL, **others(2)})
    assert run()["conflicts"]["label"].tolist() == ["porn", "sexy"]
    decide((sha(ORIGINAL), "drop"), (sha(ORIGINAL), "sexy"))  # the last row wins
    outputs = run()
    assert outputs["deduped"].set_index("sha256")["label"][sha(ORIGINAL)] == "sexy"
    assert outputs["conflicts"].empty


@pytest.mark.parametrize("row", [(sha("b"), "cats"), ("abc", "porn")])
def test_a_row_that_decides_nothing_is_named_by_its_line(project, row):
    paths.DATA.mkdir()
    decide((sha("a"), "drop"), row)
    with pytest.raises(UserError, match=r"line 3.*(cats|abc)"):
        annotation_files.decisions(paths.DECISIONS, LABELS)


def gone(quality):
    image = Image.new("RGB", (161, 81), (34, 34, 34))
    ImageDraw.Draw(image).text((12, 30), "The image you requested\nno longer exists", fill=(220, 220, 220))
    return encode(image, "JPEG", quality=quality)


def test_placeholders_and_blank_pictures_are_set_aside_unless_a_person_spoke_of_them(project):
    blank = encode(Image.new("RGB", (80, 80), (250, 250, 250)), "PNG")
    pictures = {f"{LABELS[n % 5]}/gone{n}.jpg": gone(60 + 3 * n) for n in range(10)}
    ingest(pictures | {"porn/blank.png": blank, **others(2)})
    outputs = run()
    aside = outputs["set_aside"].set_index("sha256")["reason"]
    assert aside[sha(blank)].startswith("blank: contrast 0")
    assert set(aside.drop(sha(blank))) == {"placeholder: nearly the same in 10 files"}
    assert len(aside) == 11
    assert len(outputs["deduped"]) == 2
    assert outputs["conflicts"].empty
    decide((sha(blank), "neutral"))
    outputs = run()
    assert sha(blank) in set(outputs["deduped"]["sha256"])
    assert len(outputs["set_aside"]) == 10


def test_a_reported_picture_stays_itself_and_stands_for_its_cluster(copied):
    reported = sha(VARIANTS["crop"])
    report((reported, "porn"))
    outputs = run()
    assert reported in set(outputs["deduped"]["sha256"])
    assert LARGEST not in set(outputs["deduped"]["sha256"])
    copies = outputs["duplicates"]
    held = cluster_origins.clusters_of(pd.concat([outputs["deduped"], copies]), {sha(ORIGINAL)})
    assert held == set(copies["cluster"])  # by a copy that is not kept, too


def test_a_later_batch_renames_no_cluster(project):
    ingest({"porn/a.png": VARIANTS["half"], **others(2)}, "first")
    before = run()["deduped"]
    ingest({"porn/b.png": ORIGINAL}, "second")
    outputs = run()
    assert outputs["deduped"].set_index("sha256")["cluster"][sha(ORIGINAL)] == sha(VARIANTS["half"])
    assert set(outputs["deduped"]["cluster"]) == set(before["cluster"])


def test_fingerprints_of_another_run_are_refused(copied):
    table = pd.read_parquet(paths.FINGERPRINTS)
    tables.write_parquet(table.iloc[1:], paths.FINGERPRINTS)
    with pytest.raises(UserError, match=r"fingerprints\.parquet"):
        dedupe.main()


def test_arrival_is_the_first_batch(tmp_path):
    for number, names in enumerate((["a"], ["b", "a"])):
        rows = [
            {"sha256": name, "label": "porn", "origin": name, "source": "s", "bytes": 1, "status": "stored",
             "reason": "", "fetched_at": pd.Timestamp("2026-01-01", tz="UTC")} for name in names
        ]  # fmt: skip
        tables.write_parquet(sightings.frame(rows), tmp_path / f"{number:04}.parquet")
    assert sightings.first_batches(tmp_path).to_dict() == {"a": 0, "b": 1}
    assert np.issubdtype(sightings.first_batches(tmp_path).dtype, np.integer)


def test_decisions_and_reports_that_change_nothing_are_counted_and_named(conflicting, caplog):
    """Of sha256s that nobody saw, of quarantined pictures, of a conflict; and those that others contradict."""
    ingest({"porn/broken.png": ORIGINAL[:60]}, "second")
    broken, other = sha(ORIGINAL[:60]), sha(others(1)["neutral/other0.png"])
    rows = [(sha("nobody"), "", "porn"), (broken, "", "drop"), (other, "porn", "drawings"), (other, "drawings", "sexy")]
    lines = [",".join(annotation_files.DECISIONS), *(f"{one},{old},{new},ann,,2026-01-02," for one, old, new in rows)]
    text = "\n".join(lines)
    for one, _, _ in rows:
        text = text.replace(one, one.upper())
    paths.DECISIONS.write_text(text, encoding="utf-8")
    report((sha("no one"), "porn"), (sha(ORIGINAL), "porn"), (broken, "porn"), (other, "neutral"))
    caplog.clear()
    outputs = run()
    assert outputs["deduped"].set_index("sha256")["label"][other] == "sexy"  # upper-case digits, the last row
    counted = files.read_json(paths.METRICS / "dedupe.json")["annotations"]
    assert counted == {
        "decisions": {"rows": 4, "unknown": 1, "quarantined": 1, "old_label_differs": 1},
        "reports": {"rows": 4, "unknown": 1, "conflict": 1, "quarantined": 1, "label_differs": 1},
    }
    decisions, reports = [record.getMessage() for record in caplog.records if "to look at" in record.getMessage()]
    assert decisions.startswith("data/decisions.csv: 3 of 4 row(s) to look at")
    assert f"line 2 ({sha('nobody')[:12]}): no effect: no file in data/sightings" in decisions
    assert f"line 3 ({broken[:12]}): no effect: the picture is quarantined" in decisions
    assert f"line 4 ({other[:12]}): applied, but old_label" in decisions
    assert f"line 3 ({sha(ORIGINAL)[:12]}): no effect yet: the picture is in conflict" in reports


def decide_on(*rows: tuple[str, str, str]) -> None:
    lines = [
        ",".join(annotation_files.DECISIONS),
        *(f"{one},{old},{new},ann,why,2026-01-02," for one, old, new in rows),
    ]
    paths.DECISIONS.write_text("\ufeff" + "\r\n".join(lines) + "\r\n", encoding="utf-8", newline="")


def test_a_confirmed_label_resolves_a_conflict_as_a_relabelled_one_does(conflicting):
    decide_on((sha(VARIANTS["jpeg"]), "porn", "keep"), (sha(VARIANTS["mirror"]), "sexy", "porn"))
    outputs = run()
    assert outputs["conflicts"].empty
    assert outputs["deduped"]["label"].tolist().count("porn") == 1


def test_a_confirmed_label_that_the_picture_has_not_is_named_by_its_line(conflicting):
    other = sha(others(1)["neutral/other0.png"])
    decide_on((other, "neutral", "porn"), (other, "porn", "keep"), (sha("nobody"), "sexy", "keep"))
    run()  # it was decided to be porn before; nobody knows the third
    decide_on((other, "neutral", "keep"), (sha(VARIANTS["jpeg"]), "sexy", "keep"))
    with pytest.raises(UserError, match=r"line 3: keep confirms sexy, but the picture has porn"):
        dedupe.main()


@pytest.mark.parametrize("old", ["", "porn|sexy", "cats"])
def test_keep_needs_the_one_label_that_it_confirms(project, old):
    paths.DATA.mkdir()
    decide_on((sha("a"), "porn", "keep"), (sha("b"), old, "keep"))
    with pytest.raises(UserError, match=r"line 3: old_label is .* beside keep it must be the confirmed label"):
        annotation_files.decisions(paths.DECISIONS, LABELS)


def test_unsure_and_escalated_pictures_are_out_and_listed(copied, caplog):
    tired, strange = (sha(data) for data in list(others().values())[:2])
    decide_on((sha(ORIGINAL), "porn", "escalate"), (tired, "neutral", "unsure"), (strange, "neutral", "keep"))
    report((tired, "neutral"), (sha(ORIGINAL), "porn"))
    outputs = run()
    assert set(outputs["deduped"]["label"]) == {"neutral"}
    assert len(outputs["deduped"]) == 5
    excluded = tables.read_csv(paths.EXCLUDED, ("sha256", "reason", "label")).set_index("sha256")
    assert excluded.loc[tired, ["reason", "label"]].tolist() == ["unsure", "neutral"]
    assert set(excluded.drop(tired)["reason"]) == {"escalated"}
    listed = tables.read_csv(paths.ESCALATIONS, ("sha256", "labels", "origin", "reviewer", "reason", "decided_at"))
    assert set(listed["sha256"]) == {sha(ORIGINAL), *map(sha, VARIANTS.values())}
    original = listed[listed["sha256"] == sha(ORIGINAL)]
    assert original["origin"].tolist() == ["porn/again.png", "porn/original.png"]
    assert set(original["reviewer"]) == {"ann"}
    metrics = files.read_json(paths.METRICS / "dedupe.json")
    assert (metrics["unsure"], metrics["escalated"], metrics["decisions"]) == (1, 8, 3)
    assert metrics["annotations"]["reports"] == {"rows": 2, "unsure": 1, "escalated": 1}
    assert "escalated: not shown" in paths.DUPLICATES_REPORT.read_text(encoding="utf-8")


def test_a_report_on_a_dropped_picture_says_so(copied, caplog):
    report((sha(ORIGINAL), "porn"))
    decide((sha(ORIGINAL), "drop"))
    run()
    assert files.read_json(paths.METRICS / "dedupe.json")["annotations"]["reports"] == {"rows": 1, "dropped": 1}
    assert "data/decisions.csv drops the picture" in caplog.text


def test_without_rows_nothing_is_warned_of(copied, caplog):
    run()
    counted = files.read_json(paths.METRICS / "dedupe.json")["annotations"]
    assert counted == {"decisions": {"rows": 0}, "reports": {"rows": 0}}
    assert "to look at" not in caplog.text
