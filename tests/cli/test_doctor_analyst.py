"""What an analyst on a vLLM server lacks."""

from __future__ import annotations

import pytest

from opid_lightning.cli.doctor.analyst import check_analyst
from opid_lightning.cli.doctor.findings import State
from opid_lightning.cli.doctor.parts import Parts
from tests.cli.test_doctor import endpoint


@pytest.mark.parametrize(
    ("model", "state", "said"),
    [("small", State.OK, "starts a vLLM server of small"), ("gone", State.MISSING, "no model dir")],
)
def test_an_analyst_with_a_server_of_its_own_needs_vllm_and_a_model(
    model: str, state: State, said: str
) -> None:
    path = "opid_lightning.hindsight.analysts.vllm_server.VLLMServer"
    analyst = {"class_path": path, "init_args": {"model": model}}
    parts = Parts({"analyst": analyst, "callbacks": {"skill_extraction": {}}})
    (finding,) = check_analyst(parts)
    assert finding.state is state and said in finding.found
    assert parts.runs_vllm


def test_an_analyst_on_a_server_that_runs_elsewhere_needs_no_vllm() -> None:
    path = "opid_lightning.hindsight.analysts.vllm_server.VLLMServer"
    with endpoint(200, "large") as url:
        settings = {"model": "small", "base_url": url}
        analyst = {"class_path": path, "init_args": settings}
        parts = Parts({"analyst": analyst, "callbacks": {"skill_extraction": {}}})
        (finding,) = check_analyst(parts)
    assert "does not serve small; it has large" in finding.found
    assert not parts.runs_vllm
