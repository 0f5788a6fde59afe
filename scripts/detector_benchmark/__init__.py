"""Parts of ``scripts/benchmark_detectors.py``."""
