"""Scoring many pictures at once: any number of inputs, a row for each, in bounded memory, whatever interrupts it."""
