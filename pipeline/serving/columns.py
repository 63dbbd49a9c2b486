"""The columns of the table that a registered model answers with. This file is carried with every version."""

FRAMES = ("frames", "frames_scored", "deciding_frame")
OUTPUTS = ("unsafe", "threshold", "decision", *FRAMES, "error")


def class_column(label: str) -> str:
    """Return the column of a class: its name, or p_<name> if that is one of OUTPUTS."""
    return f"p_{label}" if label in OUTPUTS else label
