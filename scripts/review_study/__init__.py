"""Parts of ``scripts/study_review.py``."""
