"""What the user said: cluster, model and workload as frozen records in SI units."""
