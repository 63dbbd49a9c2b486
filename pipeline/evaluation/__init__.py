"""Measuring a model: recall with intervals, calibration, operating points, slices, leaks, label issues, plots."""
