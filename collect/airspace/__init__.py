"""The airspace: units, the world's numbers, sector, dynamics, conflicts and rewards."""
