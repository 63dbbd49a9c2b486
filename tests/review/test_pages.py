"""The review pages over HTTP: who may come in, what a request may do, what is escaped, what escalation erases."""

import os
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from pipeline.core import paths, tables
from pipeline.core.errors import UserError
from pipeline.images import thumbnails
from pipeline.pages.hosts import AllowedHosts
from pipeline.review import acts, serve, tokens
from pipeline.review.app import application
from tests.support import review_project
from tests.support.review_project import HOSTILE, change, make, workplace

BASE = "http://127.0.0.1:8001"
TOKENS = {"ada": "a" * 20, "bob": "b" * 24}


class Browser:
    """A client with a session, as the page's scripts act."""

    def __init__(self, app, name: str = "", base: str = BASE) -> None:
        self.http = TestClient(app, base_url=base, follow_redirects=False)
        self.origin = {"origin": base}
        self.token = self.csrf("/")
        if name:
            self.post_form("/enter", name=name)
            self.token = self.csrf("/")

    def csrf(self, path: str) -> str:
        return self.http.get(path).text.partition('name="csrf-token" content="')[2].partition('"')[0]

    def post_form(self, path: str, **fields: str):
        return self.http.post(path, data={"csrf_token": self.token, **fields}, headers=self.origin)

    def post(self, path: str, **message):
        return self.http.post(path, json=message, headers=self.origin | {"x-csrf-token": self.token})

    def claim(self, queue: str = "suspicions", most: int = 5, shown: tuple[str, ...] = ()) -> list[str]:
        return self.post("/api/claim", queue=queue, most=most, shown=list(shown)).json()["sha256"]

    def decide(self, sha256: str, act: str, **more) -> dict:
        one = {
            "id": f"id-of-the-decision-{sha256[:8]}-{act}",
            "sha256": sha256,
            "act": act,
            "queue": "suspicions",
        } | more
        return self.post("/api/acts", acts=[one]).json()


@pytest.fixture
def pictures(project) -> list[str]:
    return make(12, names={2: f"{HOSTILE.replace('/', '')}.png"})


@pytest.fixture
def app(pictures, project):
    params = change(reviewers=["ada", "bob"], second_opinion=0.0)
    return application(workplace(params), serve.entrance(params, "127.0.0.1", None), AllowedHosts.of("127.0.0.1"))


def test_a_person_is_asked_for_a_name_and_only_a_listed_one_will_do(app):
    browser = Browser(app)
    assert "Who are you?" in browser.http.get("/").text
    assert browser.post("/api/claim", queue="suspicions", most=1).status_code == 401
    assert browser.http.get("/queue/suspicions").status_code == 303
    assert browser.http.get("/status.json").status_code == 401
    assert browser.post_form("/enter", name="eve").status_code == 401
    assert browser.post_form("/enter", name="ada").status_code == 303
    assert "What to look at" in browser.http.get("/").text
    browser.token = browser.csrf("/")
    assert browser.post_form("/leave").status_code == 303
    assert "Who are you?" in browser.http.get("/").text


def test_with_one_name_nobody_is_asked(pictures, project):
    params = change(reviewers=["ada"])
    app = application(workplace(params), serve.entrance(params, "127.0.0.1", None), AllowedHosts.of("127.0.0.1"))
    assert "What to look at" in Browser(app).http.get("/").text


def test_foreign_hosts_origins_and_tokens_are_refused_everywhere(app, pictures):
    browser = Browser(app, "ada")
    for path in ("/", "/queue/suspicions", f"/thumbnails/{pictures[2]}", "/status.json"):
        assert browser.http.get(path, headers={"host": "evil.example"}).status_code == 403
    for path in ("/api/claim", "/api/acts", "/api/details", "/api/heartbeat", "/enter", "/leave"):
        foreign = {"origin": "http://evil.example", "x-csrf-token": browser.token}
        assert browser.http.post(path, json={}, headers=foreign).status_code == 403
        assert browser.http.post(path, json={}, headers=browser.origin).status_code == 403
    other = Browser(app, "bob")
    stolen = browser.origin | {"x-csrf-token": other.token}
    assert browser.http.post("/api/acts", json={"acts": []}, headers=stolen).status_code == 403


def test_a_decision_is_on_disk_with_what_the_server_knows_of_its_picture(app, pictures):
    browser = Browser(app, "ada")
    first, second = browser.claim(most=2)
    result = browser.decide(first, "sexy", reason="a  reason")
    assert result["outcomes"] == [{"id": f"id-of-the-decision-{first[:8]}-sexy", "outcome": "saved", "why": ""}]
    assert (result["left"], result["changed"], result["looked_at"]) == (9, 1, 1)
    browser.decide(second, "neutral")  # its own label: to keep it
    listed = acts.all_opinions(app.state.work.store)
    (opinion,) = listed[first]
    assert (opinion.act, opinion.old_label, opinion.suggested, opinion.split) == ("sexy", "porn", "sexy", "test")
    assert (opinion.reviewer, opinion.model_version, opinion.queue) == ("ada", "7", "suspicions")
    assert listed[second][0].act == "keep"
    assert browser.claim(most=2) == pictures[4:6]


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"act": "cats"}, "no such label"), ({"sha256": "f" * 64}, "no such picture")],
)
def test_what_cannot_be_decided_is_refused_with_its_reason_and_the_rest_is_done(app, pictures, changes, why):
    browser = Browser(app, "ada")
    good = {"id": "a-good-decision-1", "sha256": pictures[2], "act": "keep", "queue": "suspicions"}
    bad = good | {"id": "a-bad-decision-12"} | changes
    outcomes = browser.post("/api/acts", acts=[bad, good]).json()["outcomes"]
    assert [(one["outcome"], one["why"]) for one in outcomes] == [("refused", why), ("saved", "")]


def test_a_picture_under_two_labels_is_not_confirmed_but_named(app, pictures):
    browser = Browser(app, "ada")
    catalog = tables.read_parquet(paths.CATALOG)
    catalog["labels"] = [["porn", "sexy"] if sha == pictures[0] else labels for sha, labels in
                         zip(catalog["sha256"], catalog["labels"], strict=True)]  # fmt: skip
    tables.write_parquet(catalog, paths.CATALOG)
    browser.http.get("/")  # reads the tables anew
    assert browser.decide(pictures[0], "keep")["outcomes"][0]["why"] == "it has several labels: name the right one"
    assert browser.decide(pictures[0], "porn")["outcomes"][0]["outcome"] == "saved"


@pytest.mark.parametrize(
    "message",
    [
        {"acts": [{"id": "short", "sha256": "a" * 64, "act": "keep", "queue": "q"}]},
        {"acts": [{"id": "x" * 20, "sha256": "../../etc/passwd", "act": "keep", "queue": "q"}]},
        {"acts": [{"id": "x" * 20, "sha256": "a" * 64, "act": "k" * 201, "queue": "q"}]},
        {"acts": [{"id": "x" * 20, "sha256": "a" * 64, "act": "keep", "queue": "q", "final": True}]},
        {"acts": "all"},
        {"other": 1},
    ],
)
def test_a_broken_message_is_refused(app, message):
    answer = Browser(app, "ada").post("/api/acts", **message)
    assert answer.status_code == 422
    assert acts.all_opinions(app.state.work.store) == {}


def test_a_message_of_a_megabyte_is_not_read(app):
    assert Browser(app, "ada").post("/api/acts", acts=["x" * 2**20]).status_code == 413


def test_hostile_file_names_labels_and_reasons_are_text(app, pictures):
    browser = Browser(app, "ada")
    issues = tables.read_csv(paths.LABEL_ISSUES, ("sha256",))
    tables.write_csv(issues.assign(suggested=HOSTILE), paths.LABEL_ISSUES)
    index = browser.http.get("/").text
    assert "onerror=" in index
    assert "<img src=x" not in index
    address = index.partition('href="/queue/pair.porn.')[2].partition('"')[0]
    queue = browser.http.get(f"/queue/pair.porn.{address}")
    assert queue.status_code == 200
    claimed = browser.post("/api/claim", queue=f"pair.porn.{HOSTILE}", most=3).json()
    details = browser.post("/api/details", sha256=claimed["sha256"]).json()["html"]
    for html in (queue.text, claimed["html"], *details.values()):
        assert "<img src=x" not in html
    assert any("&lt;img src=x" in html for html in details.values())  # the file's name
    assert browser.decide(claimed["sha256"][0], "keep", reason=HOSTILE)["outcomes"][0]["outcome"] == "saved"
    assert "<img src=x" not in browser.http.get("/").text


def test_details_have_neighbours_copies_and_origins_but_nothing_escalated(app, pictures):
    browser = Browser(app, "ada")
    before = browser.post("/api/details", sha256=[pictures[0], pictures[2]]).json()["html"]
    assert before[pictures[0]].count("/thumbnails/") == 1  # its copy
    assert before[pictures[2]].count("/thumbnails/") == 8  # neighbours
    assert "0.png" in before[pictures[0]]
    for sha256 in (pictures[1], *pictures[3:]):
        browser.decide(sha256, "escalate")
    after = browser.post("/api/details", sha256=[pictures[0], pictures[2]]).json()["html"]
    assert pictures[0] not in after  # a copy of what is escalated is shown to nobody
    assert after[pictures[2]].count("/thumbnails/") == 0


def test_thumbnails_are_made_on_demand_and_escalation_erases_them_at_once(app, pictures):
    browser = Browser(app, "ada")
    answer = browser.http.get(f"/thumbnails/{pictures[0]}")
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    browser.http.get(f"/thumbnails/{pictures[1]}")
    assert all(thumbnails.path_of(one).is_file() for one in pictures[:2])
    browser.decide(pictures[0], "escalate")
    assert not any(thumbnails.path_of(one).is_file() for one in pictures[:2])  # its copy's, too
    assert [browser.http.get(f"/thumbnails/{one}").status_code for one in pictures[:3]] == [410, 410, 200]
    undo = {"id": f"id-of-the-decision-{pictures[0][:8]}-escalate", "sha256": pictures[0], "act": "", "queue": "q"}
    assert browser.post("/api/acts", acts=[undo | {"undo": True}]).json()["outcomes"][0]["outcome"] == "undone"
    assert browser.http.get(f"/thumbnails/{pictures[0]}").status_code == 200
    for wrong in ("f" * 64, "..%2f..%2fparams.yaml", "x"):
        assert browser.http.get(f"/thumbnails/{wrong}").status_code == 404
    assert Browser(app).http.get(f"/thumbnails/{pictures[2]}").status_code == 401


def test_what_decisions_in_data_escalate_is_shown_to_nobody_and_decided_pictures_are_in_no_queue(project):
    pictures = make(12)
    review_project.decided((pictures[2], "porn", "escalate"), (pictures[3], "neutral", "keep"))
    params = change(reviewers=["ada"], second_opinion=0.0)
    app = application(workplace(params), serve.entrance(params, "127.0.0.1", None), AllowedHosts.of("127.0.0.1"))
    browser = Browser(app)
    assert browser.http.get(f"/thumbnails/{pictures[2]}").status_code == 410
    assert browser.claim(most=99) == pictures[4:]
    assert browser.claim("conflicts", most=1) == pictures[:2]  # a cluster is one person's together


def test_two_people_get_different_pictures_and_learn_that_others_hold_some(app, pictures):
    ada, bob = Browser(app, "ada"), Browser(app, "bob")
    mine = ada.claim(most=6)
    result = bob.post("/api/claim", queue="suspicions", most=99).json()
    assert set(mine).isdisjoint(result["sha256"])
    assert result["held"] == 6
    assert bob.decide(mine[0], "keep")["outcomes"][0]["why"] == "someone else looks at this picture now"
    beat = ada.post("/api/heartbeat", sha256=[*mine, result["sha256"][0]], seconds=2.5, pictures=6)
    assert beat.json()["held"] == mine
    assert ada.claim(most=2, shown=tuple(mine[:4])) == mine[4:6]


def test_an_unknown_queue_is_no_page(app):
    browser = Browser(app, "ada")
    assert browser.http.get("/queue/nothing").status_code == 404
    assert browser.post("/api/claim", queue="nothing", most=1).status_code == 404


def test_other_machines_need_a_token(pictures, project, tmp_path):
    params = change(reviewers=["ada"], second_opinion=0.0)
    with pytest.raises(UserError, match=r"--host 0\.0\.0\.0 is reachable from other machines.*--tokens FILE"):
        serve.entrance(params, "0.0.0.0", None)  # noqa: S104
    path = tmp_path / "tokens"
    path.write_text("".join(f"{name},{token}\n" for name, token in TOKENS.items()))
    path.chmod(0o600)
    entrance = serve.entrance(params, "0.0.0.0", path)  # noqa: S104
    app = application(workplace(params), entrance, AllowedHosts.of("10.0.0.5"))
    browser = Browser(app, base="http://10.0.0.5:8001")
    assert browser.post_form("/enter", token="a" * 19).status_code == 401
    assert browser.post_form("/enter", name="ada").status_code == 401
    assert browser.post_form("/enter", token=TOKENS["bob"]).status_code == 303
    browser.token = browser.csrf("/")
    assert "bob" in browser.http.get("/").text
    assert browser.decide(pictures[2], "keep")["outcomes"][0]["outcome"] == "saved"
    assert acts.all_opinions(app.state.work.store)[pictures[2]][0].reviewer == "bob"


def test_a_cookie_of_loopback_is_no_login_where_tokens_are_asked_for(app, tmp_path, project):
    local = Browser(app, "ada")
    path = tmp_path / "tokens"
    path.write_text(f"ada,{TOKENS['ada']}\n")
    path.chmod(0o600)
    entrance = serve.entrance(change(), "127.0.0.1", path)
    guarded = TestClient(application(app.state.work, entrance, AllowedHosts.of("127.0.0.1")), base_url=BASE)
    guarded.cookies.set(serve.COOKIE_BY_TOKEN, local.http.cookies[serve.COOKIE])
    assert "Who are you?" in guarded.get("/").text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no line"),
        ("ada\n", "line 1 is not name,token"),
        ("ada,short\n", "line 1: a token has 20"),
        (f"ada,{'a' * 20}\n\nada,{'b' * 20}\n", "line 3 has a name or a token"),
        (f"ada,{'a' * 20}\nbob,{'a' * 20}\n", "line 2 has a name or a token"),
        (f"ada+bob,{'a' * 20}\n", "line 1 is not name,token"),
    ],
)
def test_a_wrong_file_of_tokens_is_named_by_its_line_and_no_token_is_shown(tmp_path, text, message):
    path = tmp_path / "tokens"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(UserError, match=message) as caught:
        tokens.read(path)
    assert "aaaa" not in str(caught.value)


def test_tokens_that_others_can_read_are_refused(tmp_path: Path):
    path = tmp_path / "tokens"
    path.write_text(f"ada,{'a' * 20}\n")
    path.chmod(0o640)
    with pytest.raises(UserError, match=r"mode 640.*chmod 600"):
        tokens.read(path)
    with pytest.raises(UserError, match="no readable file of tokens"):
        tokens.read(tmp_path / "nothing")
    os.chmod(path, 0o600)  # noqa: PTH101
    assert tokens.reviewer_of("a" * 20, tokens.read(path)) == "ada"
    assert tokens.reviewer_of("a" * 21, tokens.read(path)) is None
