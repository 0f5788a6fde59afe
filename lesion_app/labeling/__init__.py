"""Readers' answers to what the model suspects: review queue, decisions, MONAI Label app."""
