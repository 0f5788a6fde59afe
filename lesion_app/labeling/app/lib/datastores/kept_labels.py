"""A local store that never loses a label: what is replaced or removed is kept, and JSON labels are found again."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from filelock import FileLock
from monailabel.datastore.local import LocalDatastore

from lesion_app.errors import InputError
from lesion_app.labeling.roi_markups import read_markups

logger = logging.getLogger("lesion_app.labeling")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_HISTORY = "label_history"
_IMAGES = (".nii.gz", ".nii", ".nrrd")
_LABELS = (".json", *_IMAGES)


class KeptLabels(LocalDatastore):
    """Upstream's local store with what it lacks.

    * A label that is replaced or removed goes to ``label_history/<tag>/<image>/`` first.
    * JSON labels that lie in ``labels/<tag>/`` are found when the store is read; upstream knows them by its index
      alone, and loses them with it.
    * Server, scoring and training are processes that write one index. Each change is made to what stands in it now,
      under a lock, so that no process writes back what it read minutes ago.
    * Ids and tags are plain names; a markups label must be one.
    """

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any], label_id: str = ""
    ) -> str:
        """Store a label; the one it replaces is kept. InputError when it is not what its suffix says."""
        label_tag = str(getattr(label_tag, "value", label_tag))  # upstream's enumeration of tags
        _check_names(image_id, label_tag)
        _check_type(label_filename, _LABELS)
        if label_filename.endswith(".json") and label_tag in ("final", "original"):
            read_markups(Path(label_filename))
        with self._changing():
            self._keep(image_id, label_tag)
            return str(LocalDatastore.save_label(self, image_id, label_filename, label_tag, label_info))

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Take a label out of the store; it is kept in the history."""
        _check_names(label_id, label_tag)
        with self._changing():
            self._keep(label_id, label_tag)
            super().remove_label(label_id, label_tag)
            self.refresh()

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Add an image; InputError when its id is taken, or is no plain name."""
        name = image_id or self._to_id(os.path.basename(image_filename))[0]
        _check_names(name)
        _check_type(image_filename, _IMAGES)
        with self._changing():
            known = self._datastore.objects.get(name)
            if known is not None and os.path.isfile(LocalDatastore.get_image_uri(self, name)):
                raise InputError(f"the store has an image {name}; send the new one under another id")
            LocalDatastore.add_image(self, name, image_filename, image_info)
            if known is not None:  # its file was gone, its labels are not
                self._datastore.objects[name].labels.update(known.labels)
                self._update_datastore_file()
        return name

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Add to what is known of an image."""
        with self._changing():
            super().update_image_info(image_id, info)

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Add to what is known of a label."""
        with self._changing():
            super().update_label_info(label_id, label_tag, info)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """The index as it stands on disk now, ours alone until the block ends; the same thread may enter twice."""
        lock = self.__dict__.setdefault("_change_lock", FileLock(os.path.join(self._datastore_path, ".change.lock")))
        with lock:
            if lock.lock_counter == 1:
                self._init_from_datastore_file()
            yield

    def _keep(self, image_id: str, tag: str) -> None:
        uri = LocalDatastore.get_label_uri(self, image_id, tag)
        if not uri or not os.path.isfile(uri):
            return
        folder = Path(self._datastore_path) / _HISTORY / tag / image_id
        folder.mkdir(parents=True, exist_ok=True)
        stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S%fZ")
        shutil.copy2(uri, folder / (stamp + Path(uri).name.removeprefix(image_id)))

    def _to_id(self, file: str) -> tuple[str, str]:
        if file.endswith(".json"):
            return file[: -len(".json")], ".json"
        name, extension = super()._to_id(file)
        return str(name), str(extension)

    def _list_files(self, path: str, patterns: Sequence[str]) -> dict[str, str]:
        labels = os.path.realpath(self._datastore.label_path(None))
        below = os.path.realpath(path).startswith(labels + os.sep)
        found: dict[str, str] = super()._list_files(path, [*patterns, "*.json"] if below else patterns)
        return found


def _check_names(*names: str) -> None:
    for name in names:
        if not _NAME.fullmatch(name) or ".." in name:
            raise InputError("ids and tags are plain names: letters, digits, dot, hyphen and underscore are allowed")


def _check_type(file: str, allowed: Sequence[str]) -> None:
    if not file.endswith(tuple(allowed)):
        raise InputError(f"the store takes files of the types {', '.join(allowed)}; convert yours to one of them")
