"""The report: one HTML page with tables, plots and a replay."""
