import hashlib
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from pipeline.core import paths, tables
from pipeline.core.errors import UserError
from pipeline.pages import static
from pipeline.params.root import load_params
from pipeline.stages import validate
from pipeline.validation import aggregates
from pipeline.validation.data_docs import facts, index_page, run_suites
from pipeline.validation.suites import Check, Outcome, Suite

pytestmark = pytest.mark.untraced

NAMES = ("drawings", "hentai", "neutral", "porn", "sexy")
PER_LABEL = 6
ROOT = Path(__file__).parents[2]
EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>\x1b[2J\n$a"


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def make_sightings(per_label: int = PER_LABEL) -> pd.DataFrame:
    """Each label: `per_label` pictures; plus one broken picture and one file that could not be read."""
    rows = [(sha(f"{name}{i}"), name, f"{name}/{i}.jpg", "stored", "") for name in NAMES for i in range(per_label)]
    rows.append((sha("broken"), "porn", "porn/broken.jpg", "stored", ""))
    rows.append((None, "sexy", "sexy/locked.jpg", "refused", "unreadable: permission denied"))
    frame = pd.DataFrame(rows, columns=["sha256", "label", "origin", "status", "reason"])
    frame = frame.assign(source="batch", bytes=1000, fetched_at=pd.Timestamp("2026-01-01", tz="UTC"))
    return frame[["sha256", "label", "origin", "source", "fetched_at", "bytes", "status", "reason"]]


def make_catalog(sightings: pd.DataFrame) -> pd.DataFrame:
    stored = sightings[sightings["status"].eq("stored") & sightings["sha256"].ne(sha("broken"))]
    fixed = {
        "first_seen": pd.Timestamp("2026-01-01", tz="UTC"), "bytes": 1000, "format": "JPEG", "mode": "RGB",
        "width": 64, "height": 48, "orientation": 1, "frames": 1, "sharpness": 10.0, "entropy": 5.0, "quality": 0.5,
        "shard": "0.tar", "offset": 512, "size": 1000,
    }  # fmt: skip
    frame = stored[["sha256"]].assign(labels=[[name] for name in stored["label"]], **fixed)
    return frame.assign(sources=[["batch"] for _ in range(len(frame))]).reset_index(drop=True)


def make_quarantine(sightings: pd.DataFrame) -> pd.DataFrame:
    bad = sightings[sightings["sha256"].eq(sha("broken")) | sightings["status"].eq("refused")]
    return bad.assign(reason=bad["reason"].where(bad["reason"].ne(""), "truncated: image file is truncated"))[
        list(validate.QUARANTINE_COLUMNS)
    ]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose data satisfies every rule; the limits of two shares are loosened for that."""
    monkeypatch.chdir(tmp_path)
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    document["validate"]["smallest_class"]["limit"] = PER_LABEL
    document["validate"]["unreadable_share"]["limit"] = 0.5
    Path("params.yaml").write_text(yaml.safe_dump(document))
    save(make_sightings())
    return tmp_path


def save(sightings: pd.DataFrame, catalog: pd.DataFrame | None = None, quarantine: pd.DataFrame | None = None) -> None:
    tables.write_parquet(sightings, paths.SIGHTINGS / "0001.parquet")
    tables.write_parquet(make_catalog(make_sightings()) if catalog is None else catalog, paths.CATALOG)
    tables.write_csv(make_quarantine(make_sightings()) if quarantine is None else quarantine, paths.QUARANTINE)


def set_rule(key: str, **changes: Any) -> None:
    document = yaml.safe_load(Path("params.yaml").read_text())
    document["validate"][key].update(changes)
    Path("params.yaml").write_text(yaml.safe_dump(document))


def metrics() -> dict[str, Any]:
    return json.loads(Path("metrics/validate.json").read_text())


def broken() -> set[str]:
    rules = metrics()["rules"]
    return {f"{suite}.{name}" for suite in rules for name, rule in rules[suite].items() if not rule["success"]}


def site() -> dict[str, bytes]:
    return {str(p.relative_to(paths.DATA_DOCS)): p.read_bytes() for p in paths.DATA_DOCS.rglob("*") if p.is_file()}


def test_sound_data_passes_and_is_counted(project: Path) -> None:
    validate.main()
    report = metrics()
    assert broken() == set()
    assert (report["sighted"], report["catalogued"], report["refused"]) == (32, 30, 1)
    assert report["quarantined"] == {"total": 2, "reason": {"truncated": 1, "unreadable": 1}}
    assert report["label"]["porn"] == {"files": 7, "broken": 1, "pictures": 6}
    assert report["source"] == {"batch": {"files": 32, "broken": 2}}
    assert report["rules"]["labels"]["broken_share_label"] == {
        "success": True, "severity": "error", "observed": pytest.approx(1 / 7), "limit": 0.2, "rows": 0,
    }  # fmt: skip
    assert report["rules"]["totals"]["class_ratio"]["observed"] == 1.0
    assert report["rules"]["totals"]["unreadable_share"]["observed"] == 1 / 32


def test_docs_are_equal_for_equal_data_in_any_order(project: Path) -> None:
    validate.main()
    first = site()
    sightings, catalog = make_sightings(), make_catalog(make_sightings())
    save(sightings.sample(frac=1, random_state=1), catalog.sample(frac=1, random_state=1))
    validate.main()
    assert site() == first
    assert len(first) == 11  # the index, and a page of rules and one of results for each of five suites


def test_dead_links_are_counted_and_are_no_broken_files(project: Path) -> None:
    dead = make_sightings().tail(1).loc[lambda row: row.index.repeat(50)]
    dead = dead.assign(origin=[f"https://a.test/{number}.jpg" for number in range(50)], reason="http_404")
    odd = dead.tail(1).assign(origin="a.test/1.jpg", reason="bad_url: only http and https")
    sightings = pd.concat([make_sightings(), dead, odd], ignore_index=True)
    save(sightings, quarantine=make_quarantine(sightings))
    validate.main()
    assert broken() == set()
    assert metrics()["refused"] == 52
    assert metrics()["label"]["sexy"] == {"files": 7, "broken": 1, "pictures": 6}
    assert metrics()["rules"]["totals"]["unreadable_share"]["observed"] == 1 / 32


@pytest.mark.slow
def test_docs_are_equal_in_another_process(project: Path) -> None:
    set_rule("smallest_class", limit=7, severity="warn")
    validate.main()
    first = site(), Path("metrics/validate.json").read_bytes()
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "pipeline.stages.validate"], env=environment, check=True)
    assert (site(), Path("metrics/validate.json").read_bytes()) == first


def test_docs_need_nothing_from_elsewhere_and_name_no_moment(project: Path) -> None:
    set_rule("smallest_class", limit=7, severity="warn")
    validate.main()
    for name, page in site().items():
        text = page.decode()
        assert not re.search(r"<script|<link|<img|@import|url\(", text), name
        assert text.count("Content-Security-Policy") == 1
        assert static.asset("style.css") in text, name
        assert not re.search(r"\sstyle=|\son\w+=", text), name  # the policy lets nothing inline through
        assert not re.search(r"20[1-9]\d{5}T", text), name
        for link in re.findall(r'href="([^"#]+)"', text):
            assert link.startswith("https://") or (paths.DATA_DOCS / name).parent.joinpath(link).exists(), (name, link)


def test_a_broken_error_rule_reports_first_and_then_stops(project: Path) -> None:
    set_rule("smallest_class", limit=7)
    with pytest.raises(UserError) as caught:
        validate.main()
    message = str(caught.value)
    assert "labels.smallest_class (every class has enough pictures): observed 6, limit 7" in message
    assert all(f"label '{name}', pictures 6" in message for name in NAMES)
    assert "validate.smallest_class.limit in params.yaml" in message
    assert "reports/data_docs/index.html" in message
    assert broken() == {"labels.smallest_class"}
    assert metrics()["rules"]["labels"]["smallest_class"]["rows"] == 5
    assert "smallest_class" in (paths.DATA_DOCS / "index.html").read_text()


def test_a_broken_warn_rule_is_logged_and_the_run_goes_on(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    set_rule("smallest_class", limit=7, severity="warn")
    with caplog.at_level(logging.WARNING, logger="pipeline"):
        validate.main()
    assert "labels.smallest_class" in caplog.text
    assert "observed 6, limit 7" in caplog.text
    assert metrics()["rules"]["labels"]["smallest_class"] == {
        "success": False, "severity": "warn", "observed": 6.0, "limit": 7, "rows": 5,
    }  # fmt: skip


def test_a_label_without_pictures_is_named_whatever_the_limits(project: Path) -> None:
    set_rule("smallest_class", limit=0, severity="warn")
    catalog = make_catalog(make_sightings())
    hentai = catalog["labels"].map(lambda labels: labels == ["hentai"])
    catalog["labels"] = [
        ["hentai", "neutral"] if both else labels for both, labels in zip(hentai, catalog["labels"], strict=True)
    ]
    save(make_sightings(), catalog)
    with pytest.raises(UserError, match=r"labels\.has_pictures.*\n +label 'hentai', pictures 0") as caught:
        validate.main()
    assert "label 'neutral'" not in str(caught.value)
    assert broken() == {"labels.has_pictures"}
    assert metrics()["rules"]["totals"]["class_ratio"]["observed"] is None


def test_every_promise_of_the_tables_is_held(project: Path) -> None:
    sightings = make_sightings()
    sightings["bytes"] = sightings["bytes"].astype("Int64")
    sightings.loc[0, ["sha256", "label"]] = ["ABC", "nonsense"]
    sightings.loc[1, "sha256"] = None
    sightings.loc[2, ["status", "bytes", "origin"]] = ["lost", -1, None]
    sightings.loc[31, "sha256"] = sha("drawings5")
    catalog = make_catalog(make_sightings())
    catalog.loc[3, "sha256"] = catalog.loc[4, "sha256"]
    catalog.loc[5, ["width", "height", "quality", "format"]] = [0, 0, 1.5, "SVG"]
    catalog.loc[6, "quality"] = np.nan
    catalog.loc[7, "sha256"] = "xyz"
    catalog.at[8, "labels"] = []  # noqa: PD008 - .loc cannot store a list in a cell
    save(sightings, catalog)
    with pytest.raises(UserError):
        validate.main()
    assert broken() == {
        "sightings.origin_present", "sightings.status_known", "sightings.sha256_present", "sightings.sha256_hex",
        "sightings.refused_unnamed", "sightings.label_known", "sightings.bytes_range", "sightings.accounted",
        "catalog.sha256_unique", "catalog.sha256_hex", "catalog.width_range", "catalog.height_range",
        "catalog.quality_present", "catalog.quality_range", "catalog.labelled", "catalog.format_known",
        "labels.smallest_class", "labels.broken_share_label",
    }  # fmt: skip
    assert metrics()["rules"]["catalog"]["sha256_unique"]["rows"] == 2


def test_a_missing_column_is_named_alone(project: Path) -> None:
    save(make_sightings().drop(columns="label"), make_catalog(make_sightings()).drop(columns=["labels", "mode"]))
    with pytest.raises(UserError) as caught:
        validate.main()
    assert broken() == {"sightings.columns", "catalog.columns"}
    assert all(f"lacks the column {name}" in str(caught.value) for name in ("label", "labels", "mode"))


def test_the_first_rows_are_named_and_the_rest_counted(project: Path) -> None:
    sightings = make_sightings()
    sightings.loc[:24, "bytes"] = -1
    save(sightings)
    with pytest.raises(UserError) as caught:
        validate.main()
    first = sightings.loc[:24].sort_values("sha256")
    assert [line for line in str(caught.value).splitlines() if line.startswith("    sha256")] == [
        f"    sha256 '{row.sha256}', origin '{row.origin}', source 'batch', bytes -1"
        for row in first.head(10).itertuples()
    ]
    assert "\n    and 15 more\n" in str(caught.value)


def test_hostile_names_are_text_on_pages_and_harmless_in_the_terminal(project: Path) -> None:
    sightings = make_sightings()
    sightings.loc[0, ["origin", "label", "bytes"]] = [EVIL, EVIL, -1]
    save(sightings)
    with pytest.raises(UserError) as caught:
        validate.main()
    assert repr(EVIL) in str(caught.value)
    assert "\x1b" not in str(caught.value)
    pages = [page.decode() for page in site().values()]
    assert sum("&lt;img src=x onerror=alert(1)&gt;" in page for page in pages) > 1  # the first page, a suite's results
    assert not any("<img" in page or "<script" in page or "&amp;lt;" in page for page in pages)


def test_no_sightings_and_a_truncated_table_are_told(project: Path) -> None:
    content = paths.CATALOG.read_bytes()
    paths.CATALOG.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"build/catalog\.parquet is not a readable parquet"):
        validate.main()
    (paths.SIGHTINGS / "0001.parquet").unlink()
    with pytest.raises(UserError, match="nsfw ingest"):
        validate.main()
    assert not paths.DATA_DOCS.exists()


def test_class_sizes_count_a_content_with_one_label_once_and_with_two_never() -> None:
    catalog = pd.DataFrame({"labels": [["a"], ["a"], ["a", "b"], ["c"], []]})
    assert aggregates.class_sizes(catalog, ["a", "b", "d"]).to_dict() == {"a": 2, "b": 0, "d": 0}


def test_locate_follows_the_content_and_not_the_name() -> None:
    sightings = pd.DataFrame({"sha256": ["a", "b", "c", "d", None], "status": ["stored"] * 4 + ["refused"]})
    outcome = aggregates.locate(sightings, pd.Series(["a", "d"]), pd.Series(["b", "d", ""]))
    assert outcome.tolist() == ["catalog", "quarantine", "neither", "both", "refused"]


def test_what_was_taken_down_is_accounted_for_and_not_broken():
    sightings = make_sightings()
    sightings.loc[0, ["status", "reason"]] = ["removed", "removed: ticket 1"]
    gone = sightings["sha256"][0]
    catalog = make_catalog(sightings)
    row = {"sha256": gone, "origin": "a", "reason": "removed: ticket 1", "label": "neutral", "source": "web"}
    quarantine = pd.concat([make_quarantine(sightings), pd.DataFrame([row])])
    counts = validate.build_suites(sightings, catalog, quarantine, load_params())[1]
    untouched = make_sightings()
    before = validate.build_suites(untouched, make_catalog(untouched), make_quarantine(untouched), load_params())[1]
    for label, part in before["label"].items():
        assert counts["label"][label]["broken"] == part["broken"]
    assert sum(part["files"] for part in counts["label"].values()) == len(untouched["label"].dropna()) - 1


def test_shares_of_a_label_that_nobody_saw_are_undefined_not_zero() -> None:
    sightings = pd.DataFrame({"label": ["a", "a", None], "found_in": ["catalog", "quarantine", "neither"]})
    shares = aggregates.broken_shares(sightings, "label", ["a", "b"])
    assert shares.to_dict("list") == {
        "label": ["a", "b"], "files": [2, 0], "broken": [1, 0],
        "broken_share": [0.5, pytest.approx(np.nan, nan_ok=True)],
    }  # fmt: skip


def test_nothing_is_left_beside_the_site_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = Check("r", "p", "ExpectColumnValuesToNotBeNull", {"column": "a"}, "w")
    old = tmp_path / "docs" / "index.html"
    old.parent.mkdir()
    old.write_text("old")

    def full(outcomes: list[Outcome], facts: list[tuple[str, str]]) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.validation.data_docs.index_page", full)
    with pytest.raises(OSError, match="No space"):
        run_suites([Suite("s", pd.DataFrame({"a": [1]}), ("a",), (check,))], tmp_path / "docs")
    assert [p.name for p in tmp_path.iterdir()] == ["docs"]
    assert old.read_text() == "old"


def test_index_says_severity_limit_and_escapes() -> None:
    check = Check("r", "p", "E", {}, "way <out>", severity="warn", limit=0.25)
    page = index_page([Outcome("s", check, False, 0.5, 3, ("row '<b>'",))])
    assert "<td>warn</td><td>broken</td><td>0.5</td><td>0.25</td>" in page
    assert "row &#39;&lt;b&gt;&#39;<br>and 2 more<br>way &lt;out&gt;" in page


def test_the_first_page_says_which_data_was_checked(project: Path) -> None:
    sightings = make_sightings()
    save(sightings.assign(source=["<b>reddit"] * 10 + ["batch"] * (len(sightings) - 10)))
    validate.main()
    page = site()["index.html"].decode()
    assert f"&lt;b&gt;reddit (10 files), batch ({len(sightings) - 10} files)" in page
    for fact in (">32</td>", ">30, digest ", ">2 (build/quarantine.csv)</td>", "reports/index.html"):
        assert fact in page
    digest = page.partition("digest ")[2][:16]
    catalog = make_catalog(sightings)
    save(sightings, catalog[1:])
    with pytest.raises(UserError):
        validate.main()
    assert site()["index.html"].decode().partition("digest ")[2][:16] != digest


def test_many_sources_are_counted() -> None:
    sightings = pd.DataFrame({"source": [f"batch-{n:02}" for n in range(23)]})
    (sources, *_) = facts(sightings, pd.DataFrame(), pd.DataFrame())
    assert sources[1].endswith("batch-19 (1 files) and 3 more")


def test_the_stage_reads_the_real_params() -> None:
    assert load_params(ROOT / "params.yaml").validate_.smallest_class.severity == "error"
