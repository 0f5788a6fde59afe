"""Parts of ``scripts/study_missing_labels.py``."""
