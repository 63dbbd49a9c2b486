"""Look up each locked package in the index's list of known vulnerabilities: `make audit`.

Exit codes: 0 every package was looked up, and none has an unwaived vulnerability; 1 one has, or a waiver has ended;
2 not all could be looked up: the index has no such list, as mirrors usually do not, or does not answer.

A vulnerability that does not concern this project is waived until a day, in pyproject.toml:

    [[tool.audit.waivers]]
    id = "GHSA-xxxx-xxxx-xxxx"    # or an alias of it, such as its CVE
    until = 2027-01-31
    reason = "only its Windows installer"
"""

import datetime as dt
import json
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# Whether an index knows any vulnerability at all: this version has several, such as CVE-2019-11324.
KNOWN_BAD = "urllib3==1.24.1"


@dataclass(frozen=True)
class Waiver:
    """A vulnerability that is accepted until a day, that day included."""

    id: str
    until: dt.date
    reason: str


@dataclass
class Audit:
    """What is to be printed, by outcome."""

    vulnerable: list[str] = field(default_factory=list)
    waived: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    checked: int = 0

    @property
    def code(self) -> int:
        """Exit code; what is vulnerable outweighs what was not looked up."""
        return 1 if self.vulnerable or self.ended else 2 if self.skipped else 0


def read_waivers(document: dict[str, Any]) -> list[Waiver]:
    """Return the waivers of pyproject.toml.

    Raises:
        ValueError: one lacks a key, or its day or reason is none.

    """
    waivers = []
    for number, row in enumerate(document.get("tool", {}).get("audit", {}).get("waivers", []), 1):
        known = set(row) == {"id", "until", "reason"} and isinstance(row["until"], dt.date)
        if not known or not str(row["reason"]).strip():
            raise ValueError(
                f"pyproject.toml: waiver {number} of [[tool.audit.waivers]] needs "
                "id, until (a day, as 2027-01-31) and reason"
            )
        waivers.append(Waiver(row["id"], row["until"], row["reason"]))
    return waivers


def judge(dependencies: list[dict[str, Any]], waivers: list[Waiver], today: dt.date) -> Audit:
    """Sort pip-audit's answers, `dependencies` of its JSON, by what follows from them."""
    audit, used = Audit(), set()
    for package in dependencies:
        name = f"{package['name']} {package.get('version', '')}".strip()
        if "skip_reason" in package:
            audit.skipped.append(name)
            continue
        audit.checked += 1
        for known in package["vulns"]:
            names = {known["id"], *known.get("aliases", [])}
            fixed = ", ".join(known.get("fix_versions", [])) or "no version yet"
            line = f"{name}: {', '.join(sorted(names))}; fixed in {fixed}"
            waiver = next((one for one in waivers if one.id in names), None)
            if waiver is None:
                audit.vulnerable.append(line)
                continue
            used.add(waiver)
            target = audit.waived if today <= waiver.until else audit.ended
            target.append(f"{line}; waived until {waiver.until}: {waiver.reason}")
    audit.unused = [one.id for one in waivers if one not in used]
    return audit


def report(audit: Audit, *, index_knows: bool) -> tuple[list[str], int]:
    """Return the lines to print, and the exit code."""
    lines = [f"VULNERABLE  {line}" for line in audit.vulnerable]
    lines += [f"WAIVER ENDED  {line}" for line in audit.ended]
    lines += [f"waived  {line}" for line in audit.waived]
    if audit.checked and not audit.skipped:
        lines += [f"waiver without a vulnerability, delete it: {name}" for name in audit.unused]
    if not index_knows:
        lines.append(
            f"NOT CHECKED: this index has no vulnerability data (it knows none of {KNOWN_BAD}, which has several). "
            "Run it where pypi.org/pypi answers."
        )
        return lines, audit.code or 2
    if audit.skipped:
        some = ", ".join(audit.skipped[:5]) + (", ..." if len(audit.skipped) > 5 else "")
        lines.append(f"NOT CHECKED: {len(audit.skipped)} packages are not in the index: {some}")
    lines.append(f"{audit.checked} packages looked up, {len(audit.vulnerable) + len(audit.ended)} vulnerabilities")
    return lines, audit.code


def look_up(requirements: Path, *options: str) -> list[dict[str, Any]]:
    """Return pip-audit's answers; it resolves and installs nothing, so each package must be pinned."""
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
    done = subprocess.run(
        [*command, *options, "--requirement", str(requirements)], capture_output=True, text=True, check=False
    )
    try:
        dependencies: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (json.JSONDecodeError, KeyError):
        raise SystemExit(f"NOT CHECKED: pip-audit failed:\n{done.stderr.strip()[-2000:]}") from None
    return dependencies


def main() -> int:
    """Audit uv.lock with all its extras."""
    try:
        waivers = read_waivers(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8")))
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None
    with tempfile.TemporaryDirectory() as folder:
        bad, locked = Path(folder) / "bad.txt", Path(folder) / "locked.txt"
        bad.write_text(f"{KNOWN_BAD}\n", encoding="utf-8")
        export = ["uv", "export", "--quiet", "--locked", "--all-extras", "--no-emit-project", "--output-file"]
        subprocess.run([*export, str(locked)], cwd=ROOT, check=True)
        index_knows = any(package.get("vulns") for package in look_up(bad, "--no-deps"))
        dependencies = look_up(locked, "--require-hashes")
    lines, code = report(judge(dependencies, waivers, dt.datetime.now(tz=dt.UTC).date()), index_knows=index_knows)
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
