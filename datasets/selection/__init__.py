"""Parts of datasets as new datasets: chosen by number or by condition, and merged."""
