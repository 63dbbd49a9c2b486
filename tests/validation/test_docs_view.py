"""Great Expectations' sentences on a page of ours."""

from pipeline.validation.docs_view import sentence

EVIL = "<b>$other"


def test_values_are_escaped_in_their_places_and_stand_out_where_it_styles_them():
    template = {"template": "$column is in $v__0 & more", "params": {"column": EVIL, "v__0": 3, "other": "x"}}
    assert sentence(template) == "&lt;b&gt;$other is in 3 &amp; more"
    styled = template | {"styling": {"default": {"classes": ["badge"]}}}
    assert sentence(styled) == "<code>&lt;b&gt;$other</code> is in <code>3</code> &amp; more"


def test_an_icon_becomes_a_mark_and_a_word_once():
    icon = {"template": "$icon", "params": {"icon": ""}}
    icon["styling"] = {"params": {"icon": {"classes": ["fas", "fa-times"]}}}
    assert sentence(icon) == '<span class="mark bad">✗ failed</span>'
    status = {"template": "${html_success_icon} $success", "params": {"success": "Succeeded"}}
    status["params"]["html_success_icon"] = '<i class="fas fa-check-circle"></i>'
    assert sentence(status) == '<span class="mark good">✓</span> Succeeded'
    icon["styling"] = {"params": {"icon": {"classes": ["fas", "fa-comment"]}}}
    assert sentence(icon) == ""


def test_lines_stay_lines_and_one_about_nothing_is_left_out():
    template = {"template": "<br><br>of $a<br> of ${b}\n of $c", "params": {"a": 1, "b": None, "c": "<br>"}}
    assert sentence(template) == "of 1<br>of &lt;br&gt;"


def test_a_link_keeps_its_address():
    template = {"template": "$suite", "params": {"suite": "a&b"}}
    template["styling"] = {"params": {"suite": {"tag": "a", "attributes": {"href": "../a&b.html"}}}}
    assert sentence(template) == '<a href="../a&amp;b.html">a&amp;b</a>'
