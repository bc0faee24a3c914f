"""ALFWorld as it is taught: by an expert that searches."""

from opid_lightning.warm_start.alfworld.demonstration_source import (
    ALFWorldDemonstrations as ALFWorldDemonstrations,
)
