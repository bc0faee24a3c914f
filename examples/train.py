"""Trains from Python: a policy of random weights learns to take a key and open a door.

    cd examples
    python train.py                                  # 20 iterations, a minute or two on a CPU
    python -m opid_lightning fit conf=keydoor        # the same stages from the command line

docs/python.md lists what can be imported; conf/keydoor.yaml has the settings of the command.
"""

from functools import partial

import lightning
from torch.optim import AdamW

import opid_lightning as opid
from opid_lightning.callbacks import RolloutProgressBar, SkillExtraction
from opid_lightning.envs.keydoor import Keydoor
from opid_lightning.hindsight.analysts.rules import Rules
from opid_lightning.training.loggers import MetricsFile


def train(
    env: opid.Environment = Keydoor(),
    rule: opid.Rule = opid.Additive(),
    analyst: opid.Analyst = Rules(),
    iterations: int = 20,
) -> lightning.Trainer:
    """Trains, prints a line per iteration, and leaves metrics.csv and checkpoints in `runs`."""
    policy, adam = opid.PolicySource("keydoor"), partial(AdamW, lr=3e-3)
    module = opid.OPIDModule(policy, opid.Loss(kl_weight=0.0), adam)
    rollout = opid.Rollout(max_prompt_tokens=512, max_response_tokens=2)
    stages = opid.Routing(), opid.Batching(), opid.Advantage(), opid.Method(rule), opid.Evaluation()
    data = opid.RolloutDataModule(env, opid.HuggingFace(), rollout, *stages)
    trainer = lightning.Trainer(
        max_epochs=iterations,
        reload_dataloaders_every_n_epochs=1,  # each epoch plays with the newest weights
        use_distributed_sampler=False,  # the data module shares tasks out among processes
        limit_val_batches=0,
        logger=MetricsFile("runs"),
        log_every_n_steps=1,
        callbacks=[SkillExtraction(analyst), RolloutProgressBar()],
        default_root_dir="runs",
    )
    trainer.fit(module, data)
    return trainer


if __name__ == "__main__":
    train()
