"""Two ranks that share out the policy train, resume, evaluate and export as one rank does."""

import csv
import re
import subprocess
import sys

import pytest
import torch
from lightning.pytorch.strategies import FSDPStrategy, SingleDeviceStrategy

from opid_lightning.cli.verbs.table import main
from opid_lightning.lm.forward.layouts import pad_sequences
from opid_lightning.lm.forward.logprobs import response_logprobs
from opid_lightning.lm.lora import is_of_adapter
from opid_lightning.lm.policy import PolicySource, load_policy
from opid_lightning.lm.sharding import is_sharded
from opid_lightning.sampling.weights import manifest_of, weights_of
from opid_lightning.training.checkpoints.files import SHARDS_METADATA
from opid_lightning.training.checkpoints.shard_folders import (
    SHARDS_OF,
    check_reads,
    replace_folder,
    writer_of,
)
from opid_lightning.training.strategies import FSDP2, check_kept
from tests.test_checkpoints import Malicious

SETTINGS = (
    "trainer.accelerator=cpu",
    "trainer.max_epochs=3",
    "trainer.num_sanity_val_steps=0",
    "trainer.check_val_every_n_epoch=2",
    "data.tasks_per_iteration=3",
    "rollout.group_size=4",
    "batching.mini_batch_rows=64",
    "loss.kl_weight=0.01",  # so that there is a reference
    "callbacks.checkpoint.save_top_k=-1",
)
ADAPTER = ("policy.lora.rank=4", "trainer.devices=1")
TWO_RANKS = ("trainer.devices=2", "strategy=fsdp2")
BOUND = 2e-6  # of weights after three iterations at a learning rate of 3e-3


def finished(verb, folder, *overrides):
    command = [sys.executable, "-m", "opid_lightning", verb, "conf=keydoor", *SETTINGS]
    command.append(f"trainer.default_root_dir={folder}")
    done = subprocess.run([*command, *overrides], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:3000] + " [...] " + done.stderr[-3000:]
    return folder


def after(folder, iterations):
    (path,) = (folder / "checkpoints").glob(f"epoch={iterations - 1}-*.ckpt")
    return path


def weights_in(file):
    return torch.load(file, weights_only=True)["state_dict"]


def assert_same_weights(found, expected):
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=BOUND)


def rows_of(folder):
    (file,) = folder.rglob("metrics.csv")
    with file.open() as opened:
        return list(csv.DictReader(opened))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return finished("fit", tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    more = ("model.snapshot=copy", "model.activation_checkpointing=true")
    return finished("fit", tmp_path_factory.mktemp("pair"), *TWO_RANKS, *more)


@pytest.fixture(scope="module")
def in_shards(alone, tmp_path_factory):
    """Two ranks resume from one rank's file, and write shards."""
    return finished(
        "fit",
        tmp_path_factory.mktemp("in_shards"),
        *TWO_RANKS,
        "trainer.strategy.save_distributed_checkpoint=true",
        "trainer.max_epochs=2",
        f"ckpt_path={after(alone, 1)}",
    )


def test_two_ranks_train_as_one_does(alone, pair):
    assert_same_weights(weights_in(after(pair, 3)), weights_in(after(alone, 3)))
    for one, two in zip(rows_of(alone), rows_of(pair), strict=True):
        for name in ("policy/grad_norm", "policy/first_ratio_error", "loss/kl", "loss/total"):
            if one.get(name):
                assert float(two[name]) == pytest.approx(float(one[name]), rel=1e-4, abs=1e-6)


def test_shards_are_gone_on_from_by_one_rank(alone, in_shards, tmp_path):
    assert after(in_shards, 2).is_dir()
    assert writer_of(after(in_shards, 2)) == "fsdp2"
    shards = f"ckpt_path={after(in_shards, 2)}"
    last = finished("fit", tmp_path, "trainer.devices=1", "strategy=fsdp2", shards)
    assert_same_weights(weights_in(after(last, 3)), weights_in(after(alone, 3)))


def test_shards_are_evaluated_as_they_were_in_training(alone, in_shards, tmp_path):
    shards = f"ckpt_path={after(in_shards, 2)}"
    rows = rows_of(finished("validate", tmp_path, *TWO_RANKS, shards))
    meanwhile = [row for row in rows_of(alone) if row.get("validation/success_micro")]
    names = [name for name in rows[0] if name.startswith("validation/")]
    assert names
    for name in names:
        assert float(rows[0][name]) == pytest.approx(float(meanwhile[0][name])), name


def save_values(folder, **values):
    """Shards that hold no weights: only what a checkpoint says beside them."""
    progress = {"epoch_progress": {"current": {"processed": 0}}}
    torch.save({"loops": {"fit_loop": progress}, **values}, folder / SHARDS_METADATA)


def test_shards_are_refused_by_a_strategy_that_writes_none(tmp_path):
    save_values(tmp_path, **{SHARDS_OF: FSDP2.shards_of})
    with pytest.raises(ValueError, match=r"folder of shards.*SingleDevice.*add strategy=fsdp2,"):
        check_reads(SingleDeviceStrategy("cpu"), str(tmp_path))
    check_reads(FSDP2(), str(tmp_path))


def test_shards_of_another_kind_are_refused(tmp_path):
    save_values(tmp_path, **{SHARDS_OF: "another"})
    with pytest.raises(ValueError, match=r"strategy=another's shards, which strategy=fsdp2 cannot"):
        check_reads(FSDP2(), str(tmp_path))


@pytest.mark.parametrize("strategy", [FSDP2(), SingleDeviceStrategy("cpu")])
def test_shards_of_the_former_fsdp_say_how_to_make_one_file_of_them(tmp_path, strategy):
    save_values(tmp_path, **{SHARDS_OF: "fsdp"})
    with pytest.raises(ValueError, match=r"only the version that wrote it.*state_dict_type=full"):
        check_reads(strategy, str(tmp_path))


def test_shards_that_do_not_say_whose_they_are_are_refused(tmp_path):
    save_values(tmp_path)
    with pytest.raises(ValueError, match=r"does not say which strategy"):
        check_reads(FSDP2(), str(tmp_path))


def test_an_adapter_is_trained_by_one_rank_by_two_and_again_by_one(tmp_path):
    """By file to the two, who write shards; the weights beside it are as they were."""
    alone, quiet = tmp_path / "alone", ("~callbacks.progress_bar", "strategy=auto")
    typed = (*SETTINGS, *ADAPTER, *quiet, f"trainer.default_root_dir={alone}")
    assert main(["fit", "conf=keydoor", *typed]) == 0
    first = f"ckpt_path={after(alone, 1)}"
    distributed = "trainer.strategy.save_distributed_checkpoint=true"
    more = (distributed, "trainer.max_epochs=2", "model.activation_checkpointing=true", first)
    pair = finished("fit", tmp_path / "pair", *ADAPTER, *TWO_RANKS, *more)
    shards = f"ckpt_path={after(pair, 2)}"
    last = finished("fit", tmp_path / "last", *ADAPTER, "strategy=fsdp2", shards)

    expected = weights_in(after(alone, 3))
    assert all(map(is_of_adapter, expected))
    assert_same_weights(weights_in(after(last, 3)), expected)
    assert main(["export", shards, f"out={tmp_path / 'out'}"]) == 0
    folders = tmp_path / "out", pair / "policy"
    one, other = (manifest_of(weights_of(load_policy(PolicySource(str(f))))) for f in folders)
    assert one == other
    for folder in (tmp_path / "out" / "adapter", pair / "adapter"):
        assert (folder / "adapter_model.safetensors").is_file()


def test_what_is_exported_answers_as_the_checkpoint(pair):
    exported = load_policy(PolicySource(str(pair / "policy")))
    trained = load_policy(PolicySource("keydoor"))
    weights = weights_in(after(pair, 3)).items()
    trained.model.load_state_dict({name.removeprefix("model."): w for name, w in weights})
    assert not is_sharded(exported.model)
    message = [{"role": "user", "content": "the key is here"}]
    prompts = [
        tuple(policy.tokenizer.apply_chat_template(message, return_dict=False))
        for policy in (exported, trained)
    ]
    assert prompts[0] == prompts[1]
    inputs = pad_sequences(prompts[:1], [(5, 6, 7)], pad_id=0)
    answers = [response_logprobs(policy.model, inputs, 1.0)[0] for policy in (exported, trained)]
    assert torch.equal(*answers)


@pytest.mark.parametrize("name", ["strategy", "trainer.strategy"])
def test_the_former_fsdp_is_refused_by_name(capsys, name):
    assert main(["fit", "conf=keydoor", f"{name}=fsdp"]) == 2
    assert re.search(r"[Tt]ake strategy=fsdp2, which shards the same", capsys.readouterr().err)


def test_lightnings_own_fsdp_is_refused():
    with pytest.raises(ValueError, match=r"bfloat16: take strategy=fsdp2"):
        check_kept(FSDPStrategy())
    check_kept(FSDP2())


@pytest.mark.filterwarnings("ignore:.*holds no checksums")
def test_a_malicious_checkpoint_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    file, shards, witness = (tmp_path / name for name in ("a.ckpt", "b.ckpt", "witness"))
    shards.mkdir()
    for path in (file, shards / SHARDS_METADATA):
        torch.save({"state_dict": {}, "extra": Malicious(witness)}, path)
    for path in (file, shards):
        with pytest.raises(ValueError, match=r"holds more than weights and plain values"):
            FSDP2().load_checkpoint(path, weights_only=False)
    assert not witness.exists()


@pytest.mark.parametrize("was", ["folder", "file", "nothing"])
def test_a_finished_folder_takes_the_place_of_what_was_there(tmp_path, was):
    path, draft = tmp_path / "last.ckpt", tmp_path / "draft"
    if was == "folder":
        path.mkdir()
        (path / "old").touch()
    elif was == "file":
        path.touch()
    draft.mkdir()
    (draft / "new").touch()
    replace_folder(path, draft)
    assert [file.name for file in path.iterdir()] == ["new"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]
