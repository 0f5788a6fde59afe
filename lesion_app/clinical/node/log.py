"""Log lines that hold no patient data."""

from __future__ import annotations

import hashlib
import logging
import sys
import traceback
import warnings

LOG = logging.getLogger("lesion_app.clinical.node")
# They quote what they could not parse: names and dates of the data set.
_TALKATIVE = ("pynetdicom", "pydicom", "dicomweb_client", "urllib3")


def series_hash(series_uid: str) -> str:
    """The name of a series in logs and on the status page: 12 hexadecimal digits of SHA-256 of its UID."""
    return hashlib.sha256(series_uid.encode()).hexdigest()[:12]


def place_of(error: BaseException) -> str:
    """What went wrong and where, without the message, which could quote a data set: ``KeyError at worker.py:41``."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"


def log_to_stderr() -> None:
    """Send the node's lines to stderr and silence the libraries' own; for a process that is nothing but a node."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    LOG.handlers[:] = [handler]
    LOG.setLevel(logging.INFO)
    LOG.propagate = False
    for name in _TALKATIVE:
        logger = logging.getLogger(name)
        logger.handlers[:] = [logging.NullHandler()]
        logger.propagate = False
    warnings.simplefilter("ignore")
