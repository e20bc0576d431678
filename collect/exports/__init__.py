"""Flights and datasets in the formats of other programs."""
