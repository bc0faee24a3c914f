"""What runs take where CUDA is there; each case says what its machine has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from opid_lightning.cli.config.arguments import parse
from opid_lightning.cli.config.configuration import Configuration, configure
from opid_lightning.cli.config.gpu_defaults import Machine
from opid_lightning.cli.verbs.training import OPIDCLI

GPU = Machine(cuda=True, vllm=True, is_launched=False)
NO_GPU = Machine(cuda=False, vllm=True, is_launched=False)
QWEN = ("conf=alfworld", "model=Qwen/Qwen3-1.7B")


def configured(*typed: str, machine: Machine = GPU, verb: str = "fit") -> Configuration:
    return configure(parse(verb, typed), machine)


def chosen(*typed: str, machine: Machine = GPU) -> dict[str, Any]:
    tree = configured(*typed, machine=machine).tree
    trainer = tree["trainer"]
    return {
        "devices": trainer.get("devices"),
        "precision": trainer.get("precision"),
        "sampler": tree["sampler"]["class_path"].rpartition(".")[2],
    }


@pytest.mark.parametrize("verb", ["fit", "validate", "test", "predict"])
def test_a_pretrained_policy_has_one_gpu_bfloat16_and_vllm(verb: str) -> None:
    tree = configured(*QWEN, verb=verb).tree
    assert chosen(*QWEN) == {"devices": 1, "precision": "bf16-mixed", "sampler": "VLLM"}
    assert tree["trainer"]["precision"] == "bf16-mixed"


def test_a_pretrained_policy_is_one_however_it_is_named() -> None:
    assert chosen("conf=alfworld", "policy.path=Qwen/Qwen3-1.7B")["sampler"] == "VLLM"
    assert chosen("conf=keydoor", "model=smollm2")["sampler"] == "VLLM"
    typed = ("conf=keydoor", "model=pretrained", "policy={path: some/where}")
    assert chosen(*typed)["precision"] == "bf16-mixed"


@pytest.mark.parametrize("conf", ["alfworld", "keydoor", "search", "webshop"])
def test_a_policy_that_ships_has_one_gpu_and_its_own_sampler(conf: str) -> None:
    expected = {"devices": 1, "precision": None, "sampler": "HuggingFace"}
    assert chosen(f"conf={conf}") == expected


@pytest.mark.parametrize("typed", [QWEN, ("conf=keydoor",)])
def test_without_cuda_nothing_changes(typed: tuple[str, ...]) -> None:
    found = configured(*typed, machine=NO_GPU)
    assert found.note == ""
    assert "precision" not in found.tree["trainer"]
    assert chosen(*typed, machine=NO_GPU)["devices"] is None
    assert chosen(*typed, machine=NO_GPU)["sampler"] == "HuggingFace"
    on_cpu = configured(*typed, "trainer.accelerator=cpu")
    assert on_cpu.note == ""
    assert on_cpu.tree == configured(*typed, "trainer.accelerator=cpu", machine=NO_GPU).tree


@pytest.mark.parametrize(
    ("typed", "setting", "value"),
    [
        ("trainer.devices=8", "devices", 8),
        ("trainer={devices: 8}", "devices", 8),
        ("trainer.precision=32-true", "precision", "32-true"),
        ("sampler=hf", "sampler", "HuggingFace"),
        ("sampler=scripted", "sampler", "Scripted"),
        ("sampler.class_path=my.Own", "sampler", "Own"),
        ("sampler.cache_tokens=100", "sampler", "HuggingFace"),
    ],
)
def test_what_is_typed_wins(typed: str, setting: str, value: object) -> None:
    assert chosen(*QWEN, typed)[setting] == value
    name = setting if setting == "sampler" else f"trainer.{setting}"
    assert f"{name}=" not in configured(*QWEN, typed).note


def test_settings_that_vllm_has_leave_it_the_default() -> None:
    typed = (*QWEN, "sampler.memory_share=0.2", "sampler.engine.max_num_batched_tokens=4096")
    assert chosen(*typed)["sampler"] == "VLLM"


def test_a_recipe_wins() -> None:
    recipe = ("conf=alfworld", "recipe=alfworld_qwen3_1.7b")
    found = configured(*recipe)
    assert found.note == ""
    assert found.tree == configured(*recipe, machine=NO_GPU).tree
    tiny = (*recipe, "preset=tiny")
    assert configured(*tiny).tree == configured(*tiny, machine=NO_GPU).tree


def test_a_file_of_ones_own_wins(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    defaults = ["shared/run", "_self_", {"override /env": "alfworld"}, {"override /sampler": "hf"}]
    own = {"defaults": defaults, "trainer": {"precision": "16-mixed"}, "policy": {"path": "a/b"}}
    file.write_text(yaml.safe_dump(own))
    expected = {"devices": 1, "precision": "16-mixed", "sampler": "HuggingFace"}
    assert chosen(f"conf={file}") == expected
    file.write_text(yaml.safe_dump({**own, "defaults": defaults[:-1]}))
    assert chosen(f"conf={file}") == {**expected, "sampler": "VLLM"}


def test_without_vllm_the_sampler_stays_and_the_line_says_why() -> None:
    machine = Machine(cuda=True, vllm=False, is_launched=False)
    assert chosen(*QWEN, machine=machine)["sampler"] == "HuggingFace"
    note = configured(*QWEN, machine=machine).note
    assert note.endswith("vLLM is not installed (pip install 'opid_lightning[vllm]').")


def test_a_launcher_decides_how_many_devices_there_are() -> None:
    machine = Machine(cuda=True, vllm=True, is_launched=True)
    assert chosen(*QWEN, machine=machine)["devices"] is None


def test_torchrun_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Machine().launches()
    for name in ("RANK", "GROUP_RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "0")
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "8")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "run")
    assert Machine().launches()


def test_a_line_says_what_was_taken_and_where_it_is_set() -> None:
    found = configured(*QWEN)
    assert found.note == (
        "CUDA is there, and nothing else is set: sampler=vllm, trainer.devices=1, "
        "trainer.precision=bf16-mixed."
    )
    assert found.where("trainer.precision") == "Set in conf/shared/gpu.yaml"


def test_the_printed_configuration_shows_what_was_taken(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = parse("fit", [*QWEN, "--print_config"])
    with pytest.raises(SystemExit):
        OPIDCLI(arguments, configure(arguments, GPU))
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["trainer"]["devices"] == 1
    assert printed["trainer"]["precision"] == "bf16-mixed"
    assert printed["data"]["sampler"]["class_path"].endswith(".VLLM")
