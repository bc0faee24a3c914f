"""`python -m opid_lightning VERB conf=NAME`."""

import os
import sys

# OpenMP threads that spin while they wait starve every other process of the machine, among them
# the environments'; the setting is read once, when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from opid_lightning.cli.interruption import INTERRUPTION
from opid_lightning.cli.verbs.table import main

if __name__ == "__main__":
    INTERRUPTION.leave(main(sys.argv[1:]))
