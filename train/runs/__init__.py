"""What the runs of all stages share: their folder, configuration, log, intervals, gate and processes."""
