"""How often a training is saved."""

from pipeline.params.section import Positive, Section


class Checkpoint(Section):
    """How often a running training is saved, beside every epoch's end."""

    every_minutes: Positive
