"""What `cross_validation.py` measures: workloads, the loops beside ours, and their figures."""
