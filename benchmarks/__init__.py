"""Speed, side by side in one run with what users would pick instead: `python -m benchmarks` (or `make bench`)."""
