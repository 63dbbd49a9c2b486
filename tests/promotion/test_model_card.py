import copy
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.evidence.document import DOCUMENT, Document
from pipeline.promotion import card_page, card_text, model_card

HOSTILE = "<img src=x onerror=alert(1)> | [a](javascript:alert(2)) `x`\n# **b** &lt; ![p](http://evil/x.png) \u202e"
FACTS = {
    "model": "nsfw",
    "version": "7",
    "backbone": "mobilenet_v2",
    "commit": "0a1b2c",
    "data_md5": "9f.dir",
    "speed": {"p50_ms": 8.125, "p95_ms": 9.96, "pictures_per_second": 301.5},
    "size_mb": 2.25,
    "params": {"finetune.epochs": 15},
    "gates": [
        {"gate": "clean", "status": "n/a", "value": None, "limit": True, "reason": HOSTILE},
        {"gate": "unsafe_recall", "status": "pass", "value": 0.98765, "limit": 0.8, "reason": "at least 80 %"},
        {"gate": "calibration", "status": "fail", "value": 0.21, "limit": 0.15, "reason": "temperature 1"},
    ],
}


@pytest.fixture
def document(in_project) -> dict:
    """A real one, with what the small project lacks: several slices, a gap, a wrong report, every class stated."""
    document = json.loads((paths.EVIDENCE / DOCUMENT).read_text(encoding="utf-8"))
    night = document["slices"]["rows"][0] | {"family": "tag", "slice": HOSTILE, "unsafe_recall": 0.4321}
    document["slices"]["rows"].append(night)
    document["slices"]["gap"] = {"family": "tag", "best": "day", "worst": HOSTILE, "gap": 0.1234}
    document["reports"] = {"cases": 3, "right": 1, "missing": 1, "wrong": [
        {"sha256": "ab" * 32, "expected_label": "porn", "said": "neutral", "ticket": HOSTILE}]}  # fmt: skip
    document["cleaned"]["summary"] = document["cleaned"]["summary"] | {"accuracy": 0.7777}
    return document


def render(document: dict, facts: dict | None = None) -> str:
    return model_card.render(Document.read(document), facts)


def tables(text: str) -> dict[str, list[list[str]]]:
    """The card's tables, unescaped, by their header."""
    by_header: dict[str, list[list[str]]] = {}
    head = None
    for line in text.splitlines():
        if not line.startswith("|"):
            head = None
            continue
        cells = [re.sub(r"\\(.)", r"\1", cell).strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if head is None:
            head = " | ".join(cells)
            by_header[head] = []
        elif not all(re.fullmatch(r"-+:?", cell) for cell in cells):
            by_header[head].append(cells)
    return by_header


def number(cell: str) -> float | None:
    return None if cell == "n/a" else float(cell.removesuffix(" %").replace(",", ""))


def pair(cell: str) -> list[float] | None:
    return None if cell == "n/a" else [number(part) for part in cell.removesuffix(" %").split(" to ")]


def rounded(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 1)


def both(limits: list[float] | None) -> list[float] | None:
    return limits and [rounded(limit) for limit in limits]


def near(actual, expected) -> bool:
    return actual is expected is None or actual == pytest.approx(expected, abs=0.1001)


def table(text: str, begins: str) -> list[list[str]]:
    return next(rows for head, rows in tables(text).items() if head.startswith(begins))


def test_every_number_of_the_metrics_is_the_evidences(document):
    text = render(document, FACTS)
    summary, boot = document["summary"], document["bootstrap"]
    overall = {row[0]: row[1:] for row in table(text, "figure | of")}
    assert number(overall["unsafe recall"][0]) == document["test"]["by_label"]["porn"]
    assert near(number(overall["unsafe recall"][1]), rounded(summary["unsafe"]["recall"]))
    assert near(pair(overall["unsafe recall"][2]), both(summary["unsafe"]["recall_interval"]))
    assert near(pair(overall["unsafe recall"][3]), both(boot["unsafe_recall"]))
    assert number(overall["unsafe precision"][0]) == sum(row[2] for row in summary["confusion"])
    assert near(number(overall["unsafe precision"][1]), rounded(summary["unsafe"]["precision"]))
    assert near(number(overall["accuracy"][1]), rounded(summary["accuracy"]))
    assert near(pair(overall["accuracy"][2]), both(summary["accuracy_interval"]))
    assert near(number(overall["macro recall"][1]), rounded(summary["macro_recall"]))
    assert near(pair(overall["macro recall"][3]), both(boot["macro_recall"]))
    classes = table(text, "class | pictures | recall")
    assert [row[0] for row in classes] == ["porn", "drawings", "neutral"]  # unsafe first
    for name, pictures, recall, interval, drawn, precision, again in classes:
        assert int(pictures) == document["test"]["by_label"][name]
        assert near(number(recall), rounded(summary["recall"][name]))
        assert near(pair(interval), both(summary["recall_interval"][name]))
        assert near(pair(drawn), both(boot["recall"][name]))
        assert near(number(precision), rounded(summary["precision"][name]))
        assert near(pair(again), both(boot["precision"][name]))
    counts = [[int(cell) for cell in row[1:]] for row in table(text, "label | drawings")]
    assert counts == summary["confusion"]


def test_every_number_of_the_other_sections_is_the_evidences(document):
    text = render(document, FACTS)
    for name, _, threshold, val, recall, interval, precision, *_, rate, _ in table(text, "roll-up | classes"):
        point = document["operating_points"][name]
        assert float(threshold) == pytest.approx(point["threshold"], abs=0.0005)
        expected = [rounded(point[key]) for key in ("val_recall", "recall", "precision", "false_positive_rate")]
        assert near([number(cell) for cell in (val, recall, precision, rate)], expected)
        assert near(pair(interval), both(point["recall_interval"]))
    for name, precision, _, flagged, between, missed, _ in table(text, "roll-up | precision"):
        at = document["operating_points"][name]["at_prevalence"]
        assert near(number(precision), rounded(at["precision"]))
        assert number(flagged) == round(at["flagged_per_100000"])
        assert pair(between) == [round(limit) for limit in at["flagged_per_100000_interval"]]
        assert number(missed) == round(at["missed_per_100000"])
    calibrated = {row[0]: row[1:] for row in table(text, "figure | before")}
    error = [document["calibration"][f"ece_{when}"] for when in ("before", "after")]
    assert near([number(cell) for cell in calibrated["expected calibration error"]], [rounded(x) for x in error])
    forms = table(text, "form |")
    assert forms[0][0] == "plain"
    assert len(forms) == 7
    for form, unsafe, interval, macro, porn, drawings, neutral in forms:
        row = document["robustness"][form]
        expected = [
            row["unsafe_recall"],
            row["macro_recall"],
            *(row["recall"][n] for n in ("porn", "drawings", "neutral")),
        ]
        assert near([number(cell) for cell in (unsafe, macro, porn, drawings, neutral)], [rounded(x) for x in expected])
        assert near(pair(interval), both(row["unsafe_recall_interval"]))
    rows = table(text, "family |")
    assert len(rows) == len(document["slices"]["rows"])
    for cells, row in zip(rows, document["slices"]["rows"], strict=True):
        assert (int(cells[2]), int(cells[5])) == (row["unsafe_pictures"], row["pictures"])
        assert near(number(cells[3]), rounded(row["unsafe_recall"]))
        assert near(number(cells[6]), rounded(row["accuracy"]))
        assert near(pair(cells[7]), both(row["accuracy_interval"]))
    for cells, side in zip(table(text, "labels |"), (document["raw"], document["cleaned"]), strict=True):
        assert int(cells[1]) == side["pictures"]
        assert near(number(cells[4]), rounded(side["summary"]["accuracy"]))
    assert "12.3 points of unsafe recall" in text
    assert "3 reported pictures: 1 right, 1 wrong, 1 without" in text
    gates = table(text, "gate |")
    assert [row[:4] for row in gates] == [
        ["calibration", "fail", "0.21", "0.15"],
        ["unsafe_recall", "pass", "0.9877", "0.8"],
        ["clean", "n/a", "n/a", "yes"],
    ]
    details = dict(table(text, "detail |"))
    assert details["one picture, 95th percentile"] == "10.0 ms"
    assert (details["commit"], details["finetune.epochs"], details["size"]) == ("0a1b2c", "15", "2.2 MB")
    assert "git checkout 0a1b2c\n" in text


def test_what_decides_stands_first_and_parameters_last(document):
    text = render(document, FACTS)
    assert "Gates: 1 of 3 failed (calibration)." in text.split("##")[0]
    sections = re.findall(r"(?m)^## (.+)$", text)
    assert sections[:3] == ["Gates", "Operating points and workload", "Metrics"]
    assert sections[-1] == "Model details"
    assert text.rstrip().splitlines()[-1].startswith("| finetune\\.epochs |")
    unjudged = render(document, FACTS | {"gates": []})
    assert "Gates: not judged yet." in unjudged.split("##")[0]
    passed = render(document, FACTS | {"gates": [FACTS["gates"][1]]})
    assert "Gates: none failed." in passed.split("##")[0]


def test_each_source_stands_with_its_licence_or_as_unknown(document):
    counts = {"train": 20, "val": 10, "test": 5}
    document["sources"] = [
        {"name": "web", **counts, "licence": HOSTILE, "collected": "crawled", "contact": "a@example.org"},
        {"name": HOSTILE, **counts},
    ]
    text = render(document)
    rows = tables(text)["source | licence | how it was collected | terms | contact | train | val | test"]
    assert [row[2:] for row in rows] == [
        ["crawled", "", "a@example.org", "20", "10", "5"],
        ["unknown", "", "", "20", "10", "5"],
    ]
    assert rows[1][1] == "unknown"
    assert "<img" not in card_page.html(text, "x")
    assert "what it was trained on is not known here" in render(document, {"imported": "elsewhere"})
    del document["sources"]  # as documents of earlier versions
    assert "how it was collected" not in render(document)


def test_a_fine_tuning_that_gained_nothing_is_said_first(document):
    assert "Nothing was gained" not in render(document, FACTS)
    head = render(document, FACTS | {"kept_start": True}).split("##")[0]
    assert "**Nothing was gained by fine-tuning**" in head
    assert "diverged" not in head


def test_a_fine_tuning_that_diverged_is_said_first(document):
    head = render(document, FACTS | {"diverged_epoch": 3}).split("##")[0]
    assert "**The fine-tuning diverged in epoch 3**" in head


def test_the_page_is_its_own_and_lets_nothing_in(document):
    page = card_page.html(render(document, FACTS), "<b>")
    assert "<title>&lt;b&gt;</title>" in page
    assert "default-src &#39;none&#39;" in page
    for never in ("<img", "<script", "<a ", "onerror=alert(1)>\n", "style=", 'http://evil"'):
        assert never not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page  # shown as it is written
    assert page.count("<h2>") == 12
    assert '<td class="number">' in page


@given(st.text(max_size=300))
def test_strangers_text_comes_out_as_it_is_and_as_nothing_else(text):
    """In a cell of a table: one cell, no markup, the same words."""
    page = card_page.html(f"| head |\n| --- |\n| x{card_text.escape(text)}y |\n")
    body = page[page.index("<tbody>") : page.index("</table>")]
    assert re.findall(r"<[^>]*>", body) == ["<tbody>", "<tr>", "<td>", "</td>", "</tr>", "</tbody>"]


def test_what_is_not_known_is_not_made_up(document):
    bare = copy.deepcopy(document)
    bare["slices"] |= {"rows": [], "gap": None}
    bare["reports"] = {"cases": 0, "right": 0, "missing": 0, "wrong": []}
    bare["raw"]["summary"] = None
    for point in bare["operating_points"].values():
        point |= {key: None for key in point if key not in {"classes", "action"}}
    text = render(bare)
    assert "is not stated" in text
    assert "No gate was checked yet" in text
    assert "The commit is not known" in text
    assert table(text, "roll-up | classes")[0][2:] == ["n/a"] * 8
    assert "None" not in text
    assert "nan" not in text.replace("finance", "")


def test_shares_by_class_are_repeated(document):
    for point in document["operating_points"].values():
        point["at_prevalence"].pop("unsafe_share")
        point["at_prevalence"]["shares"] = {"drawings": 0.2, "neutral": 0.7, "porn": 0.1}
    assert "the classes' shares are drawings 20.0 %, neutral 70.0 %, porn 10.0 %" in render(document)


def test_a_missing_or_broken_template_and_other_evidence_are_named(document, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="schema 2"):
        render(document | {"schema": 2})
    with pytest.raises(ValueError, match="no such facts: colour"):
        render(document, {"colour": "red"})
    monkeypatch.setattr(model_card, "TEMPLATE", tmp_path / "card.md.j2")
    with pytest.raises(UserError, match=r"card\.md\.j2 does not exist"):
        render(document)
    for broken, message in (("a\n{% if %}", "line 2"), ("{{ evidence.nothing }}", "nothing")):
        model_card.TEMPLATE.write_text(broken)
        with pytest.raises(UserError, match=message):
            render(document)
