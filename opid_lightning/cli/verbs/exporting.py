"""`export`: the policy of a checkpoint as a folder in Hugging Face format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from opid_lightning.cli.config.arguments import Arguments
from opid_lightning.cli.config.configuration import configure
from opid_lightning.cli.errors import UsageError
from opid_lightning.cli.verbs.playing import built
from opid_lightning.lm.loading.export import export_adapter, export_policy
from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.training.checkpoints.adapter_checkpoint import load_into

USAGE = """\
usage: python -m opid_lightning export ckpt_path=RUN/checkpoints/FILE.ckpt out=FOLDER

  ckpt_path   a checkpoint: a file, or a folder of shards
  out         a new folder; an adapter is merged, and also written to its subfolder `adapter`
  --config    the run's config.yaml; else it is looked for above the checkpoint
"""


def run(arguments: Arguments) -> None:
    """Writes the folder and prints its path. Raises UsageError where it exists already."""
    if arguments.wants_help:
        print(USAGE)
        return
    checkpoint, out = (Path(asked(arguments, name)).expanduser() for name in ("ckpt_path", "out"))
    if not checkpoint.exists():
        raise UsageError(f"There is no checkpoint ckpt_path={checkpoint}.")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"out={out} is there already: name a new folder, or remove it.")
    source = source_of(arguments, checkpoint)
    policy = load_policy(source)
    load_into(policy, source, checkpoint)
    export_policy(policy, out)
    export_adapter(policy, source.path, out / "adapter")
    print(f"The policy of {checkpoint} is in {out}: policy.path={out} loads it.")


def asked(arguments: Arguments, name: str) -> str:
    """An input that `export` cannot do without; raises UsageError where it is missing."""
    found = arguments.input(name)
    if found is None:
        raise UsageError(f"export needs {name}=PATH.\n{USAGE}")
    return found


def source_of(arguments: Arguments, checkpoint: Path) -> PolicySource:
    """The policy that the run was started with."""
    for setting in arguments.settings:
        if setting.key.split(".")[0] not in ("policy", "model"):
            raise UsageError(f"export does not use {setting.typed}. It reads the policy alone.")
    if arguments.config is None and arguments.conf is None:
        above = [folder / "config.yaml" for folder in checkpoint.absolute().parents[:2]]
        found = [file for file in above if file.is_file()]
        if not found:
            raise UsageError(
                f"There is no config.yaml of a run above {checkpoint}, which says what policy it "
                "is of: add --config FILE, or conf=NAME policy.path=PATH."
            )
        arguments = replace(arguments, config=str(found[0]))
    source: PolicySource = built(configure(arguments), ("policy",))["policy"]
    return source
