"""From a text to the terms that are counted: words in lower case, without stop words, stemmed.

Scripts that put no blanks between words are counted by pairs of characters, as Lucene's CJK
analyzer does:

    "iPhone の日本語"  ->  iphon の日 日本 本語
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from itertools import pairwise

from tantivy import Filter, TextAnalyzer, TextAnalyzerBuilder, Tokenizer

# Letters with their marks, and digits; an apostrophe or a full stop inside a word stays:
# women's, 1.5, u.s.a
WORD = r"[\p{L}\p{M}\p{N}_]+(?:['.][\p{L}\p{M}\p{N}_]+)*"
MAX_BYTES = 255  # longer words are left out, as in Lucene

# Lucene's for English.
_STOP_WORDS = (
    "a an and are as at be but by for if in into is it no not of on or such "
    "that the their then there these they this to was will with"
)
# Thai, Lao, Myanmar, Khmer; Hangul letters; kana; Han; Hangul syllables; Han of later planes.
_UNSPACED = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0eb9\u0ebb-\u0ecd\u0edc-\u0edf\u1000-\u103f\u1050-\u109f"
    "\u1780-\u17d3\u1100-\u11ff\u3130-\u318f\u3005-\u3007\u3041-\u3096\u3099\u309a\u309d-\u309f"
    "\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af"
    "\U00020000-\U000323af"
)
_RUN = re.compile(f"[{_UNSPACED}]+")
_OTHER_WIDTH = re.compile("[\uff01-\uffee]+")  # full-width Latin, half-width kana
_CLUSTER = re.compile(
    r".[\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ecd"
    r"\u102b-\u103e\u17b4-\u17d3\u3099\u309a]*"
)  # a character with its marks


def terms_of(text: str) -> list[str]:
    """The same for documents and queries."""
    return list(analyzer().analyze(spaced(text)))


def spaced(text: str) -> str:
    """With blanks between the pairs of characters of scripts that write none between words."""
    text = _OTHER_WIDTH.sub(lambda run: unicodedata.normalize("NFKC", run[0]), text)
    return _RUN.sub(lambda run: f" {' '.join(_pairs(run[0]))} ", text)


def _pairs(run: str) -> list[str]:
    characters = _CLUSTER.findall(run)
    if len(characters) == 1:
        return characters
    return [one + two for one, two in pairwise(characters)]


@cache
def analyzer() -> TextAnalyzer:
    """Of texts that are `spaced`."""
    return (
        TextAnalyzerBuilder(Tokenizer.regex(WORD))
        .filter(Filter.remove_long(MAX_BYTES))
        .filter(Filter.lowercase())
        .filter(Filter.custom_stopword(_STOP_WORDS.split()))
        .filter(Filter.stemmer("english"))
        .build()
    )
