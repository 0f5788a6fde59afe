"""``python -m lesion_app.clinical``: the MONAI Deploy application. Also the ``__main__.py`` of its package."""

import sys

from lesion_app.clinical.application_command import main

if __name__ == "__main__":
    sys.exit(main())
