"""compose.yaml: pinned, without passwords, on loopback, healthy or not, with volumes that have names."""

import re
import subprocess
import tomllib

import pytest

from tests.support.compose_file import COMPOSE, VARIABLE, interpolated, raw, variables_of_file
from tests.support.system_helpers import REPOSITORY

VARIABLES = {
    **dict.fromkeys(("POSTGRES_PASSWORD", "OPTUNA_PASSWORD"), "of-the-database"),
    **dict.fromkeys(("MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"), "of-the-server"),
    **dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"), "of-the-bucket"),
    "S3_BUCKET": "team",
    "S3_ENDPOINT_URL": "https://s3.example.org",
}
SERVICES = raw()["services"]
KEYS = {
    *("image", "build", "command", "entrypoint", "environment", "configs", "volumes", "ports", "healthcheck"),
    *("restart", "depends_on", "profiles"),
}
DOCUMENT = (REPOSITORY / "docs/operations.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def locked() -> dict[str, str]:
    packages = tomllib.loads((REPOSITORY / "uv.lock").read_text(encoding="utf-8"))["package"]
    return {package["name"]: package["version"] for package in packages}


def test_what_it_refers_to_is_there():
    document = interpolated(VARIABLES)
    assert set(document) == {"name", "services", "configs", "volumes"}
    assert set(document["services"]) == {"postgres", "mlflow", "s3"}
    for service in document["services"].values():
        assert set(service) <= KEYS
        assert {each["source"] for each in service.get("configs", [])} <= set(document["configs"])
        assert set(service.get("depends_on", {})) <= set(document["services"])
    used = {each["source"] for service in SERVICES.values() for each in service.get("configs", [])}
    assert used == set(document["configs"])


def test_every_image_has_an_exact_version(locked):
    bases = re.findall(r"^FROM (\S+)$", SERVICES["mlflow"]["build"]["dockerfile_inline"], flags=re.MULTILINE)
    images = [*bases, *(service["image"] for service in SERVICES.values())]
    assert len(images) == 4
    assert [image for image in images if not re.fullmatch(r"[\w/-]+:\d+\.\d+(\.\d+)?(-[a-z]+)*", image)] == []
    assert SERVICES["s3"]["image"] == f"motoserver/moto:{locked['moto']}"


def test_the_servers_image_installs_what_the_tests_run(locked):
    """By uv's version of uv.lock, in uv.lock's versions; each package is one of those that tests install."""
    recipe = SERVICES["mlflow"]["build"]["dockerfile_inline"]
    assert f"uv=={locked['uv']} " in recipe
    assert "uv sync --locked --only-group mlflow-server" in recipe
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    group = project["dependency-groups"]["mlflow-server"]
    extras = project["project"]["optional-dependencies"]
    assert set(group) <= {*project["project"]["dependencies"], *extras["dev"]}


def test_passwords_come_from_the_environment_alone():
    settings = [(key, value) for service in SERVICES.values() for key, value in service.get("environment", {}).items()]
    secret = [(key, value) for key, value in settings if re.search("PASSWORD|SECRET|KEY", key)]
    assert len(secret) == 6
    assert [key for key, value in secret if not re.fullmatch(r"\$\{" + key + r":\?.+\}", value)] == []
    for user in re.findall(r"://(\S+?)@", COMPOSE.read_text(encoding="utf-8")):
        assert re.fullmatch(r"\w+:\$\{\w+\}", user)
    with pytest.raises(AssertionError, match="wants OPTUNA_PASSWORD"):
        interpolated({**VARIABLES, "OPTUNA_PASSWORD": ""})


def test_the_documented_file_of_variables_is_complete_and_ignored(tmp_path):
    """So its lines are run here, but for the start of the services."""
    section = DOCUMENT.partition("### The server\n")[2].partition("### ")[0]
    (block,) = re.findall(r"(?ms)^```\n(.*?)^```", section)
    lines = block.replace("docker compose up", "echo docker compose up")
    subprocess.run(["bash", "-euc", lines], cwd=tmp_path, check=True, capture_output=True)
    made = variables_of_file((tmp_path / ".env").read_text(encoding="utf-8"))
    required = {
        name for _, name, operator, _ in VARIABLE.findall(COMPOSE.read_text(encoding="utf-8")) if operator == "?"
    }
    assert set(made) == required
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    ignored = subprocess.run(["git", "check-ignore", "-q", ".env"], cwd=REPOSITORY, check=False)
    assert ignored.returncode == 0


def test_ports_are_bound_to_loopback():
    for name, service in interpolated(VARIABLES)["services"].items():
        assert service["ports"], name
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), name


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_tells_whether_it_is_healthy(name):
    check = SERVICES[name]["healthcheck"]
    assert check["test"]
    assert check["retries"] > 1
    assert {"interval", "timeout"} <= set(check)


def test_what_must_last_lies_in_a_named_volume():
    volumes = [volume for service in SERVICES.values() for volume in service.get("volumes", [])]
    assert [volume.partition(":")[0] for volume in volumes] == list(raw()["volumes"])
    assert volumes
