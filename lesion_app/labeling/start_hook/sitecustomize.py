"""Python runs this at the start of every process of the label server, its trainings included (it is on PYTHONPATH)."""

from lesion_app.labeling.upstream_imports import allow_upstream_imports

allow_upstream_imports()
