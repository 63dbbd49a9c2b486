"""How often a training is saved."""

from pipeline.params.section import Positive, Section


class Checkpoint(Section):
    """How often a running training is saved, in addition to the end of every epoch."""

    every_minutes: Positive
