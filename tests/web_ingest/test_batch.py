"""From the journal to data/: sightings, fetches, what changed; and the same tables after any kill."""

import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import yaml

from pipeline.core.errors import UserError
from pipeline.data import batch_writer, removed_contents, sightings
from pipeline.params.ingest import Ingest
from pipeline.web_ingest import addresses, batch, ingest, report
from pipeline.web_ingest.journal import Journal, open_journal
from pipeline.web_ingest.lists import Item
from tests.support.crawls import LIMITS, items, loopback
from tests.support.pictures import sha, tree
from tests.support.web_server import WebServer, lookup, picture, web_server

SCRIPT = Path(__file__).parents[1] / "support" / "killed_crawl.py"


@pytest.fixture
def server():
    with web_server() as running:
        yield running


def take(work: Path, wanted: list[Item], source: str = "web") -> batch.Batch:
    limits = Ingest.model_validate(LIMITS)
    with open_journal(work / "journals", source) as journal:
        ingest.fetch(wanted, journal, limits, progress=lambda *_: lambda: None, rule=loopback, lookup=lookup)
        written = batch.write(wanted, journal, work / "data", source)
        journal.delete()
    return written


def fetches(work: Path) -> pd.DataFrame:
    return pd.concat(
        [pd.read_parquet(path) for path in sorted((work / "data" / "fetches").iterdir())], ignore_index=True
    )


def test_every_url_has_a_sighting_and_a_row_of_what_was_answered(server, tmp_path):
    wanted = items(server.port)
    written = take(tmp_path, wanted)
    seen, answers = sightings.load(tmp_path / "data" / "sightings"), fetches(tmp_path)
    assert list(zip(seen["origin"], seen["label"], strict=True)) == [(item.url, item.label) for item in wanted]
    assert list(answers["origin"]) == list(seen["origin"])
    assert list(answers["reason"]) == list(seen["reason"])
    assert list(answers.columns) == list(batch.COLUMNS)
    assert {path.stem for path in (tmp_path / "data" / "fetches").iterdir()} == {written.name}
    assert (written.sighted, written.stored, written.shards) == (len(wanted), 30, 1)
    by_path = answers.set_index(answers["origin"].str.rsplit(":", n=1).str[1].str.partition("/")[2])
    assert by_path.loc["gone/1", "http_status"] == 404
    assert by_path.loc["error", "attempts"] == 3
    assert by_path.loc["to_other", "final_url"] == server.url("ok/1", "other.test")
    assert by_path.loc["ok/7", "sha256"] == sha(picture(7))
    assert by_path.loc["ok/7", "content_type"] == "image/png"
    text = "\n".join(report.report(written, 0.5).lines())
    assert "3 URLs of 2 hosts have the same bytes (a placeholder?)" in text
    assert "1 x http_404" in text
    assert "alike.test: 1 of 1" in text


def test_again_it_adds_nothing_and_changed_bytes_are_a_new_sighting_with_a_warning(server, tmp_path):
    wanted = [
        Item(server.url("changing"), "neutral"),
        Item(server.url("ok/1"), "neutral"),
        Item(server.url("gone/1"), "porn"),
    ]
    take(tmp_path, wanted)
    before = tree(tmp_path / "data")
    assert take(tmp_path, wanted).name is None
    assert tree(tmp_path / "data") == before
    server.changed = True
    second = take(tmp_path, wanted)
    assert before.items() <= tree(tmp_path / "data").items()
    assert second.changed == [(wanted[0].url, sha(picture(6)), sha(picture(7)))]
    assert list(sightings.load(tmp_path / "data" / "sightings")["sha256"].dropna()) == [
        sha(picture(6)), sha(picture(1)), sha(picture(7)),
    ]  # fmt: skip
    assert fetches(tmp_path)["changed_from"].dropna().tolist() == [sha(picture(6))]
    assert "warning: other bytes than last time" in "\n".join(report.report(second, 0.5).lines())


def test_content_that_is_not_what_the_line_expects_is_refused(server, tmp_path):
    expected = {"ok/1": sha(picture(1)), "ok/2": sha(picture(1))}
    wanted = [Item(server.url(path), "neutral", sha256=sha256) for path, sha256 in expected.items()]
    wanted += [Item(server.url("etag"), label, etag=etag) for label, etag in (("porn", "five"), ("sexy", '"six"'))]
    take(tmp_path, wanted)
    seen = sightings.load(tmp_path / "data" / "sightings")
    assert list(seen["status"]) == ["stored", "refused", "stored", "refused"]
    assert list(seen["reason"]) == [
        "", f"unexpected_content: sha256 is {sha(picture(2))}", "", 'unexpected_content: ETag is "five"',
    ]  # fmt: skip
    stored = b"".join(path.read_bytes() for path in (tmp_path / "data" / "shards").iterdir())
    assert picture(2) not in stored


def test_what_was_taken_down_is_not_stored_again(server, tmp_path):
    wanted = [Item(server.url("ok/1"), "neutral"), Item(server.url("ok/2"), "neutral")]
    gone = pd.DataFrame({"sha256": [sha(picture(1))]}).assign(
        reason="a request", removed_at="2026-01-01T00:00:00Z", removed_by="me", selector="s"
    )
    removed_contents.record(tmp_path / "data" / "sightings", gone)
    assert take(tmp_path, wanted).stored == 1
    assert list(sightings.load(tmp_path / "data" / "sightings")["status"]) == ["removed", "stored"]


def tables(work: Path) -> list[list[dict[str, object]]]:
    """The rows of a work folder's tables, without the times of the fetches."""
    seen = sightings.load(work / "data" / "sightings").drop(columns="fetched_at")
    return [
        seen.astype(object).fillna("").to_dict("records"),
        fetches(work).astype(object).fillna("").to_dict("records"),
    ]


def test_killed_five_times_it_fetches_nothing_twice_and_ends_in_the_same_tables(tmp_path):
    with web_server() as server:
        take(tmp_path / "whole", items(server.port))
        command = [sys.executable, SCRIPT, str(server.port), tmp_path, *map(str, (1, 5, 9, 12, 40, 0))]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        once, alone, many = (requests(server, contact) for contact in ("me@", "with-1@", "with-16@"))
    whole = tree(tmp_path / "whole" / "data" / "shards")
    for connections in (1, 16):
        assert tables(tmp_path / str(connections)) == tables(tmp_path / "whole")
        assert list(tree(tmp_path / str(connections) / "data" / "shards").values()) == list(whole.values())
        assert not list((tmp_path / str(connections) / "journals").glob("*.db*"))
    assert alone == once
    assert (many - once).total() <= 5 * 15  # what was on its way when the process died, and no more
    assert many.keys() == once.keys()


def requests(server: WebServer, contact: str) -> Counter[str]:
    """How often a client asked for each path; robots.txt, which every run reads anew, left out."""
    paths = (head.split()[1] for head in server.heads if f"(+{contact}" in head)
    return Counter(path for path in paths if path != "/robots.txt")


def test_a_kill_while_the_batch_is_written_ends_in_the_same_batch(server, tmp_path, monkeypatch):
    wanted = items(server.port)[:5]
    limits = Ingest.model_validate(LIMITS)
    with open_journal(tmp_path / "journals", "web") as journal:
        ingest.fetch(wanted, journal, limits, progress=lambda *_: lambda: None, rule=loopback, lookup=lookup)
        with monkeypatch.context() as patched:
            patched.setattr(batch_writer, "recover", lambda data: 1 / 0)
            (tmp_path / "data" / "sightings").mkdir(parents=True)
            patched.setattr(batch.folder, "prepare", lambda data: (data / "shards").mkdir())
            with pytest.raises(ZeroDivisionError):
                batch.write(wanted, journal, tmp_path / "data", "web")
        assert not (tmp_path / "data" / "fetches").exists()
        assert batch.write(wanted, journal, tmp_path / "data", "web").name is None  # it was whole, and is moved in now
    assert len(fetches(tmp_path)) == len(sightings.load(tmp_path / "data" / "sightings")) == 5
    assert not (tmp_path / "data" / ".incoming").exists()


def test_two_runs_for_one_source_exclude_each_other(tmp_path):
    with (
        open_journal(tmp_path, "web"),
        pytest.raises(UserError, match="another `nsfw ingest urls`"),
        open_journal(tmp_path, "web"),
    ):
        pass
    (tmp_path / "web.db").write_bytes(b"no database" * 1000)
    with pytest.raises(UserError, match="is damaged"), open_journal(tmp_path, "web"):
        pass


def test_a_journal_holds_an_answer_and_its_bytes_or_neither(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "journal.db")
    outcome = batch.Outcome("stored", "", "u", 200, "", "", 1, sha(b"a"), "", 1, "2026-01-01T00:00:00+00:00")
    with pytest.raises(sqlite3.Error):
        journal.record("u", outcome, object())
    assert journal.outcome("u") is None
    journal.record("u", outcome, b"a")
    assert (journal.outcome("u"), journal.content(sha(b"a"))) == (outcome, b"a")
    journal.close()


@pytest.fixture
def root(project: Path, server: WebServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git and DVC project whose params name a contact; the commands may connect to the server."""
    subprocess.run(["git", "init", "-q"], check=True)
    (project / ".dvc").mkdir()
    (project / ".dvc" / "config").write_text(f"[core]\nanalytics = false\nsite_cache_dir = {project / 'site'}\n")
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["ingest"] = LIMITS
    Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    for function in (ingest.fetch, ingest.crawl.fetch_all):
        monkeypatch.setitem(function.__kwdefaults__, "rule", loopback)
        monkeypatch.setitem(function.__kwdefaults__, "lookup", lookup)
    return project


def test_nsfw_ingest_urls_takes_the_scrapers_layout_as_it_lies(root, server, nsfw):
    for label, paths in {"neutral": ["ok/1", "ok/2", "gone/1"], "porn": ["ok/3", "html"]}.items():
        folder = root / "raw_data" / label
        folder.mkdir(parents=True)
        (folder / f"urls_{label}.txt").write_text("\n".join(server.url(path) for path in paths) + "\n\n# end\n")
    code, out, err = nsfw("ingest", "urls", "raw_data", "--source", "web")  # README's line
    assert (code, err) == (0, "")
    assert "5 URLs: 3 with pictures (60.0%); 5 new sightings, 3 new contents in 1 shards" in out
    assert "next: git add data.dvc && git commit -m 'Ingest web'" in out
    assert (root / "data.dvc").is_file()
    assert not list((root / ".cache" / "web_ingest").glob("*.db*"))
    assert not any("User-Agent: nsfw-pipeline" not in head or "me@example.org" not in head for head in server.heads)


def test_without_a_contact_nothing_is_fetched(root, server, nsfw):
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["ingest"]["contact"] = None
    Path("params.yaml").write_text(yaml.safe_dump(params))
    Path("list.txt").write_text(server.url("ok/1"))
    code, _, err = nsfw("ingest", "urls", "list.txt", "--label", "neutral")
    assert code == 1
    assert "ingest.contact in params.yaml is null" in err
    assert not server.requests


def test_below_the_floor_it_fails_after_everything_is_written(root, server, nsfw, monkeypatch):
    monkeypatch.setattr(ingest.project, "add_data", lambda: None)  # DVC takes seconds
    Path("list.txt").write_text("\n".join(server.url(path) for path in ("ok/1", "gone/1", "html")))
    code, out, err = nsfw("ingest", "urls", "list.txt", "--label", "neutral", "--json")
    assert code == 1
    assert "only 33.3% of the URLs gave pictures" in err
    assert '"http_404": 1' in out
    assert len(sightings.load(Path("data/sightings"))) == 3


def test_the_command_has_no_way_past_the_address_rule(nsfw):
    _, out, _ = nsfw("ingest", "urls", "--help")
    assert "address" not in out.lower()
    assert ingest.crawl.fetch_all.__kwdefaults__["rule"] is addresses.is_public
