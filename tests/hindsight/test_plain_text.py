import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opid_lightning.hindsight.plain_text import CHAT_MARKER, plain_line, plain_lines

MARKERS = (
    *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|start_header_id|>"),
    *("<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|pad|>"),
    *("<s>", "</s>", "<pad>", "<unk>", "<bos>", "<eos>", "[INST]", "[/INST]", "<<SYS>>"),
    *("<</SYS>>", "<start_of_turn>", "<end_of_turn>", "<think>", "</think>", "<tool_call>"),
    *(
        "</tool_response>",
        "<\uff5cUser\uff5c>",
        "<\uff5cend▁of▁sentence\uff5c>",
        "[TOOL_CALLS]",
        "<|IM_END|>",
    ),
)
PIECES = st.one_of(st.sampled_from([*MARKERS, "<|", "|>", "<", ">", "\u200b", " "]), st.text())


@pytest.mark.parametrize("marker", MARKERS)
@pytest.mark.parametrize("plain", [plain_line, plain_lines])
def test_a_chat_marker_is_taken_out_also_where_it_hides(plain, marker):
    half = len(marker) // 2
    hidden = f"{marker[:half]}\u200b{marker[half:]}"
    nested = f"{marker[:half]}{marker}{marker[half:]}"
    for text in (marker, hidden, marker * 3):
        assert plain(f"Go{text}on.") == "Go on."
    assert marker not in plain(f"Go {nested} on.")


@pytest.mark.parametrize(
    "text",
    [
        "Take <object> from <receptacle>.",
        "If a < b | c > d, choose [b].",
        "Answer inside <action> </action>.",
        "¿Qué? Größe, 鍵, 🗝️ and é.",
    ],
)
def test_other_texts_stay_as_they_are(text):
    assert plain_line(text) == plain_lines(text) == text


def test_a_line_is_one_line_and_lines_have_no_empty_ones_between():
    text = " First.\r\n\r\n\tThen \u2028 that.  \v\f\x85 "
    assert plain_line(text) == "First. Then that."
    assert plain_lines(text) == "First.\nThen\nthat."


def test_what_cannot_be_seen_goes():
    invisible = "\x00\x07\x1b\x7f\x9f\u200b\u200d\u202a\u202e\u2066\u2069\ufeff\ue000\U000e0041"
    assert plain_line(f"a{invisible}b") == "ab"


@given(st.lists(PIECES).map("".join))
def test_plain_text_is_visible_without_markers_and_stays_as_it_is(text):
    for plain, breaks in ((plain_line, ""), (plain_lines, "\n")):
        once = plain(text)
        assert plain(once) == once
        assert not CHAT_MARKER.search(once)
        kinds = {unicodedata.category(c) for c in once if c not in breaks}
        assert not kinds & {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}
