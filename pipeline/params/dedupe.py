"""When two pictures are copies of one."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline.params.section import Section, Share


class Placeholder(Section):
    """One picture in very many files: `files` of them if it is plain (entropy below `entropy` bits), else `any_files`.

    Files whose hashes differ by `distance` bits at most count as one picture here.
    """

    files: Annotated[int, Field(ge=2)]
    entropy: Annotated[float, Field(ge=0.0, le=8.0)]
    any_files: Annotated[int, Field(ge=2)]
    distance: Annotated[int, Field(ge=0, le=32)]


KeepBy = Literal["largest", "quality", "first_seen"]


class Dedupe(Section):
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
