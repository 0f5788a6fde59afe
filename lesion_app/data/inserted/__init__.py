"""Made-up lesions in real CTs, in DeepLesion's own layout, labels missing as in DeepLesion, truth known."""

from lesion_app.data.inserted.write import InsertedSummary, write_inserted

__all__ = ["InsertedSummary", "write_inserted"]
