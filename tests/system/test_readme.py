"""Every line of README that a person types, typed in order; those that other tests type are named."""

import re
import tarfile
from pathlib import Path
from shutil import copyfile, copytree, ignore_patterns

import pytest
import yaml

from tests.support.foreign_models import network, save_tfjs
from tests.support.ports import free_port
from tests.support.shell import Shell
from tests.support.system_helpers import REPOSITORY, Project

pytestmark = pytest.mark.slow

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
# Lines that are typed by other tests: they take a machine's time, or a package index.
ELSEWHERE = {
    "make run": "tests/system/test_whole_run.py: test_it_runs_to_its_end_though_mlflow_is_dead",
    "make ui": "tests/system/test_ui.py: test_it_serves_mlflows_page_and_says_where",
    "make test": ".ci/run: make test",
    "make install EXTRAS=s3": "tests/test_makefile.py: test_an_environment_of_another_folder_is_made_anew",
    "nsfw ingest urls raw_data --source web": (
        "tests/web_ingest/test_batch.py: test_nsfw_ingest_urls_takes_the_scrapers_layout_as_it_lies"
    ),
    "nsfw review": "tests/review/test_browser.py: test_a_person_decides_by_keyboard_alone",
    "nsfw review --done": "tests/review/test_done.py: test_the_command_versions_data_and_prints_the_commit_to_make",
    'git add data.dvc && git commit -m "Review: 78 decisions"': (
        "tests/review/test_done.py: test_the_command_versions_data_and_prints_the_commit_to_make"
    ),
    "dvc repro": "tests/system/test_whole_run.py: test_it_runs_to_its_end_though_mlflow_is_dead",
    "nsfw demo": (
        "tests/demo/test_nsfw_demo.py: "
        "test_the_command_shows_the_page_with_a_registered_version_until_it_is_interrupted"
    ),
    "nsfw reports list": "tests/demo/test_demo_page.py: test_a_report_becomes_a_case_that_refuses_a_version",
    'nsfw reports accept 3fa9c1 --slice "red light" --ticket T-812': (
        "tests/demo/test_demo_page.py: test_a_report_becomes_a_case_that_refuses_a_version"
    ),
    "nsfw reports check production": (
        "tests/reports/test_cases.py: test_check_names_what_a_version_gets_wrong_and_exits_1"
    ),
    "nsfw reports show T-812": "tests/reports/test_cases.py: test_show_tells_since_when_a_case_is_right",
    "nsfw tune --write": "tests/system/test_search.py: test_the_winner_is_confirmed_and_written_as_a_diff",
    "nsfw tune --join postgresql+psycopg://user@host/db": (
        "tests/system/test_search.py: test_two_machines_share_a_study_in_postgres"
    ),
}


def blocks() -> dict[str, list[str]]:
    """The commands of each section's code blocks, without comments; a line that ends in a backslash goes on."""
    commands_by_title: dict[str, list[str]] = {}
    for section in re.split(r"(?m)^## ", README)[1:]:
        title, _, text = section.partition("\n")
        for language, block in re.findall(r"(?ms)^```(\w*)\n(.*?)^```", text):
            if not language and not block.startswith("params.yaml"):  # the last one is a list of files
                lines = block.replace("\\\n", " ").splitlines()
                commands = (re.sub(r"(^|\s+)#\s.*", "", line).strip() for line in lines)
                commands_by_title.setdefault(title, []).extend(command for command in commands if command)
    return commands_by_title


TOUR = "The second tour: into production and back"
LOOP = "The third tour: the loop with people"
DOORS = "One classifier, three doors, and exports"
OWN = "Your own scrape"


def test_every_line_is_typed_here_or_elsewhere():
    sections = blocks()
    assert set(sections) == {"Quick start", TOUR, LOOP, DOORS, OWN, "Search"}
    assert sum(map(len, sections.values())) > 30
    others = {line for title in ("Quick start", LOOP, "Search") for line in sections[title]}
    assert others | {line for line in sections[OWN] if line in ELSEWHERE} == set(ELSEWHERE)
    for where in ELSEWHERE.values():
        file, _, words = where.partition(": ")
        assert words in (REPOSITORY / file).read_text(encoding="utf-8"), where


@pytest.fixture(scope="module")
def shell(whole_run, tmp_path_factory, sample) -> Shell:
    """A project like the one that `make run` leaves, but smaller: its model cannot pass the real gates."""
    folder = tmp_path_factory.mktemp("readme")
    without = ignore_patterns("mlflow.db*", "mlartifacts")  # where other tests may have promoted something
    copytree(whole_run[0].root, folder / "project", symlinks=True, ignore=without)
    project = Project(folder / "project")
    project.nsfw("sync")
    gates = yaml.safe_load((project.root / "params.yaml").read_text(encoding="utf-8"))["register"]["gates"]
    gates |= {"class_recall": 0.0, "unsafe_recall": 0.0, "calibration": 1.0, "robustness": 0.0, "leaks": 1.0}
    gates["drop"] |= {"unsafe_recall": 1.0, "macro_recall": 1.0, "class_recall": 1.0}
    project.change("register", gates=gates | {"clean": False, "slice_gap": 1.0})
    for label in ("neutral", "porn"):
        (project.root / "DIR" / label).mkdir(parents=True)
        for path in sorted((sample[0] / label).glob("*.jpg"))[:5]:
            copyfile(path, project.root / "DIR" / label / path.name)
    (project.root / "nsfwjs").mkdir()
    save_tfjs(project.root / "nsfwjs", network(classes=5, size=48))
    return Shell(project, folder / "home")


@pytest.fixture(scope="module")
def tour(shell) -> dict[str, str]:
    """The output of each line of the second tour."""
    outputs = {}
    for line in blocks()[TOUR]:
        if "--override latency_ms" in line:  # that gate fails or not, as the machine is
            text = (shell.project.root / "params.yaml").read_text(encoding="utf-8")
            slow = re.sub(r"latency_ms: .*", "latency_ms: 0.001", text)
            (shell.project.root / "params.yaml").write_text(slow, encoding="utf-8")
        outputs[line] = shell.type(line)
        if line.startswith("sed "):
            assert "target_recall: 0.97" in (shell.project.root / "params.yaml").read_text(encoding="utf-8")
    return outputs


def test_the_second_tour(shell, tour):
    by_word = {}
    for line, output in tour.items():
        by_word.setdefault(" ".join(line.split()[:2]), []).append(output)
    assert "promoted: nsfw - -> 1" in by_word["nsfw promote"][0]
    assert "promoted: nsfw 1 -> 2" in by_word["nsfw promote"][1]
    assert "rolled back: nsfw 2 -> 1" in by_word["nsfw rollback"][0]
    assert "review, of 100,000" in by_word["nsfw compare"][0]
    assert "version 1 of nsfw is loaded" in by_word["nsfw verify"][0]
    assert "git checkout" in by_word["nsfw trace"][0]
    assert (shell.project.root / "moved.csv").is_file()
    assert "over latency_ms" in by_word["nsfw promote"][2]


def test_the_three_doors(shell, tour):
    root = shell.project.root
    copytree(root / "DIR", root / "scrape")
    with tarfile.open(root / "more.tar.xz", "w:xz") as archive:
        archive.add(root / "DIR" / "neutral", "neutral")
    ports = {"8000": str(free_port()), "5055": str(free_port())}
    lines = blocks()[DOORS]
    assert [line for line in lines if "8000" in line or "5055" in line]
    served = {"nsfw serve": ("8000", "/readyz"), "mlflow models serve": ("5055", "/ping")}
    with_ports = [re.sub("8000|5055", lambda match: ports[match[0]], line) for line in lines]
    answered = []

    def act(rest: list[str]) -> None:
        for number, line in enumerate(rest):
            server = next((name for name in served if name in line), None)
            if server is None:
                answered.append(shell.type(line))
                continue
            old, path = served[server]
            port = f" --port {ports[old]}" if server == "nsfw serve" else ""  # which is 8000 if nothing is said
            with shell.left_running(line + port, f"http://127.0.0.1:{ports[old]}{path}"):
                act(rest[number + 1 :])
            return

    act(with_ports)
    assert (root / "scores.parquet").is_file()
    (http,) = [text for text in answered if '"probabilities"' in text] or [answered]
    (mlflow,) = [text for text in answered if '"predictions"' in text] or [answered]
    assert isinstance(http, str), http
    assert isinstance(mlflow, str), mlflow
    unsafe = [float(re.findall(r'"unsafe": ?([0-9.e-]+)', text)[0]) for text in (http, mlflow)]
    assert unsafe[0] == pytest.approx(unsafe[1], abs=1e-5)
    assert list((root / "exported").rglob("*.onnx"))


def test_a_scrape_of_ones_own(shell, sample):
    root, home = shell.project.root, Path(shell.environment["HOME"])
    shell.project.change("validate", smallest_class={"limit": 5, "severity": "error"})
    for label, name in (("drawings", "a"), ("porn", "b"), ("neutral", "c")):
        copytree(sample[0] / label, home / "scrape" / name)
    (begin,) = re.findall(r"`(nsfw init [^`]+)`", README)
    shell.type(begin)
    lines = [line.replace("s3://...", str(home / "remote")) for line in blocks()[OWN] if line not in ELSEWHERE]
    outputs = [shell.type(line) for line in lines]
    assert any("reports/index.html" in text for text in outputs)
    assert list((home / "remote").rglob("*"))
    versions = shell.type("nsfw data versions")
    assert "Rebuilt" in versions
    page = (root / "reports/index.html").read_text(encoding="utf-8")
    commit = shell.type("git rev-parse HEAD~1").strip()  # the last one holds dvc.lock, which the run wrote
    assert commit in page
    assert "recall b" in page
