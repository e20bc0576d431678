"""The metrics: their formulas, and how their values are written."""
