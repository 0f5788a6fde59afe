"""Phantom CT: synthetic bodies with lesions in DeepLesion's own layout, half of the labels missing, truth known."""

from lesion_app.data.phantom.write import PhantomSummary, write_phantom

__all__ = ["PhantomSummary", "write_phantom"]
