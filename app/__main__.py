"""``python -m app`` is the command ``kerf``."""

from app.cli import main

main()
