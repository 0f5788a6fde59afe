"""Parts of ``scripts/study_lens.py``."""
