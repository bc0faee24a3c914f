"""Whether a model on the Hugging Face hub can be had, asked once and within seconds.

transformers asks again and again, for a minute, before it says so.
"""

from __future__ import annotations

import functools
import threading

TIMEOUT_S = 6.0  # also of looking up the host's name, which no client limits
ADVICE = "give a folder in Hugging Face format instead of a name"


@functools.cache
def only_cached(name: str) -> bool:
    """Whether the hub cannot be reached, but has been before: its cache holds the model.

    Raises ValueError where the model cannot be had at all.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    problem = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else problem_of(name)
    if not problem:
        return False
    if isinstance(try_to_load_from_cache(name, "config.json"), str):
        return True
    raise ValueError(
        f"{name!r} is not in the cache of the Hugging Face hub ({constants.HF_HUB_CACHE}), and "
        f"{constants.ENDPOINT} cannot be reached ({problem}): connect this machine, set "
        f"HF_ENDPOINT to a mirror, or {ADVICE}."
    )


def problem_of(name: str) -> str:
    """Why the hub cannot be reached; empty where it can."""
    answers: list[str | ValueError] = []
    asking = threading.Thread(target=lambda: answers.append(answer_about(name)), daemon=True)
    asking.start()
    asking.join(TIMEOUT_S)
    answer = answers[0] if answers else f"no answer within {TIMEOUT_S:.0f} s"
    if isinstance(answer, ValueError):
        raise ValueError(str(answer))
    return answer


def answer_about(name: str) -> str | ValueError:
    """Why the hub cannot be reached, or an error for what it says; empty where it has the model."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        HfApi().model_info(name, timeout=TIMEOUT_S)
    except HfHubHTTPError as error:
        return refusal(name, error.response.status_code) or ""
    except HFValidationError as error:
        return ValueError(f"{name!r} is no name on the Hugging Face hub: {error}")
    except Exception as error:  # of whichever HTTP client the hub's package uses
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return ""


def refusal(name: str, status: int) -> ValueError | None:
    """None where transformers may have more luck, as with a server error or an odd mirror."""
    if status in (401, 404):
        return ValueError(
            f"the Hugging Face hub has no model {name!r}, or it is private: check the name, or "
            f"export HF_TOKEN=... of an account that may read it; or {ADVICE}."
        )
    if status == 403:
        return ValueError(
            f"the Hugging Face hub refuses {name!r}: accept its licence at "
            f"https://huggingface.co/{name}, and export HF_TOKEN=... of that account."
        )
    return None
