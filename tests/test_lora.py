"""Whole runs that train an adapter."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from benchmarks.kill_comparison import differences
from opid_lightning.cli.verbs.table import main
from opid_lightning.lm.lora import LoRA, is_of_adapter
from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.method.loss import Loss
from opid_lightning.method.scoring import logprobs_of
from opid_lightning.sampling.weights import manifest_of, weights_of
from opid_lightning.training.checkpoints.adapter_checkpoint import KEY, check_same
from opid_lightning.training.checkpoints.files import load_plain, plain_values
from tests.keydoor_run import KeepExperience, analysing, fit

SOURCE = PolicySource("keydoor", lora=LoRA(rank=4))
PULLED_BACK = Loss(kl_weight=0.1)
SETTINGS = (
    "conf=keydoor",
    "policy.lora.rank=4",
    "loss.kl_weight=0.01",
    "trainer.accelerator=cpu",
    "trainer.check_val_every_n_epoch=2",
    "data.tasks_per_iteration=3",
    "rollout.group_size=2",
    "batching.mini_batch_rows=16",
    "evaluation.num_tasks=4",
    "~callbacks.progress_bar",
    "trainer.enable_progress_bar=false",
)


def run(verb: str, folder: Path, *more: str) -> Path:
    assert main([verb, *SETTINGS, f"trainer.default_root_dir={folder}", *more]) == 0
    return folder


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run("fit", tmp_path_factory.mktemp("straight"), "trainer.max_epochs=3")


def test_the_adapter_alone_is_trained_and_copied_and_its_absence_is_the_reference(
    tmp_path: Path,
) -> None:
    kept = KeepExperience()
    found = fit(tmp_path, [*analysing(), kept], loss=PULLED_BACK, policy=SOURCE, snapshot="copy")
    plain = load_policy(PolicySource("keydoor"))
    for name, weight in plain.model.state_dict().items():
        parent, _, last = name.rpartition(".")
        at = name if name in found.weights else f"{parent}.base_layer.{last}"
        assert torch.equal(found.weights[at], weight), f"{name} was trained"
    assert any(weight.any() for name, weight in found.weights.items() if "lora_B" in name)
    (group,) = found.trainer.optimizers[0].param_groups
    assert len(group["params"]) == sum(map(is_of_adapter, found.weights))

    assert found.module.snapshot is not None
    own = dict(found.module.policy.model.named_parameters())
    for name, weight in found.module.snapshot.named_parameters():
        assert (weight is own[name]) is not is_of_adapter(name)
    assert found.metrics["policy/first_ratio_error"] == 0  # of the second iteration

    assert found.module.reference is None
    assert found.module.reference_policy is not None
    contexts = [
        (row.scored.routed.prompt_ids, row.scored.routed.response_ids)
        for row in kept.experience.samples[:8]
    ]
    scored = [
        logprobs_of(policy, contexts, 1.0) for policy in (found.module.reference_policy, plain)
    ]
    assert all(torch.equal(one, other) for one, other in zip(*scored, strict=True))
    assert found.metrics["loss/kl"] > 0  # of the second iteration


def test_a_checkpoint_holds_the_adapter_and_what_it_stands_beside(straight: Path) -> None:
    values = plain_values(straight / "checkpoints" / "last.ckpt")
    assert all(map(is_of_adapter, values["state_dict"]))
    assert values["adapter"].keys() == {"rank", "alpha", "target_modules", "base"}
    states = values["optimizer_states"][0]["state"]
    assert len(states) == len(values["state_dict"])


def test_a_run_that_goes_on_equals_the_uninterrupted_one(straight: Path, tmp_path: Path) -> None:
    run("fit", tmp_path, "trainer.max_epochs=2")
    run("fit", tmp_path, "trainer.max_epochs=3", "ckpt_path=last")
    assert differences(straight, tmp_path) == []


def test_the_export_of_a_checkpoint_is_that_of_the_run(straight: Path, tmp_path: Path) -> None:
    last = straight / "checkpoints" / "last.ckpt"
    assert main(["export", f"ckpt_path={last}", f"out={tmp_path / 'out'}"]) == 0
    folders = straight / "policy", tmp_path / "out"
    one, other = (manifest_of(weights_of(load_policy(PolicySource(str(f))))) for f in folders)
    assert one == other
    assert {file.name for file in (straight / "adapter").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    for file in (straight / "adapter").iterdir():
        assert file.read_bytes() == (tmp_path / "out" / "adapter" / file.name).read_bytes()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("policy.lora=null", r"policy\.lora=null leaves no place for policy\.lora\.rank=4"),
        ("policy.lora.rank=8", r"policy\.lora\.rank is 8, but 4 in the checkpoint"),
        ("policy.lora.target_modules=[q_proj]", r"target_modules is \['q_proj'\], but \[\]"),
        ("policy.init_seed=5", r"beside other weights than those of policy\.path=keydoor"),
    ],
)
def test_an_adapter_is_not_laid_over_another_policy(
    straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: str, message: str
) -> None:
    last = f"ckpt_path={straight / 'checkpoints' / 'last.ckpt'}"
    typed = ["validate", *SETTINGS, f"trainer.default_root_dir={tmp_path}", last, more]
    assert main(typed) == 2
    assert re.search(message, capsys.readouterr().err)


def test_all_weights_are_not_laid_under_an_adapter() -> None:
    with pytest.raises(ValueError, match=r"holds all weights, but policy\.lora asks"):
        check_same(None, {"rank": 4}, "small")


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("policy.lora.rnk=4", "There is no setting 'policy.lora.rnk'. Did you mean 'policy.lora.r"),
        ("policy.lora.rank=x", "policy.lora.rank is 'x'. Expected int."),
        ("policy.lora.rank=0", "policy.lora.rank is 0; expected at least 1\n  Set on the command"),
        (
            "policy.lora=16",
            "is 16. Expected its settings one by one, as policy.lora.NAME=VALUE, or",
        ),
    ],
)
def test_settings_that_cannot_be_are_named(
    capsys: pytest.CaptureFixture[str], typed: str, message: str
) -> None:
    assert main(["fit", "conf=keydoor", typed]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (("out={here}/new",), "export needs ckpt_path=PATH."),
        (("ckpt_path={last}",), "export needs out=PATH."),
        (("ckpt_path={here}/none.ckpt", "out={here}/new"), "There is no checkpoint ckpt_path="),
        (("ckpt_path={last}", "out={here}"), "is there already: name a new folder"),
        (("ckpt_path={here}/alone.ckpt", "out={here}/new"), "add --config FILE, or conf=NAME"),
        (("ckpt_path={last}", "out={here}/new", "env.max_steps=3"), "export does not use env."),
        (("ckpt_path={last}", "out={here}/new", "policy.lora=null"), "holds an adapter, but this"),
        (("ckpt_path={here}/large.ckpt", "out={here}/new", "conf=keydoor"), "1 tensors differ"),
    ],
)
def test_an_export_that_cannot_be_is_refused(
    straight: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    typed: tuple[str, ...],
    message: str,
) -> None:
    last = straight / "checkpoints" / "last.ckpt"
    (tmp_path / "alone.ckpt").write_bytes(last.read_bytes())
    weights = load_policy(PolicySource("keydoor")).model.state_dict()
    larger = {
        f"model.{n}": torch.zeros(2) if n == "lm_head.weight" else w for n, w in weights.items()
    }
    rest = {name: part for name, part in load_plain(last).items() if name != KEY}
    torch.save({**rest, "state_dict": larger}, tmp_path / "large.ckpt")
    assert main(["export", *(word.format(here=tmp_path, last=last) for word in typed)]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
