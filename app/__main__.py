"""``python -m app`` is the command ``kerf``."""

from app.cli import main

main(prog_name="kerf")
