"""When two pictures count as copies of each other."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.params.section import FromList, Section, Share

Bits = Annotated[int, Field(ge=0, le=128)]  # of 256: a Hamming distance between two hashes
KeepBy = Literal["largest", "quality", "first_seen"]


class DedupeAdvanced(Section):
    """Thresholds that were measured together (docs/dedupe.md).

    Distances are bits of 256 between hashes. Correlations are those of grey thumbnails of 64 px, aligned by an affine
    map unless the text says unaligned. Pairs beyond `candidate_distance` are never compared.

    - One picture at once: within `identical_distance`, unaligned thumbnails correlate by `identical_correlation`.
    - One picture: aligned thumbnails correlate by `dedupe.match_correlation`; within `similar_distance` by
      `similar_correlation`; within `extended_distance` too, if unaligned ones correlate by `extended_correlation`.
    - Two pictures: aligned thumbnails correlate below `reject_correlation`, or a share `local_difference` of positions
      has a block around it that differs; from `coarse_local_difference` on, full resolution is not looked at.
    - The rest is compared at full resolution, and so are pairs within `framed_distance` of a photograph that a
      screenshot shows. One picture: the median block correlates by `block_correlation`, or by
      `unmoved_block_correlation` if unaligned thumbnails correlate by `reframed_correlation`; if they do not, and both
      have `edge_check_side` px, edges must correlate by `edge_correlation` too. Or `min_keypoints` keypoints agree.
    - Views that share a band's key: of more than `max_bucket` only the first are compared.
    - A placeholder is plain below `placeholder_entropy` bits; two within `placeholder_distance` are one.
    """

    placeholder_entropy: Annotated[float, Field(ge=0.0, le=8.0)]
    placeholder_distance: Annotated[int, Field(ge=0, le=32)]
    candidate_distance: Bits
    identical_distance: Bits
    identical_correlation: Share
    similar_distance: Bits
    similar_correlation: Share
    extended_distance: Bits
    extended_correlation: Share
    reject_correlation: Share
    framed_distance: Bits
    local_difference: Share
    coarse_local_difference: Share
    reframed_correlation: Share
    block_correlation: Share
    unmoved_block_correlation: Share
    edge_check_side: Annotated[int, Field(ge=64)]
    edge_correlation: Share
    min_keypoints: Annotated[int, Field(ge=8)]
    max_bucket: Annotated[int, Field(ge=10)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.identical_distance > self.candidate_distance:
            raise ValueError(
                f"identical_distance is {self.identical_distance}, above candidate_distance, {self.candidate_distance}"
            )
        return self


class Dedupe(Section):
    """What counts as one picture, and which of its copies is learned from.

    `match_correlation`: of two aligned thumbnails, from which on they show one picture. `blank_contrast`: grey levels
    below which a picture is set aside. `placeholder_files`: of one plain picture, that make it a placeholder;
    `placeholder_any_files`: of any picture. `keep`: rules that choose a cluster's canonical picture, in order.
    """

    near: bool
    match_correlation: Share
    blank_contrast: Annotated[float, Field(ge=0.0, le=128.0)]
    placeholder_files: Annotated[int, Field(ge=2)]
    placeholder_any_files: Annotated[int, Field(ge=2)]
    keep: Annotated[tuple[KeepBy, ...], FromList]
    advanced: DedupeAdvanced

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.advanced.reject_correlation > self.match_correlation:
            raise ValueError(
                f"advanced.reject_correlation is {self.advanced.reject_correlation:g}, "
                f"above match_correlation, {self.match_correlation:g}"
            )
        if len(set(self.keep)) < len(self.keep):
            raise ValueError("keep names a rule twice")
        return self
