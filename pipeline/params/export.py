"""`nsfw export`."""

from pipeline.params.section import Count, Positive, Section, Share


class Export(Section):
    """How much worse an export may be on the test pictures, in shares (0.01 is a percentage point).

    `max_difference` (of a probability) holds without quantization; `flips` (pictures whose most probable class, or
    whose side of the threshold, changes) and the drops in recall with it.
    """

    pictures: Count
    max_difference: Positive
    flips: Share
    unsafe_recall: Share
    class_recall: Share
