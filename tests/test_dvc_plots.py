"""The page of `dvc plots`: ours, with the very versions of Vega that DVC would fetch from a CDN."""

import re
from configparser import ConfigParser
from pathlib import Path

import yaml
from dvc_render.vega import VegaRenderer

ROOT = Path(__file__).parents[1]
PLOTS = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["plots"]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


def page() -> str:
    config = ConfigParser()
    config.read_string("\n".join(map(str.strip, (ROOT / ".dvc/config").read_text(encoding="utf-8").splitlines())))
    return (ROOT / ".dvc" / config["plots"]["html_template"]).read_text(encoding="utf-8")


def test_the_page_needs_no_network():
    text = page()
    assert "{plot_divs}" in text
    assert "{scripts}" not in text  # where DVC puts its CDN's
    assert not re.search(r"<(script|link)\b[^>]*(src|href)=", text)


def test_its_vega_is_the_version_that_dvc_draws_for():
    wanted = re.findall(r"npm/([a-z-]+)@([0-9.]+)", VegaRenderer.SCRIPTS)
    assert len(wanted) == 3
    text = page()
    assert re.findall(r"^  ([a-z-]+)@([0-9.]+)/", text, re.MULTILINE) == wanted, "put these into .dvc/plots/page.html"
    assert [version for _, version in wanted if f'="{version}"' not in text] == []  # as the code says of itself


def test_every_plot_is_named_and_drawn_once():
    """A file under a stage's `plots` gets a chart of its own, of whatever columns DVC takes."""
    assert [name for name, stage in STAGES.items() if "plots" in stage] == []
    written = {out for stage in STAGES.values() for out in stage.get("outs", [])}
    drawn = [plot if isinstance(plot, str) else next(iter(plot.values()))["y"] for plot in PLOTS]
    files = [path for one in drawn for path in ([one] if isinstance(one, str) else one)]
    assert all({path, str(Path(path).parent)} & written for path in files)
