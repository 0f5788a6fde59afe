"""The MONAI Label app: ``main.py`` is what the server loads, ``lib`` its parts. Nothing else imports this folder."""
