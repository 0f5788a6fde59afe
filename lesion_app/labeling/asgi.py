"""What uvicorn runs: MONAI Label's server behind our checks, set up by environment variables (`label_command`)."""

from __future__ import annotations

import json
import os
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse
from monailabel.app import app as upstream
from monailabel.interfaces.exception import ImageNotFoundException, LabelNotFoundException

from lesion_app.errors import InputError
from lesion_app.labeling.request_guard import AsgiApp, RequestGuard


def _told(status: int) -> Any:
    async def tell(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": str(getattr(error, "msg", error))}, status_code=status)

    return tell


def _unreadable(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": "a parameter of the request is not valid JSON"}, status_code=400)


upstream.add_exception_handler(InputError, _told(400))
upstream.add_exception_handler(ImageNotFoundException, _told(404))
upstream.add_exception_handler(LabelNotFoundException, _told(404))
upstream.add_exception_handler(json.JSONDecodeError, _unreadable)

app: AsgiApp = RequestGuard(upstream, **json.loads(os.environ["LESION_APP_LABEL_GUARD"]))
