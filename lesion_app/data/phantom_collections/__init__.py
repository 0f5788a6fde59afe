"""Phantom CTs in the published layouts of LUNA16, LiTS, NIH lymph nodes and DeepLesion, each with its own labels."""

from lesion_app.data.phantom_collections.write import COLLECTIONS, CollectionSummary, write_collection

__all__ = ["COLLECTIONS", "CollectionSummary", "write_collection"]
