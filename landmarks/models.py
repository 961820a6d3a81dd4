"""Names of the landmark models; imports nothing, so that the command line can list them at once."""

from __future__ import annotations

from typing import Final

LANDMARK_MODELS: Final = ("godp", "rdssd", "dssd")
"""Names that `facerec.landmarks.landmarker.Landmarker.load` takes; the first is the default."""
