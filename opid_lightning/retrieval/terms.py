"""From a text to the terms that are counted: words in lower case, without stop words, stemmed."""

from __future__ import annotations

from functools import cache

from tantivy import Filter, TextAnalyzer, TextAnalyzerBuilder, Tokenizer

# Letters and digits; an apostrophe or a full stop inside a word stays: women's, 1.5, u.s.a
WORD = r"[\p{L}\p{N}_]+(?:['.][\p{L}\p{N}_]+)*"
MAX_BYTES = 255  # longer words are left out, as in Lucene

# Lucene's for English.
_STOP_WORDS = (
    "a an and are as at be but by for if in into is it no not of on or such "
    "that the their then there these they this to was will with"
)


@cache
def analyzer() -> TextAnalyzer:
    """The same for documents and queries."""
    return (
        TextAnalyzerBuilder(Tokenizer.regex(WORD))
        .filter(Filter.remove_long(MAX_BYTES))
        .filter(Filter.lowercase())
        .filter(Filter.custom_stopword(_STOP_WORDS.split()))
        .filter(Filter.stemmer("english"))
        .build()
    )
