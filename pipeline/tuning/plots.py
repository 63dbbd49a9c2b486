"""A study's plots: PNGs, and one interactive page of HTML that needs no network."""

import html
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna

from pipeline.core.files import atomic

PAGE = "search.html"
_PLOTS = {
    "history": "plot_optimization_history",
    "importance": "plot_param_importances",
    "parallel": "plot_parallel_coordinate",
    "slice": "plot_slice",
}
_PARETO = {"pareto": "plot_pareto_front"}


def draw(study: optuna.Study, out: Path) -> list[str]:
    """Write a PNG of each plot and the page into `out`; return a message for each plot that cannot be drawn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        problems = list(_pictures(study, out))
        _page(study, out / PAGE)
    return problems


def _requested_plots(study: optuna.Study) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield each plot's name, Optuna's function and its arguments; with two objectives one plot for each of them."""
    names = study.metric_names or ["objective"]
    if len(names) > 1:
        yield "pareto", _PARETO["pareto"], {"target_names": names}
    for name, function in _PLOTS.items():
        for index, metric in enumerate(names):
            target: dict[str, Any] = {"target_name": metric}
            if len(names) > 1:
                target["target"] = lambda trial, position=index: trial.values[position]
            yield (name if len(names) == 1 else f"{name}_{metric}"), function, target


def _pictures(study: optuna.Study, out: Path) -> Iterator[str]:
    import matplotlib as mpl

    with mpl.rc_context({"backend": "Agg"}):
        import matplotlib.pyplot as plt

        for name, function, arguments in _requested_plots(study):
            axes, problem = _try(name, getattr(optuna.visualization.matplotlib, function), study, arguments)
            if problem:
                yield problem
                continue
            figure = (axes.flat[0] if hasattr(axes, "flat") else axes).figure
            _spread(figure, name, study)
            with atomic(out / f"{name}.png") as temporary:
                figure.savefig(temporary, format="png", dpi=110, bbox_inches="tight")
            plt.close(figure)


def _spread(figure: Any, name: str, study: optuna.Study) -> None:
    """Make a figure of many axes wide enough for its labels, and shorten labels at the front, not at the end."""
    keys = sorted({key for trial in study.get_trials(deepcopy=False) for key in trial.params})
    kind = name.partition("_")[0]
    if kind == "parallel":
        figure.set_size_inches(max(10.0, 2.2 * len(keys)), 6.0)
        for axes in figure.axes:
            axes.grid(visible=False)
        first = figure.axes[0]
        shown = [label.get_text() for label in first.get_xticklabels()]
        if len(shown) == len(keys) + 1:
            first.set_xticks(first.get_xticks(), [shown[0], *(key.rpartition("schedule.")[2] for key in keys)])
    elif kind == "slice":
        figure.set_size_inches(max(8.0, 3.4 * len(keys)), 4.5)
        for axes in figure.axes:
            axes.tick_params(axis="x", labelrotation=40)


def _page(study: optuna.Study, path: Path) -> None:
    parts: list[str] = []
    for name, function, arguments in _requested_plots(study):
        figure, problem = _try(name, getattr(optuna.visualization, function), study, arguments)
        if not problem:  # the PNGs have reported it
            parts.append(figure.to_html(full_html=False, include_plotlyjs=not parts))
    title = html.escape(f"study {study.study_name}")
    with atomic(path) as temporary:
        temporary.write_text(
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
            f"<body><h1>{title}</h1>{''.join(parts)}</body></html>",
            encoding="utf-8",
        )


def _try(name: str, make: Callable[..., Any], study: optuna.Study, arguments: Mapping[str, Any]) -> tuple[Any, str]:
    """Return one plot and "", or None and why it cannot be drawn."""
    try:
        return make(study, **arguments), ""
    except (ValueError, RuntimeError) as error:
        return None, f"no {name} plot: {str(error).strip().splitlines()[0]}"
