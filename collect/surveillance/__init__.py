"""Surveillance: what an aircraft knows of itself and of the others, see `docs/surveillance.md`."""
