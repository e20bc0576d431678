"""The comparison: network variants trained alike, measured and flown."""
