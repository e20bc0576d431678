"""Units of the field in SI; they are used at the edges only, everything inside is SI."""

NAUTICAL_MILE_M = 1852.0
FOOT_M = 0.3048
KNOT_MPS = NAUTICAL_MILE_M / 3600.0
GRAVITY_MPS2 = 9.80665
