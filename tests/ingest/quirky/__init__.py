"""What the quirky exports cost and where they are best cut, counted by hand.

Every number is written as it is counted: from the sizes of the architecture (see the scripts that
made the files) and the conventions that ``app.ingest.op_costs`` states.
"""

from tests.ingest.quirky.berts import BERTS
from tests.ingest.quirky.control_flow import CONTROL_FLOW
from tests.ingest.quirky.decoders import DECODERS
from tests.ingest.quirky.figures import Figures
from tests.ingest.quirky.functions import FUNCTIONS
from tests.ingest.quirky.lenets import LENETS
from tests.ingest.quirky.sklearn import SKLEARN
from tests.ingest.quirky.tensorflow import TENSORFLOW

FIGURES = {**LENETS, **BERTS, **DECODERS, **FUNCTIONS, **CONTROL_FLOW, **TENSORFLOW, **SKLEARN}

__all__ = ["FIGURES", "Figures"]
