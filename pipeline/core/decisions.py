"""What a decision may be, other than a label: the values of `new_label` in data/decisions.csv that are no class."""

DROP = "drop"  # the picture belongs to no class: nothing is learned from it, and nothing measured
KEEP = "keep"  # the label that it has is right
UNSURE = "unsure"  # nobody can tell: not learned from, and measured only under the labels as scraped
ESCALATE = "escalate"  # out of everything, for someone else to handle
ACTS = (DROP, KEEP, UNSURE, ESCALATE)
