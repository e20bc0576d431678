"""The world (sector, dynamics, conflicts, teachers, environments) and the collector."""
