"""Whether the analyst can be asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from opid_lightning.cli.doctor.findings import Finding, State
from opid_lightning.cli.doctor.parts import Parts

if TYPE_CHECKING:
    from opid_lightning.hindsight.analysts.openai import OpenAI
    from opid_lightning.hindsight.analysts.vllm_server import VLLMServer

TIMEOUT_S = 5.0
MAX_LISTED = 5


def check_analyst(parts: Parts) -> Iterator[Finding]:
    """Builds the analyst and asks its endpoint for its models, where that is safe to ask."""
    from opid_lightning.hindsight.analysts.openai import OpenAI
    from opid_lightning.hindsight.analysts.vllm_server import VLLMServer

    name = parts.class_path("analyst").split(".")[-1]
    try:
        analyst = parts.build("analyst")
    except ValueError as error:  # Its message says which setting or variable is missing.
        fix = f"export {variable_of(parts)}=..." if name == "OpenAI" else ""
        yield Finding("analyst", State.MISSING, str(error), fix)
        return
    url = getattr(analyst, "base_url", None)
    if url is not None and not parts.trust.covers_url(url):
        found = f"not asked: {url} stands in a file, and would be sent the analyst's key"
        fix = f"repeat it with analyst.base_url={url}, or with --trust"
        yield Finding("analyst", State.OPTIONAL, found, fix)
    elif isinstance(analyst, VLLMServer):
        yield from check_endpoint(analyst.openai) if analyst.base_url else check_model(analyst)
    elif isinstance(analyst, OpenAI):
        yield from check_endpoint(analyst)
    else:
        yield Finding("analyst", State.OK, f"{name} needs no server")


def check_model(analyst: VLLMServer) -> Iterator[Finding]:
    """Whether there is something for its own server to load."""
    from opid_lightning.lm.policy import locate

    try:
        locate(analyst.model)
    except ValueError as error:
        yield Finding("analyst", State.MISSING, str(error), "repeat it with analyst.model=FOLDER")
    else:
        yield Finding("analyst", State.OK, f"starts a vLLM server of {analyst.model}")


def variable_of(parts: Parts) -> str:
    """The environment variable that is to hold the analyst's key."""
    from opid_lightning.hindsight.analysts.openai import OpenAI

    arguments = (parts.tree or {})["analyst"].get("init_args") or {}
    return str(arguments.get("key_variable", OpenAI.key_variable))


def check_endpoint(analyst: OpenAI) -> Iterator[Finding]:
    """Asks it for its models, which costs nothing. No key, and no reply with one, is printed."""
    import openai

    from opid_lightning.hindsight.chat.endpoint_key import read_key

    place = analyst.endpoint.address.place
    secret = read_key(analyst.endpoint.address, analyst.key_variable)
    held = f"{analyst.key_variable} is {'set' if secret.key else 'not set'}"
    client = openai.OpenAI(
        api_key=secret.key or "none",
        base_url=place,
        timeout=TIMEOUT_S,
        max_retries=0,
    )
    try:
        served = [model.id for model in client.models.list().data or ()]
    except openai.APIStatusError as error:
        yield refusal(error.status_code, place, held, analyst)
    except openai.APIConnectionError as error:
        reason = secret.hide(str(error.__cause__ or error))
        found = f"{place} does not answer within {TIMEOUT_S:.0f} s: {reason}"
        fix = "start the server, or repeat it with analyst.base_url=URL  # of one that runs"
        yield Finding("analyst", State.BROKEN, found, fix)
    else:
        yield answer(served, place, held, analyst)


def refusal(status: int, place: str, held: str, analyst: OpenAI) -> Finding:
    """What an HTTP status other than success says about key and address."""
    if status in (401, 403):
        found = f"{place} refuses the key (status {status}; {held})"
        return Finding("analyst", State.BROKEN, found, f"export {analyst.key_variable}=...")
    if status == 404:  # Gateways that only pass completions on have no list of models.
        return Finding("analyst", State.OK, f"{place} answers, but lists no models; {held}")
    found = f"{place} answers with status {status}"
    return Finding("analyst", State.BROKEN, found, f"curl {place}/models  # until it has recovered")


def answer(served: list[str], place: str, held: str, analyst: OpenAI) -> Finding:
    """Whether the endpoint serves the analyst's model, with the models that it does serve."""
    if not served or analyst.model in served:
        return Finding("analyst", State.OK, f"{place} answers, for {analyst.model}; {held}")
    more = ", ..." if len(served) > MAX_LISTED else ""
    listed = ", ".join(served[:MAX_LISTED]) + more
    found = f"{place} answers, but does not serve {analyst.model}; it has {listed}"
    return Finding("analyst", State.BROKEN, found, f"repeat it with analyst.model={served[0]}")
