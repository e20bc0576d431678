"""Paired evaluation with intervals, attention, plots and the report."""
