"""Pages that are files: everything escaped, the policy names what is inline, pictures blurred until shown."""

from pathlib import Path

import jinja2
import pytest

from pipeline.pages import pictures, static, templating

HOSTILE = '"><script>window.ran = true</script><img src=x onerror="window.ran = true">'
PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAP8AAP///yH5BAAAAAAALAAAAAABAAEAAAICRAEAOw=="
TEMPLATE = """{% extends "base.html" %}{% block title %}{{ name }}{% endblock %}
{% block content %}<h1>{{ name }}</h1><div id="box">{{ blurred(source, name, lazy=False) }}
{{ blurred(source, "another", show="toggle", lazy=False) }}</div>{% endblock %}"""


def written(tmp_path: Path, **values) -> str:
    (tmp_path / "page.html").write_text(TEMPLATE, encoding="utf-8")
    return static.render(templating.environment(tmp_path), "page.html", scripts=[static.asset("pictures.js")], **values)


def test_values_are_escaped(tmp_path):
    page = written(tmp_path, name=HOSTILE, source='x" onload="window.ran = true')
    assert "<script>window.ran" not in page
    assert "<img src=x" not in page
    assert 'onload="window' not in page


def test_a_name_that_nobody_gave_is_an_error(tmp_path):
    with pytest.raises(jinja2.UndefinedError):
        written(tmp_path, name="a")


def test_equal_values_give_equal_pages(tmp_path):
    assert written(tmp_path, name="a", source=PIXEL) == written(tmp_path, name="a", source=PIXEL)


def test_the_markup_of_a_picture_is_one_button():
    text = pictures.blurred("/t/1.jpg", "picture 1")
    assert text.startswith("<button")
    assert text.endswith("</button>")


@pytest.mark.slow
def test_a_browser_runs_the_page_and_nothing_else(tmp_path, browser):
    path = tmp_path / "out.html"
    path.write_text(written(tmp_path, name=HOSTILE, source=PIXEL), encoding="utf-8")
    page = browser.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(path.as_uri())
    assert complaints == []
    assert page.evaluate("window.ran") is None
    held, toggled = page.locator(".thumb").all()
    blur = "element => getComputedStyle(element.querySelector('img')).filter"
    assert "blur(12px)" in held.evaluate(blur)
    assert "grayscale(1)" in held.evaluate(blur)
    held.hover()
    page.mouse.down()
    page.wait_for_selector(".thumb.shown")
    page.wait_for_timeout(300)  # the transition
    assert held.evaluate(blur) in {"none", "blur(0px) grayscale(0)"}
    page.mouse.up()
    assert held.get_attribute("aria-pressed") == "false"
    held.focus()
    page.keyboard.down("v")
    assert held.get_attribute("aria-pressed") == "true"
    page.keyboard.up("v")
    assert held.get_attribute("aria-pressed") == "false"
    toggled.click()
    assert toggled.get_attribute("aria-pressed") == "true"
    page.close()
