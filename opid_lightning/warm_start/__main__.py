"""python -m opid_lightning.warm_start --out FOLDER: remakes the policy that ships for ALFWorld."""

from jsonargparse import auto_cli

from opid_lightning.warm_start.training import WarmStart

if __name__ == "__main__":
    auto_cli(WarmStart, as_positional=False)()
