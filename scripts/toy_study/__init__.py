"""Parts of ``scripts/study_toy.py``."""
