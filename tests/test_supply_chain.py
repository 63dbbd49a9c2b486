"""What the project is made of: locked by digest, listed, looked up for vulnerabilities, built by pinned actions."""

import datetime as dt
import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).parents[1]
TODAY = dt.date(2026, 11, 27)
PACKAGE = {"name": "pillow", "version": "1.0"}
VULNERABILITY = {"id": "PYSEC-1", "aliases": ["CVE-2026-1"], "fix_versions": ["1.1"], "description": "long"}


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["audit"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["audit"]


def waivers(until: dt.date, name: str = "CVE-2026-1") -> dict:
    return {"tool": {"audit": {"waivers": [{"id": name, "until": until, "reason": "not reached"}]}}}


def test_a_vulnerability_fails_and_says_what_fixes_it(audit):
    lines, code = audit.report(audit.judge([PACKAGE | {"vulns": [VULNERABILITY]}], [], TODAY), index_knows=True)
    assert code == 1
    assert lines[0] == "VULNERABLE  pillow 1.0: CVE-2026-1, PYSEC-1; fixed in 1.1"
    assert lines[-1] == "1 packages looked up, 1 vulnerabilities"


@pytest.mark.parametrize(
    ("until", "code", "word"), [(TODAY, 0, "waived"), (TODAY - dt.timedelta(days=1), 1, "WAIVER ENDED")]
)
def test_a_waiver_holds_to_the_end_of_its_day(audit, until, code, word):
    known = audit.read_waivers(waivers(until))
    lines, outcome = audit.report(audit.judge([PACKAGE | {"vulns": [VULNERABILITY]}], known, TODAY), index_knows=True)
    assert (outcome, lines[0].startswith(word)) == (code, True)


def test_a_waiver_that_nothing_needs_is_named(audit):
    known = audit.read_waivers(waivers(TODAY, "CVE-2020-1"))
    lines, code = audit.report(audit.judge([PACKAGE | {"vulns": []}], known, TODAY), index_knows=True)
    assert (code, "delete it: CVE-2020-1" in lines[0]) == (0, True)


@pytest.mark.parametrize(
    "changes",
    [{"until": None}, {"until": "soon"}, {"reason": " "}, {"more": 1}],
)
def test_a_waiver_without_a_day_or_a_reason_is_refused(audit, changes):
    row = {key: value for key, value in {"id": "CVE-1", "until": TODAY, "reason": "x", **changes}.items() if value}
    with pytest.raises(ValueError, match="waiver 1 of"):
        audit.read_waivers({"tool": {"audit": {"waivers": [row]}}})


def test_an_index_without_data_is_no_clean_result(audit):
    nothing = [PACKAGE | {"vulns": []}]
    lines, code = audit.report(audit.judge(nothing, [], TODAY), index_knows=False)
    assert (code, lines[-1].startswith("NOT CHECKED: this index has no vulnerability data")) == (2, True)
    skipped = [{"name": "pillow", "skip_reason": "not found"}, *nothing]
    lines, code = audit.report(audit.judge(skipped, [], TODAY), index_knows=True)
    assert (code, "1 packages are not in the index: pillow" in lines[0]) == (2, True)


def test_the_projects_own_waivers_can_be_read(audit):
    audit.read_waivers(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8")))


def test_workflows_use_actions_by_commit_and_may_only_read():
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        text = path.read_text(encoding="utf-8")
        assert yaml.safe_load(text)["permissions"] == {"contents": "read"}, path
        actions = re.findall(r"uses: (\S+)", text)
        assert actions, path
        assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action) for action in actions), path


def test_uv_itself_is_installed_by_digest():
    done = subprocess.run(["make", "-n", "-B", "install"], cwd=ROOT, capture_output=True, text=True, check=True)
    (command,) = re.findall(r"^(sed .*uv\.lock) \| tr", done.stdout, flags=re.MULTILINE)
    lines = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert re.fullmatch(r"uv==[\d.]+", lines[0])
    assert len(lines) > 1
    assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line) for line in lines[1:])
    assert "--require-hashes" in done.stdout


def test_the_documented_command_lists_every_locked_package(tmp_path):
    (command,) = re.findall(
        r"`(uv export --format cyclonedx[^`]+)`", (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    )
    words = command.replace("sbom.json", str(tmp_path / "sbom.json")).split()
    subprocess.run(words, cwd=ROOT, capture_output=True, check=True)
    bill = json.loads((tmp_path / "sbom.json").read_text(encoding="utf-8"))
    assert bill["bomFormat"] == "CycloneDX"
    listed = {(part["name"], part["version"]) for part in bill["components"]}
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]
    assert {(one["name"], one["version"]) for one in lock} - listed == {("nsfw-pipeline", "0.1.0")}
