from markdown_it import MarkdownIt

from pipeline.registry import descriptions


def row(gate, status, value=None, limit=None, reason="so", test="at least"):
    return {"gate": gate, "status": status, "value": value, "limit": limit, "reason": reason, "test": test}


def test_failures_come_first_with_their_numbers():
    text = descriptions.gates([row("clean", "pass"), row("class_recall", "fail", 0.25, 0.5), row("reports", "n/a")])
    assert text.startswith("**Gates: 1 of 3 failed**")
    lines = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert [line.split(" | ")[0] for line in lines] == ["| class\\_recall", "| clean", "| reports"]
    assert "| fail | 0.25 | at least 0.5 | so |" in lines[0]


def test_what_was_not_judged_and_why_stands_at_the_top_and_in_the_tag():
    """Several gates with one reason are one sentence."""
    table = [
        row("class_recall", "n/a") | {"unjudged": "its labels are safe, unsafe"},
        row("drop_class_recall", "pass") | {"unjudged": "version 1 has no label racy"},
        row("drop_macro_recall", "pass") | {"unjudged": "version 1 has no label racy"},
        row("reports", "n/a"),
    ]
    part = "judged in part: drop_class_recall, drop_macro_recall (version 1 has no label racy)"
    sentences = ["not judged: class_recall (its labels are safe, unsafe)", part]
    assert descriptions.unjudged(table) == sentences
    assert descriptions.verdict(table) == "; ".join(["none failed", *sentences])
    text = descriptions.gates(table).replace("\\", "")
    assert text.startswith("**Gates: none failed**\n\n" + "\n\n".join(sentences) + "\n\n| gate |")


def test_a_table_that_judged_everything_says_nothing_of_it():
    table = [row("clean", "pass"), row("reports", "n/a")]
    assert descriptions.unjudged(table) == []
    assert descriptions.verdict(table) == "none failed"
    assert descriptions.gates(table).startswith("**Gates: none failed**\n\n| gate |")


def test_without_a_table_nothing_is_said():
    assert descriptions.gates([]) == ""
    assert "none failed" in descriptions.gates([row("clean", "pass")])


def test_strangers_text_stays_text():
    hostile = "a|b\n<script>x</script> [l](javascript:1) ![i](http://x) `c` **b**"
    text = descriptions.entry("promote: nsfw", hostile, [row("slice_gap", "fail", 0.4, 0.3, hostile)], ["slice_gap"])
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    for tag in ("<script", "<a ", "<img", "<code"):
        assert tag not in page
    assert page.count("<td") == 5


def test_figures_are_a_table():
    assert "| recall/porn | 0.95 |" in descriptions.figures({"recall/porn": 0.95})
