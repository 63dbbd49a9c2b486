"""params.yaml as a typed, frozen and strict model. No other module reads that file.

params = load_params()
params.split.fractions.test
"""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from pipeline.core import yaml_document
from pipeline.core.errors import UserError
from pipeline.core.paths import PARAMS
from pipeline.params.audit import Audit
from pipeline.params.augment import Augment
from pipeline.params.backbone import UNFREEZE_ALIASES, UNFREEZE_POINTS, Backbone
from pipeline.params.catalog import Catalog
from pipeline.params.checkpoint import Checkpoint
from pipeline.params.compute import Compute
from pipeline.params.dedupe import Dedupe
from pipeline.params.embed import Embed
from pipeline.params.evaluate import Evaluate, Policy
from pipeline.params.export import Export
from pipeline.params.finetune import Finetune
from pipeline.params.ingest import Ingest
from pipeline.params.labels import Labels
from pipeline.params.messages import problems
from pipeline.params.monitor import Monitor
from pipeline.params.pack import Pack
from pipeline.params.register import Register
from pipeline.params.reports import Reports
from pipeline.params.review import Review
from pipeline.params.score import Score
from pipeline.params.section import Section
from pipeline.params.serve import Serve
from pipeline.params.split import Split
from pipeline.params.train import Train
from pipeline.params.tune import Tune
from pipeline.params.validate import Validate


class Params(Section):
    """Everything in params.yaml."""

    seed: Annotated[int, Field(ge=0, lt=2**31)]
    labels: Labels
    backbone: Backbone
    augment: Augment
    catalog: Catalog
    validate_: Validate = Field(alias="validate")
    dedupe: Dedupe
    split: Split
    pack: Pack
    embed: Embed
    train: Train
    finetune: Finetune
    checkpoint: Checkpoint
    evaluate: Evaluate
    audit: Audit
    register_: Register = Field(alias="register")
    review: Review
    tune: Tune
    score: Score
    export: Export
    serve: Serve
    reports: Reports
    monitor: Monitor
    ingest: Ingest
    compute: Compute

    @model_validator(mode="after")
    def _check(self) -> Self:
        points = UNFREEZE_POINTS[self.backbone.name]
        aliases = UNFREEZE_ALIASES.get(self.backbone.name, {})
        if self.finetune.unfreeze not in (*points, *aliases):
            raise ValueError(
                f"finetune.unfreeze is {self.finetune.unfreeze!r}; {self.backbone.name} has {', '.join(points)}"
            )
        if self.backbone.weights is None and self.finetune.unfreeze != "all":
            raise ValueError("backbone.weights is null, so nothing is learned yet: finetune.unfreeze must be all")
        _check_classes(self.evaluate, self.labels)
        return self


def _check_classes(evaluate: Evaluate, labels: Labels) -> None:
    policy, prevalence = evaluate.policy, evaluate.prevalence
    for action in Policy.model_fields if policy else ():
        strangers = sorted(set(getattr(policy, action)) - set(labels.names))
        if strangers:
            allowed = ", ".join(labels.names)
            raise ValueError(f"evaluate.policy.{action} names {', '.join(strangers)}; labels.names has {allowed}")
    if isinstance(prevalence, dict):
        if set(prevalence) != set(labels.names):
            raise ValueError(f"evaluate.prevalence must give a share for each of {', '.join(labels.names)}, no other")
        if abs(sum(prevalence.values()) - 1.0) > 1e-6:
            raise ValueError(f"evaluate.prevalence adds up to {sum(prevalence.values()):g}, not 1")


def load_params(path: Path = PARAMS) -> Params:
    """Read and check params.yaml.

    Raises:
        UserError: names every key that is unknown, missing or out of range, and what is allowed.

    """
    return parse_params(yaml_document.read(path, remedy="Run this in the project's root."), str(path))


def parse_params(document: Any, origin: str = "params.yaml") -> Params:
    """Check a params document that has been read already; `origin` is what messages call it.

    Raises:
        UserError: as `load_params`.

    """
    try:
        return Params.model_validate(document)
    except ValidationError as error:
        raise UserError(f"{origin} is wrong:\n" + "\n".join(f"  {line}" for line in problems(Params, error))) from None
