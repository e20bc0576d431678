"""Clone a rule-based conflict-resolution teacher into a safe, fast neural policy.

Four floors, imports running one way: `datasets <- collect <- train <- evaluate <- cli`.
"""

__version__ = "0.1.0"
