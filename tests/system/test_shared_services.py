"""A team on shared services: PostgreSQL, S3 (moto's server stands in) and MLflow with passwords, all really started.

The services run by compose.yaml's commands, people type the lines of docs/operations.md, with other addresses and keys.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from pipeline.tracking import server
from pipeline.tracking.publish import publish
from tests.support.bucket_rights import Bucket, Key
from tests.support.compose_file import variables_of_file
from tests.support.shared_services import SharedServices
from tests.support.shell import Shell
from tests.support.system_helpers import REPOSITORY, Project, make
from tests.support.tracking_helpers import finished

pytestmark = [pytest.mark.slow, pytest.mark.rare]

SECTION = (REPOSITORY / "docs/operations.md").read_text(encoding="utf-8").partition("## Shared services\n")[2]
HOUR = 3600.0  # for a whole run on a busy machine
METRICS = ("dedupe", "evaluate", "finetuned", "frozen", "validate")


def documented(title: str) -> str:
    """The commands of a part of the section, as one script."""
    (block,) = re.findall(r"(?ms)^```\n(.*?)^```", SECTION.partition(f"### {title}\n")[2].partition("\n### ")[0])
    return str(block)


class Team:
    """The services, and who uses them."""

    def __init__(self, folder: Path, services: SharedServices, bucket: Bucket, people: Key) -> None:
        self.folder, self.services, self.bucket, self.people = folder, services, bucket, people
        self.origin = folder / "nsfw.git"
        self.mlflow = f"http://127.0.0.1:{services.mlflow_port}"

    def script(self, title: str) -> str:
        """The documented commands, with this team's addresses and keys."""
        replaced = {
            "https://s3.example.org": self.bucket.url,
            "git@example.org:team/nsfw.git": str(self.origin),
            "people-key": self.people.id,
            "people-secret": self.people.secret,
            "make install EXTRAS=s3 && . .venv/bin/activate\n": "",
        }
        text = documented(title)
        for theirs, ours in replaced.items():
            text = text.replace(theirs, ours)
        return "set -e\n" + self.services.on_loopback(text)

    def variables(self, user: str) -> dict[str, str]:
        account = {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": f"first password of {user}"}
        return account | {"MLFLOW_TRACKING_URI": self.mlflow} | self.people.variables

    def shell(self, project: Project, home: str) -> Shell:
        return Shell(project, self.folder / home)


@pytest.fixture(scope="module")
def team() -> Iterator[Team]:
    with tempfile.TemporaryDirectory(prefix="team-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as a user of its own
        text = documented("The server").replace("docker compose up", ": docker compose up")
        Shell(Project(folder), folder / "admin").type(text)
        variables = variables_of_file((folder / ".env").read_text(encoding="utf-8"))
        services = SharedServices(folder, variables)
        try:
            services.s3.start()
            services.s3_address.start()
            bucket = Bucket(f"http://127.0.0.1:{services.s3_port}")
            services.mlflow.environment |= bucket.user("server", "mlflow").variables
            services.start_postgres()
            services.mlflow.start()
            yield Team(folder, services, bucket, bucket.user("people", "dvc"))
        finally:
            services.stop()


@pytest.fixture(scope="module")
def accounts(team) -> None:
    assert [team.services.healthcheck(name) for name in ("postgres", "s3", "mlflow")] == [0, 0, 0]
    team.shell(Project(team.folder), "administrator").type(team.script("Accounts"))


@pytest.fixture(scope="module")
def first(team, accounts, sample, tiny_weights) -> tuple[Project, str]:
    """The first person's project after the documented lines, and what they printed."""
    project = make(team.folder / "first", sample[0], tiny_weights)
    gates = yaml.safe_load((project.root / "params.yaml").read_text(encoding="utf-8"))["register"]["gates"]
    gates |= {"class_recall": 0.0, "unsafe_recall": 0.0, "calibration": 1.0, "robustness": 0.0, "leaks": 1.0}
    project.change("register", gates=gates | {"slice_gap": 1.0, "latency_ms": None})
    shell = team.shell(project, "ann")
    shell.type(f"git init -q --bare {team.origin} && git remote add origin {team.origin}")
    shell.type("git add -A && git commit -q -m 'The scrape'")
    return project, shell.type(team.script("The first person"), seconds=HOUR)


@pytest.fixture(scope="module")
def second(team, first) -> tuple[Project, str]:
    """The second person's clone after the documented lines, and what they printed."""
    folder = team.folder / "second"
    folder.mkdir()
    output = team.shell(Project(folder), "bob").type(team.script("A second person"), seconds=HOUR)
    return Project(folder / "nsfw"), output


def test_the_first_person_trains_promotes_and_pushes(team, first):
    project, output = first
    assert "promoted: nsfw - -> 1" in output
    assert "does not answer" not in output
    registered = json.loads((project.root / "build/registered.json").read_text(encoding="utf-8"))
    assert (registered["version"], registered["pending"], registered["store"]) == (1, False, team.mlflow)
    assert any(name.endswith("model.keras") for name in team.bucket.objects("mlflow"))
    assert len(team.bucket.objects("dvc")) > 20
    status = project.run("python", "-m", "dvc", "status", "--cloud", "--json", env=team.variables("ann"))
    assert json.loads(status.stdout) == {}
    assert not (project.root / "mlflow.db").exists()


def test_a_second_person_pulls_traces_and_rebuilds_to_equal_metrics(first, second):
    theirs, output = second
    ours, _ = first
    commit = ours.run("git", "rev-parse", "HEAD~1").stdout.strip()  # the last one holds dvc.lock
    assert f"git checkout {commit}" in output
    assert output.count("Running stage 'evaluate'") == output.count("Running stage 'catalog'") == 1
    for name in METRICS:
        assert (theirs.root / f"metrics/{name}.json").read_bytes() == (ours.root / f"metrics/{name}.json").read_bytes()
    models = [project.root / "build/finetuned/model.keras" for project in (ours, theirs)]
    assert models[0].read_bytes() == models[1].read_bytes()
    assert "refused" not in output
    assert theirs.run("python", "-m", "dvc", "metrics", "diff").stdout == ""


def test_who_may_not_write_to_the_ledger_promotes_nothing(team, first, second):
    project, _ = second
    done = project.nsfw("rollback", "--to", "1", "--reason", "mine", check=False, env=team.variables("bob"))
    assert done.returncode == 1
    history = json.loads(project.nsfw("history", "--json", env=team.variables("bob")).stdout)
    assert [entry["draft"]["version"] for entry in history["entries"]] == [1]
    project.nsfw("sync", env=team.variables("bob"))  # his own training is in MLflow
    refused = project.nsfw("promote", "1", "--reason", "mine", check=False, env=team.variables("bob"))
    assert (refused.returncode, len(refused.stderr.strip().splitlines())) == (1, 1)
    after = json.loads(project.nsfw("history", "--json", env=team.variables("ann")).stdout)
    assert after["entries"] == history["entries"]
    assert after["findings"] == []


def test_a_push_without_rights_is_one_error_and_leaves_nothing(team, first, tmp_path):
    project, _ = first
    before = team.bucket.objects("dvc")
    copy = Project(tmp_path / "copy")
    shutil.copytree(project.root, copy.root, symlinks=True)
    (copy.root / "data" / "slices.csv").write_text(f"sha256,slice\n{'0' * 64},at night\n", encoding="utf-8")
    copy.run("python", "-m", "dvc", "add", "--quiet", "data")
    nobody = team.bucket.user("nobody", None).variables
    refused = copy.run("python", "-m", "dvc", "push", "data.dvc", check=False, env=team.variables("ann") | nobody)
    errors = [line for line in refused.stderr.splitlines() if line.startswith("ERROR")]
    assert (refused.returncode, len(errors)) == (255, 1)
    assert "Forbidden" in errors[0]
    assert "Traceback" not in refused.stderr
    assert team.bucket.objects("dvc") == before
    copy.run("python", "-m", "dvc", "push", "data.dvc", env=team.variables("ann"))
    assert len(team.bucket.objects("dvc")) > len(before)


@pytest.fixture
def person(team, accounts, tmp_path, monkeypatch) -> Path:
    """A working directory with inputs of a run, and ann's variables."""
    monkeypatch.chdir(tmp_path)
    Path("in.csv").write_text("sha256\na\n", encoding="utf-8")
    Path("packed").mkdir()
    for name in ("MLFLOW_EXPERIMENT_NAME", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in team.variables("ann").items():
        monkeypatch.setenv(name, value)
    server.prepare_environment()
    return tmp_path


def check_healed(team: Team, break_it: Callable[[], None], heal: Callable[[], None]) -> str:
    """Publish a run while something is broken, and again when it is not; return the first problem."""
    import mlflow

    record = finished()
    break_it()
    try:
        broken = publish(record.folder)
    finally:
        heal()
    assert (broken.complete, len(broken.problem.splitlines())) == (False, 1)
    assert not re.search("first password|Traceback", broken.problem)
    healed = publish(record.folder)
    assert (healed.complete, healed.problem) == (True, "")
    client = mlflow.MlflowClient(team.mlflow)
    runs = client.search_runs(["1"], filter_string=f"tags.`nsfw.record_id` = '{record.id}'")
    assert [run.info.status for run in runs] == ["FINISHED"]
    assert [entry.path for entry in client.list_artifacts(runs[0].info.run_id, "model")] == ["model/model.keras"]
    assert len(client.get_metric_history(runs[0].info.run_id, "val_loss")) == 3
    return broken.problem


def test_a_server_without_rights_on_its_bucket_says_so_and_is_healed(team, person):
    problem = check_healed(
        team, lambda: team.bucket.allow("server", None), lambda: team.bucket.allow("server", "mlflow")
    )
    assert (
        "cannot use its store of artifacts (Failed to list artifacts in s3://team-nsfw/mlflow: Access Denied)"
        in problem
    )


def test_a_killed_database_loses_nothing(team, person):
    problem = check_healed(team, team.services.postgres.kill, team.services.start_postgres)
    assert team.mlflow in problem


def test_a_killed_server_loses_nothing(team, person):
    problem = check_healed(team, team.services.mlflow.kill, team.services.mlflow.start)
    assert f"MLflow at {team.mlflow} does not answer" in problem


def test_a_search_has_a_database_of_its_own(team, first, tmp_path):
    project = Project(tmp_path / "search")
    shutil.copytree(first[0].root, project.root, symlinks=True)
    space = {"train.l2": {"low": 0.0001, "high": 0.001, "log": True}}
    small = {"epochs": 1, "head_epochs": 1, "min_steps": 1, "subset": 0.5, "startup_trials": 1, "rungs": []}
    project.change("tune", **small, trials=1, space=space)
    shell = team.shell(project, "searcher")
    shutil.copyfile(team.folder / ".env", project.root / ".env")
    shell.environment |= team.variables("ann")
    output = shell.type(". ./.env\n" + team.script("A search").replace("--workers 2", "--workers 1"))
    assert "1 of 1 trials finished" in output
    password = variables_of_file((team.folder / ".env").read_text(encoding="utf-8"))["OPTUNA_PASSWORD"]
    assert password not in output
    import psycopg

    address = f"postgresql://optuna:{password}@127.0.0.1:{team.services.postgres.port}"
    with psycopg.connect(f"{address}/optuna") as connection:
        assert connection.execute("SELECT count(*) FROM trials").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(f"{address}/mlflow")


@pytest.fixture(scope="module")
def team_project(built, tmp_path_factory) -> Project:
    """A project that has everything before training."""
    project = Project(tmp_path_factory.mktemp("team") / "project")
    shutil.copytree(built[0], project.root, symlinks=True)
    return project


@pytest.mark.parametrize("killed", ["mlflow", "postgres", "s3_address"])
def test_a_service_killed_in_the_middle_of_a_rebuild_costs_a_message_a_run(team, accounts, team_project, killed):
    service = getattr(team.services, killed)
    start = team.services.start_postgres if killed == "postgres" else service.start
    project, ann = team_project, team.variables("ann")
    project.change("train", l2={"mlflow": 0.001, "postgres": 0.002, "s3_address": 0.003}[killed])
    try:
        output = project.repro_until("INFO train epoch 1/", service.kill, ann)
    finally:
        start()
    assert "Traceback" not in output
    assert not re.search("first password|people-secret", output)
    messages = [line for line in output.splitlines() if "`nsfw sync`" in line]
    assert len(messages) == 3, output  # of train, finetune and register
    assert project.run("python", "-m", "dvc", "status", "--json", env=ann).stdout.strip() == "{}"

    synced = json.loads(project.nsfw("sync", "--json", env=ann).stdout)
    assert synced["problems"] == []
    assert all(record["complete"] for record in synced["records"])
    assert not synced["registration"]["pending"]
    again = json.loads(project.nsfw("sync", "--json", env=ann).stdout)
    assert again["registration"]["version"] == synced["registration"]["version"]
