"""What is known of a source: given once with --about, kept in data/, never overwritten in silence."""

from pathlib import Path

import pytest

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.data import folder, sources
from tests.support.pictures import LABELS, scrape, tree
from tests.support.webdataset import sample, shard

WHOLE = "collected: crawled in\n  2026, by us\ncontact: data@example.org\nlicence: CC BY 4.0\nterms: https://example.org/terms\n"


def about(text: str) -> Path:
    path = Path("about.yaml")
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_texts_are_read_in_one_order_with_white_space_collapsed(work):
    known = sources.read(about(WHOLE))
    assert list(known) == ["licence", "terms", "contact", "collected"]
    assert known["collected"] == "crawled in 2026, by us"
    assert list(sources.read(about("licence: 'Пёс: {x}'\ncollected: b"))) == ["licence", "collected"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("licence: a\ncollected: b\nlicense: c", "line 3: 'license' is unknown; the keys are licence, terms"),
        ("licence: a", "lacks collected"),
        ("licence: a\ncollected: ' '", "line 2: 'collected' must be a text"),
        ("licence: 4.0\ncollected: b", "line 1: 'licence' must be a text"),
        ("licence: [a]\ncollected: b", "line 1: 'licence' must be a text"),
        ("collected: b\nlicence: " + "x" * 5_000, "line 2: 'licence' has 5,000 characters"),
        ("licence: a\nlicence: b", "line 2.*given twice"),
        ("- licence", "has no keys"),
        ("", "has no keys"),
        ("licence: !!python/object:os.system x", "line 1"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(work, text, words):
    with pytest.raises(UserError, match=rf"about\.yaml.*{words}"):
        sources.read(about(text))


def test_a_missing_file_and_a_folder_say_so(work):
    for path in (Path("nowhere.yaml"), work):
        with pytest.raises(UserError, match=path.name):
            sources.read(path)


def test_a_source_is_described_once_and_another_text_is_an_error_that_shows_the_difference(work):
    data = work / "data"
    known = sources.read(about(WHOLE))
    sources.write(data, "web", known)
    before = tree(data)
    for again in (None, known):
        sources.check(data, "web", again)
        sources.write(data, "web", again)
    assert tree(data) == before
    assert sources.load(data) == {"web": known}
    sources.check(data, "other", {"licence": "x", "collected": "y"})
    with pytest.raises(UserError, match="nothing was written") as caught:
        sources.check(data, "web", known | {"licence": "CC0"})
    assert "  - licence: CC BY 4.0\n  + licence: CC0\n" in str(caught.value)
    assert "--source" in str(caught.value)


def test_sources_of_unknown_licence_are_listed(work):
    scrape(work, {"raw/neutral/a.jpg": b"a"})
    for name in ("web", "older", "bundled-sample"):
        folder.ingest(folder.scan(Path("raw"), LABELS), paths.DATA, name)
    sources.write(paths.DATA, "web", {"licence": "CC0", "collected": "by hand"})
    assert sources.without(paths.DATA) == ["older"]
    assert sources.unknown_lines(paths.DATA, "web") == []
    assert "'older' is unknown" in sources.unknown_lines(paths.DATA, "older")[0]
    described = sources.describe(paths.DATA, ["web", "older", "bundled-sample"])
    assert (described["web"]["licence"], described["older"]) == ("CC0", {})
    assert described["bundled-sample"]["collected"].startswith("drawn by this program")


@pytest.mark.parametrize("command", [["folder", "raw"], ["tars", "neutral/a.tar"]])
def test_the_commands_keep_what_about_gives_and_refuse_another_text(project_root, nsfw, command):
    scrape(project_root, {"raw/neutral/a.jpg": b"a"})
    shard(project_root / "neutral/a.tar", sample("1", b"1"))
    arguments = ["ingest", *command, "--source", "web"]

    def run(*more: str) -> tuple[int, str]:
        code, out, err = nsfw(*arguments, *more)
        return code, out + err

    code, text = run()
    assert (code, "licence of the source 'web' is unknown: say it with --about FILE" in text) == (0, True)
    about(WHOLE)
    code, text = run("--about", "about.yaml")  # nothing new but what is known of it
    assert (code, "unknown" in text) == (0, False)
    assert sources.load(paths.DATA)["web"]["licence"] == "CC BY 4.0"
    before = tree(paths.DATA)
    assert run()[0] == 0
    about(WHOLE.replace("4.0", "3.0"))
    code, text = run("--about", "about.yaml")
    assert (code, "- licence: CC BY 4.0" in text) == (1, True)
    assert tree(paths.DATA) == before


@pytest.fixture
def project_root(project, monkeypatch):
    """A project whose data/ no DVC versions."""
    Path(".dvc").mkdir()
    monkeypatch.setattr("pipeline.data.project.add_data", lambda: None)
    return project
