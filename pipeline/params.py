"""params.yaml, typed, frozen and strict. Nothing else reads that file.

params = load_params()
params.split.fractions.test
"""

import os
import re
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, field_validator, model_validator

from pipeline import yaml_document
from pipeline.errors import UserError
from pipeline.paths import PARAMS

_MOST_MB = 2**20  # a terabyte: what a limit of memory may be

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Dropout = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0, le=1e9)]
Rate = Annotated[float, Field(gt=0.0, le=1e38)]  # what float32 holds: one that is too high is told of by the loss
Count = Annotated[int, Field(ge=1, lt=2**31)]
Smoothing = Annotated[float, Field(ge=0.0, le=0.5)]
PictureFormat = Literal["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "HEIF", "TIFF"]  # images.limits.FORMATS
ClassWeights = Literal["balanced", "effective"] | None

# Block boundaries have stable names; `conv2d_56` (the article's) is generated, and shifts from build to build.
UNFREEZE_POINTS: dict[str, tuple[str, ...]] = {
    "inception_v3": ("all", "none", *(f"mixed{n}" for n in range(11))),
    "mobilenet_v2": ("all", "none", *(f"block_{n}" for n in range(1, 17))),
}
UNFREEZE_ALIASES = {"inception_v3": {"conv2d_56": "mixed5"}}
MOBILENET_ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Labels(_Section):
    """The classes, in the order of the model's outputs, and which of them are unsafe."""

    names: tuple[str, ...] = Field(min_length=2)
    unsafe: tuple[str, ...] = Field(min_length=1)

    @field_validator("names", "unsafe", mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in self.names:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
                raise ValueError(f"label {name!r} may hold letters, digits, _ and - only")
        if len(set(self.names)) < len(self.names):
            raise ValueError("names holds a label twice")
        strangers = sorted(set(self.unsafe) - set(self.names))
        if strangers:
            raise ValueError(f"unsafe names {', '.join(strangers)}; allowed: {', '.join(self.names)}")
        if set(self.unsafe) == set(self.names):
            raise ValueError("unsafe holds every label; at least one must be safe")
        return self


class Backbone(_Section):
    """The network whose features are transferred.

    `weights`: "imagenet", a path, or None (from scratch); a file with another digest than `weights_sha256` is refused.
    """

    name: Literal["inception_v3", "mobilenet_v2"]
    alpha: float
    weights: str | None
    weights_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None
    size: Annotated[int, Field(ge=32, le=1024)]
    rescaling: Literal["symmetric", "unit"] | None
    batchnorm_momentum: Annotated[float, Field(gt=0.0, lt=1.0)] | None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.name == "mobilenet_v2" and self.alpha not in MOBILENET_ALPHAS:
            raise ValueError(f"alpha is {self.alpha}; mobilenet_v2 comes in {', '.join(map(str, MOBILENET_ALPHAS))}")
        if self.name == "inception_v3" and self.alpha != 1.0:
            raise ValueError(f"alpha is {self.alpha}; inception_v3 has one width, 1.0")
        if self.name == "inception_v3" and self.size < 75:
            raise ValueError(f"size is {self.size}; inception_v3 needs at least 75")
        if self.weights is None and self.weights_sha256 is not None:
            raise ValueError("weights_sha256 is given, but weights is null: set it to null too")
        return self

    @property
    def input_range(self) -> Literal["symmetric", "unit"]:
        """What the weights were trained on: as said, or as both backbones' ImageNet weights were, [-1, 1]."""
        return self.rescaling or "symmetric"


class Augment(_Section):
    """Ranges of the article's random transforms, as Keras' ImageDataGenerator takes them, and of its crop."""

    rotation: Annotated[float, Field(ge=0.0, le=180.0)]
    shift: Annotated[float, Field(ge=0.0, lt=1.0)]
    shear: Annotated[float, Field(ge=0.0, lt=90.0)]
    zoom: Annotated[float, Field(ge=0.0, lt=1.0)]
    flip: bool
    channel_shift: Annotated[float, Field(ge=0.0, le=255.0)]
    crop: Annotated[float, Field(ge=0.0, le=0.9)]


class Catalog(_Section):
    """What counts as a usable picture, and what a worker may spend on one.

    `formats`: what is opened at all. A JPEG may hold several pictures, a PNG may be animated.
    """

    max_megapixels: Positive
    min_side: Count
    max_aspect: Annotated[float, Field(ge=1.0)]
    max_frames: Count
    formats: tuple[PictureFormat, ...] = Field(min_length=1)
    seconds: Positive
    memory_mb: Annotated[int, Field(ge=256, le=_MOST_MB)]

    @field_validator("formats", mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.formats)) < len(self.formats):
            raise ValueError("formats names a format twice")
        return self

    @property
    def limits(self) -> dict[str, Any]:
        """The fields of `images.limits.Limits`, by name."""
        return {
            "max_pixels": int(self.max_megapixels * 1e6),
            "min_side": self.min_side,
            "max_aspect": self.max_aspect,
            "max_frames": self.max_frames,
            "formats": self.formats,
        }


class Rule(_Section):
    """A data-quality threshold. Severity `error` stops the run, `warn` does not."""

    limit: Annotated[float, Field(ge=0.0)]
    severity: Literal["error", "warn"]


class Validate(_Section):
    """Thresholds of the Great Expectations suites."""

    smallest_class: Rule
    class_ratio: Rule
    broken_share_label: Rule
    broken_share_source: Rule
    unreadable_share: Rule


class Placeholder(_Section):
    """One picture in very many files: `files` of them if it is plain (entropy below `entropy` bits), else `any_files`.

    Files whose hashes differ by `distance` bits at most count as one picture here.
    """

    files: Annotated[int, Field(ge=2)]
    entropy: Annotated[float, Field(ge=0.0, le=8.0)]
    any_files: Annotated[int, Field(ge=2)]
    distance: Annotated[int, Field(ge=0, le=32)]


KeepBy = Literal["largest", "quality", "first_seen"]


class Dedupe(_Section):
    """What counts as one picture, and which of its copies is kept.

    `distance`: bits of 256 within which two pictures are looked at. `sure_*`: one picture without another question.
    `same`, `unlike`: correlation of aligned thumbnails from which on, or below which, all is said of a candidate;
    within `likely_distance`, `likely` is enough; within `likely_far` too, if they correlate as they stand by
    `likely_correlation`. Two pictures, whatever else: a share `block` of places around which a block differs; from
    `large_block` on they are not looked at in full. Looked at too: what lies within `inner_distance` bits by way of a
    photograph that a screen shows. In full: `pieces` that correlate (`pieces_in_place` is enough if
    thumbnails correlate by `reframed` as they stand; if not, and both have `detail` px, their `edges` must too), or
    `keypoints` that agree.
    `hot`: views that share a band's key; of more only the first are compared.
    """

    near: bool
    blank: Annotated[float, Field(ge=0.0, le=128.0)]
    placeholder: Placeholder
    distance: Annotated[int, Field(ge=0, le=128)]
    sure_distance: Annotated[int, Field(ge=0, le=128)]
    sure_correlation: Share
    same: Share
    likely_distance: Annotated[int, Field(ge=0, le=128)]
    likely: Share
    likely_far: Annotated[int, Field(ge=0, le=128)]
    likely_correlation: Share
    unlike: Share
    inner_distance: Annotated[int, Field(ge=0, le=128)]
    block: Share
    large_block: Share
    reframed: Share
    pieces: Share
    pieces_in_place: Share
    detail: Annotated[int, Field(ge=64)]
    edges: Share
    keypoints: Annotated[int, Field(ge=8)]
    hot: Annotated[int, Field(ge=10)]
    keep: tuple[KeepBy, ...]

    @field_validator("keep", mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.unlike > self.same:
            raise ValueError(f"unlike is {self.unlike:g}, above same, {self.same:g}")
        if self.sure_distance > self.distance:
            raise ValueError(f"sure_distance is {self.sure_distance}, above distance, {self.distance}")
        if len(set(self.keep)) < len(self.keep):
            raise ValueError("keep names a rule twice")
        return self


class Fractions(_Section):
    """Shares of the clusters; they add up to 1."""

    train: Share
    val: Share
    test: Share

    @model_validator(mode="after")
    def _check(self) -> Self:
        if abs(self.train + self.val + self.test - 1.0) > 1e-9:
            raise ValueError(f"train + val + test is {self.train + self.val + self.test:g}, not 1")
        if self.train == 0.0 or self.val == 0.0:
            raise ValueError("train and val must be above 0 (test may be 0 where test_sources names a batch)")
        return self


class Split(_Section):
    """How clusters fall into train, validation and test."""

    fractions: Fractions
    salt: Annotated[str, Field(min_length=1)]
    test_sources: tuple[str, ...]
    min_per_split: Count

    @field_validator("test_sources", mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class Pack(_Section):
    """How training pixels are stored."""

    encoding: Literal["png", "jpeg"]
    jpeg_quality: Annotated[int, Field(ge=50, le=100)]
    pictures_per_file: Count


class Embed(_Section):
    """How many augmented views of a train picture are embedded, and how many pictures at a time."""

    views: Annotated[int, Field(ge=0)]
    batch_size: Count


class Train(_Section):
    """The head on the frozen backbone."""

    epochs: Count
    batch_size: Count
    optimizer: Literal["sgd", "adam"]
    learning_rate: Rate
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)]
    dropout: tuple[Dropout, Dropout]
    l2: Annotated[float, Field(ge=0.0)]
    label_smoothing: Smoothing
    class_weights: ClassWeights
    patience: Count | None

    @field_validator("dropout", mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class Exponential(_Section):
    """initial * rate ** (epoch / every_epochs), after a linear warm-up."""

    kind: Literal["exponential"]
    initial: Rate
    rate: Annotated[float, Field(gt=0.0, le=1.0)]
    every_epochs: Positive
    warmup_epochs: Annotated[float, Field(ge=0.0)]


class Cosine(_Section):
    """From initial down to final along half a cosine, after a linear warm-up."""

    kind: Literal["cosine"]
    initial: Rate
    final: Annotated[float, Field(ge=0.0)]
    warmup_epochs: Annotated[float, Field(ge=0.0)]


class Piecewise(_Section):
    """values[i] until epoch boundaries[i]; the last value holds on. A linear warm-up comes first."""

    kind: Literal["piecewise"]
    boundaries: tuple[Positive, ...] = Field(min_length=1)
    values: tuple[Rate, ...]
    warmup_epochs: Annotated[float, Field(ge=0.0)]

    @field_validator("boundaries", "values", mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.values) != len(self.boundaries) + 1:
            raise ValueError(
                f"{len(self.boundaries)} boundaries need {len(self.boundaries) + 1} values, not {len(self.values)}"
            )
        if any(later <= earlier for earlier, later in zip(self.boundaries, self.boundaries[1:], strict=False)):
            raise ValueError("boundaries must ascend")
        return self


Schedule = Annotated[Exponential | Cosine | Piecewise, Field(discriminator="kind")]


class Finetune(_Section):
    """The backbone, unfrozen from a point on, at a decaying rate."""

    epochs: Count
    batch_size: Count
    optimizer: Literal["sgd", "adam"]
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)]
    unfreeze: str
    schedule: Schedule
    clip_norm: Positive | None
    label_smoothing: Smoothing
    class_weights: ClassWeights
    patience: Count | None
    keep_start: bool
    precision: Literal["auto", "float32", "float16", "bfloat16"]
    jit_compile: bool | Literal["auto"]
    augment_on: Literal["cpu", "accelerator"]
    memory_mb: Annotated[int, Field(ge=0, le=_MOST_MB)]


class Checkpoint(_Section):
    """How often a running training is saved, beside every epoch's end."""

    every_minutes: Positive


class Policy(_Section):
    """What moderation does with a class: withhold it, blur it, or queue it for a person."""

    block: tuple[str, ...] = ()
    blur: tuple[str, ...] = ()
    queue: tuple[str, ...] = ()

    @field_validator("block", "blur", "queue", mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _check(self) -> Self:
        named = [*self.block, *self.blur, *self.queue]
        twice = sorted({name for name in named if named.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} stands under two actions; a class has one")
        return self


class Evaluate(_Section):
    """The evidence on a model: intervals, operating points, robustness, slices.

    `prevalence`: the share of unsafe pictures in real traffic, or every class's share; None: not known.
    `policy`: None queues every unsafe class.
    """

    confidence: Annotated[float, Field(gt=0.5, lt=1.0)]
    resamples: Annotated[int, Field(ge=100, le=100_000)]
    target_recall: Annotated[float, Field(gt=0.0, le=1.0)]
    prevalence: Annotated[float, Field(gt=0.0, lt=1.0)] | dict[str, Share] | None
    policy: Policy | None
    robustness_pictures: Count
    min_slice: Count


class Audit(_Section):
    """The search for wrong labels."""

    folds: Annotated[int, Field(ge=2, le=20)]
    views: Annotated[int, Field(ge=0)]
    max_rows: Count


class Drop(_Section):
    """How much worse than production a challenger may be on the same test pictures, in shares (0.01 is a point).

    `risk`: the tolerated probability, by paired bootstrap, that the true drop is larger; 0.5 judges by the drop seen.
    """

    unsafe_recall: Share
    macro_recall: Share
    class_recall: Share
    risk: Annotated[float, Field(gt=0.0, lt=1.0)]


class Gates(_Section):
    """What a version must satisfy before it may be production; None, or false, switches a gate off."""

    class_recall: Share | None
    unsafe_recall: Share | None
    drop: Drop | None
    slice_gap: Share | None
    calibration: Share | None
    robustness: Share | None
    reports: bool
    latency_ms: Positive | None
    size_mb: Positive | None
    test_set: bool
    leaks: Share | None
    clean: bool
    finished: bool


class Register(_Section):
    """Where the model goes in MLflow's registry, and what it must satisfy to become production."""

    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    alias: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]
    production: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]
    gates: Gates

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.alias == self.production:
            raise ValueError(
                f"alias and production are both {self.alias}; a new version would be in production at once"
            )
        return self


class Interval(_Section):
    """Numbers from low to high: whole ones where both are; evenly by logarithm, or in steps, where said."""

    low: int | float
    high: int | float
    log: bool = False
    step: Positive | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low is {self.low:g}, which is not below high, {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low is {self.low:g}; with log: true it must be above 0")
        if self.log and self.step is not None:
            raise ValueError("log: true and step exclude each other")
        return self


class Choices(_Section):
    """One of these."""

    choices: tuple[str | int | float | bool | None, ...] = Field(min_length=1)

    @field_validator("choices", mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(map(repr, self.choices))) < len(self.choices):
            raise ValueError("choices holds a value twice")
        return self


def _form(entry: Any) -> str:
    return "choices" if isinstance(entry, Choices) or (isinstance(entry, dict) and "choices" in entry) else "interval"


Entry = Annotated[Annotated[Interval, Tag("interval")] | Annotated[Choices, Tag("choices")], Discriminator(_form)]


class Tune(_Section):
    """The search by `nsfw tune`: what it may change (`space`, by dotted key), what it wants, what a trial may cost."""

    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    storage: Annotated[str, Field(min_length=1)]
    trials: Count
    objective: Literal["macro_recall", "unsafe_recall", "log_loss"]
    min_precision: Annotated[float, Field(gt=0.0, lt=1.0)]
    second: Literal["latency_ms", "size_mb"] | None
    sampler: Literal["tpe", "random"]
    pruner: Literal["median", "hyperband"] | None
    startup_trials: Count
    subset: Annotated[float, Field(gt=0.0, le=1.0)]
    head_epochs: Count
    epochs: Count
    min_steps: Count
    confirm_seeds: Annotated[int, Field(ge=2)]
    space: dict[str, Entry]


class Score(_Section):
    """What `nsfw score` may spend on a picture, and how large a file may be (1 MB is 2^20 bytes)."""

    seconds: Positive
    memory_mb: Annotated[int, Field(ge=64, le=_MOST_MB)]
    max_mb: Annotated[int, Field(ge=1, le=1024)]


class Export(_Section):
    """What an export may cost on the test pictures, in shares (0.01 is a point), before it is refused.

    `max_difference` (of a probability) holds without quantization; `flips` (pictures whose most probable class, or
    whose side of the threshold, changes) and the drops in recall with it.
    """

    pictures: Count
    max_difference: Positive
    flips: Share
    unsafe_recall: Share
    class_recall: Share


class Serve(_Section):
    """The HTTP service: what a picture, a request and all of them together may cost; 1 MB is 2^20 bytes.

    `queue` bounds the pictures in hand (being decoded, waiting, in the network): past it a request gets a 429.
    """

    batch: Annotated[int, Field(ge=1, le=256)]
    linger_ms: Annotated[float, Field(ge=0.0, le=1000.0)]
    queue: Count | None
    workers: Annotated[int, Field(ge=1, le=256)]
    quick_seconds: Positive
    seconds: Positive
    memory_mb: Annotated[int, Field(ge=64, le=_MOST_MB)]
    pictures: Annotated[int, Field(ge=1, le=1000)]
    picture_mb: Positive
    request_mb: Positive
    bodies_mb: Positive
    header_seconds: Positive
    body_seconds: Positive
    answer_seconds: Positive
    connections: Count
    poll_seconds: Positive
    grace_seconds: Annotated[float, Field(ge=0.0)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.picture_mb <= self.request_mb <= self.bodies_mb:
            raise ValueError("picture_mb, request_mb and bodies_mb must not descend: a picture fits a request")
        return self

    @property
    def room(self) -> int:
        """How many pictures may be in hand: as said, or as many as this process may use cores."""
        return self.queue or max(2, len(os.sched_getaffinity(0)))


class Params(_Section):
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
    tune: Tune
    score: Score
    export: Export
    serve: Serve

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
        UserError: naming every key that is unknown, missing or impossible, and what is allowed.

    """
    return parse_params(yaml_document.read(path, way_out="Run this in the project's root."), str(path))


def parse_params(document: Any, origin: str = "params.yaml") -> Params:
    """Check a params document that has been read already."""
    try:
        return Params.model_validate(document)
    except ValidationError as error:
        lines = [_line(item["loc"], item["msg"], item.get("input"), item["type"]) for item in error.errors()]
        raise UserError(f"{origin} is wrong:\n" + "\n".join(f"  {line}" for line in lines)) from None


_SCHEDULES = {"exponential", "cosine", "piecewise"}
_FORMS = {"interval", "choices"}


def _line(location: tuple[int | str, ...], message: str, value: Any, kind: str) -> str:
    # A discriminated union puts its tag into the location: finetune.schedule.cosine.final, tune.space.KEY.interval.low.
    parts = [
        str(part)
        for place, part in enumerate(location)
        if not (part in _SCHEDULES and location[place - 1] == "schedule")
        and not (part in _FORMS and location[place - 2 : place - 1] == ("space",))
    ]
    key = ".".join(parts)
    if kind == "extra_forbidden":
        return f"{key}: unknown key; {_siblings(parts)}"
    if kind == "missing":
        return f"{key}: missing"
    text = message.removeprefix("Value error, ")
    if kind == "value_error":
        return f"{key}: {text}" if key else text
    if not key:
        return f"it must hold the sections {', '.join(_fields(Params))}, but is {_shown(value)}"
    return f"{key}: {text[0].lower()}{text[1:]}, but is {_shown(value)}"


def _shown(value: Any) -> str:
    if isinstance(value, date):
        return f"a date, {value}: put it in quotes"
    if value is None:
        return "null"
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    """Return a section's fields by their names in params.yaml."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _siblings(parts: list[str]) -> str:
    model: Any = Params
    for part in parts[:-1]:
        fields = _fields(model)
        model = fields[part].annotation if part in fields else None
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return "remove it"
    return f"known here: {', '.join(_fields(model))}"
