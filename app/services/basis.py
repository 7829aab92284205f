"""On which figures a scenario is priced: those of the model, or others in their place."""

from dataclasses import dataclass
from typing import Any

from app.core.scenario import Scenario
from app.core.smashed import SmashedDtype
from app.services.prepared import PreparedModel


@dataclass(frozen=True, slots=True)
class Basis:
    """What a request names beside its scenario.

    ``device_profile``, ``server_profile``: ids of measured machines; None where the scenario has
    the speed. ``smashed_dtype``: what smashed data are cast to.
    """

    device_profile: str | None = None
    server_profile: str | None = None
    smashed_dtype: SmashedDtype | None = None

    @property
    def has_profile(self) -> bool:
        """Whether a profile is named, which only the service has."""
        return self.device_profile is not None or self.server_profile is not None


@dataclass(frozen=True, slots=True, eq=False)
class Posed:
    """A scenario and the model, both with the figures that it is to be priced on.

    ``profiles``: what is told of the profiles that were named, as JSON; None where none was.
    """

    model: PreparedModel
    scenario: Scenario
    profiles: dict[str, Any] | None = None
