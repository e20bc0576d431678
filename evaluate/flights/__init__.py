"""Flights for other programs."""
