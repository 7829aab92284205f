"""What Kerf does for its users, apart from how they ask for it."""

from app.services.container import Services

__all__ = ["Services"]
