"""Questions and passages in the forms that public data has. tests/cases has a file of each."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pytest

from opid_lightning.envs.search import SearchQA
from opid_lightning.envs.search.files.rows import read_rows
from opid_lightning.envs.search.passages import read_passages, write_passages
from opid_lightning.envs.search.questions import Question, read_tasks
from opid_lightning.files.omissions import Omissions

CASES = Path(__file__).parents[1] / "cases" / "search"


def asked(path: Path) -> list[tuple[str, Question]]:
    return [(task.kind, task.payload) for task in read_tasks([path])]


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_file_of_opids_preprocessing_is_read() -> None:
    assert asked(CASES / "searchR1_processed_direct_train.parquet") == [
        ("nq", Question("who painted the old mill?", ("Ada Brook",))),
        (
            "hotpotqa",
            Question(
                "In which town was the painter of The Old Mill born?",
                ("Alder Hill", "Alder Hill town"),
            ),
        ),
    ]


def test_the_forms_of_search_r1_are_read() -> None:
    question = Question("who painted the old mill?", ("Ada Brook",))
    assert asked(CASES / "own_readme_form.parquet") == [("mine", question)]
    published = asked(CASES / "nq_hotpotqa_train.parquet")
    assert published[0] == ("nq", question) and published[1][0] == "hotpotqa"


FORMS: dict[str, tuple[dict[str, Any], Question]] = {
    "the ground truth as a list": (
        {"prompt": [{"role": "user", "content": "Who?"}], "reward_model": {"ground_truth": ["A"]}},
        Question("Who?", ("A",)),
    ),
    "the ground truth as a text": (
        {"prompt": "Who?", "reward_model": {"ground_truth": "A"}},
        Question("Who?", ("A",)),
    ),
    "a prompt with instructions": (
        {
            "prompt": [
                {"role": "system", "content": "You are helpful."},
                {"role": "user", "content": "Answer the given question. Think. Question: Who?\n"},
            ],
            "reward_model": {"ground_truth": {"target": "A"}},
        },
        Question("Who?", ("A",)),
    ),
    "env_kwargs alone": (
        {"env_kwargs": {"question": "Who?", "ground_truth": {"target": ["A"]}}},
        Question("Who?", ("A",)),
    ),
    "HotpotQA": (
        {"_id": "5a", "question": "Who?", "answer": "A", "supporting_facts": [["T", 0], ["T", 2]]},
        Question("Who?", ("A",), ("T",)),
    ),
    "HotpotQA in Parquet": (
        {"id": "5", "question": "Who?", "answer": "A", "supporting_facts": {"title": ["T", "U"]}},
        Question("Who?", ("A",), ("T", "U")),
    ),
    "MuSiQue": (
        {"id": "2hop__1", "question": "Who?", "answer": "A", "answer_aliases": ["B", "A"]},
        Question("Who?", ("A", "B")),
    ),
    "TriviaQA": (
        {"question_id": "t", "question": "Who?", "answer": {"aliases": ["B", "C"], "value": "A"}},
        Question("Who?", ("A", "B", "C")),
    ),
    "TriviaQA as its authors spell it": (
        {"QuestionId": "t", "Question": "Who?", "Answer": {"Aliases": ["B"], "Value": "A"}},
        Question("Who?", ("A", "B")),
    ),
    "NQ": ({"question": "Who?", "answer": ["A", "B"]}, Question("Who?", ("A", "B"))),
    "SQuAD": (
        {"id": "1", "question": "Who?", "answers": {"text": ["A", "A"], "answer_start": [3, 9]}},
        Question("Who?", ("A",)),
    ),
    "numbers": (
        {"question": "?", "golden_answers": [7, 3.0, 1.5]},
        Question("?", ("7", "3", "1.5")),
    ),
    "a number": ({"question": "?", "answer": 1821}, Question("?", ("1821",))),
    "true": ({"question": "?", "answer": True}, Question("?", ("yes", "true"))),
    "false": ({"question": "?", "golden_answers": [False]}, Question("?", ("no", "false"))),
    "nothing among answers": (
        {"question": "?", "golden_answers": [None, "A"]},
        Question("?", ("A",)),
    ),
}


@pytest.mark.parametrize(("row", "question"), FORMS.values(), ids=FORMS)
def test_a_form_of_public_data_is_read(
    tmp_path: Path, row: dict[str, Any], question: Question
) -> None:
    (task,) = read_tasks([lines(tmp_path / "q.jsonl", row)])
    assert task.payload == question
    if name := row.get("_id") or row.get("question_id") or row.get("QuestionId"):
        assert task.id == f"q/{name}"


@pytest.mark.parametrize(
    ("file", "answers"), [("q_hotpot.jsonl", ("yes",)), ("q_triviaqa.jsonl", ("1821", "AD 1821"))]
)
def test_the_raw_records_of_the_cases_are_read(file: str, answers: tuple[str, ...]) -> None:
    ((_, question),) = asked(CASES / file)
    assert question.golden_answers == answers


def test_flashrags_folders_are_sources(tmp_path: Path) -> None:
    row = {"id": "dev_0", "question": "Who?", "golden_answers": ["A"], "metadata": {"type": "x"}}
    files = []
    for source, split in (("hotpotqa", "dev"), ("nq", "test"), ("2wiki", "train-00000-of-00001")):
        (tmp_path / source).mkdir()
        files.append(lines(tmp_path / source / f"{split}.jsonl", row))
    assert [task.id for task in read_tasks(files)] == ["hotpotqa/dev_0", "nq/dev_0", "2wiki/dev_0"]


def test_equal_questions_without_ids_are_tasks_of_their_own_and_stay_who_they_are(
    tmp_path: Path,
) -> None:
    same, other = ({"question": q, "golden_answers": ["A"]} for q in ("Who?", "When?"))
    few = [task.id for task in read_tasks([lines(tmp_path / "q.jsonl", same, same)])]
    many = [task.id for task in read_tasks([lines(tmp_path / "q.jsonl", other, same, same, same)])]
    assert len(set(many)) == 4 and many[1:3] == few


def test_rows_that_cannot_be_asked_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = {"question": "Who?", "golden_answers": ["A"]}
    odd = [{"question": ""}, {"question": "Who?", "answer": None}, {"question": "x", "answer": {}}]
    path = lines(tmp_path / "q.jsonl", *odd, good)
    assert [question.golden_answers for _, question in asked(path)] == [("A",)]
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(
        f"1 questions of {path}: 3 left out: 1 without a question (such as row 1"
    )
    assert "2 without golden answers (such as row 2 of " in said


@pytest.mark.parametrize("file", ["title_text.jsonl", "beir_id.jsonl", "bom_crlf.jsonl"])
def test_passages_show_their_title_first_whatever_form_they_have(file: str) -> None:
    mill, ada = read_passages(CASES / file)
    assert mill.contents == '"Old Mill (painting)"\nThe Old Mill is a painting by Ada Brook.'
    assert (mill.id, ada.id) == ("0", "1")
    assert write_passages([ada]) == (
        "Doc 1 (Title: Ada Brook) Ada Brook was born in Alder Hill in 1821."
    )


def test_passages_that_cannot_be_shown_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = {"docid": 4, "title": "", "text": "untitled"}
    odd = [{"id": "1", "contents": ""}, {"contents": "x"}, {"id": "2", "title": "x", "text": None}]
    (passage,) = read_passages(lines(tmp_path / "c.jsonl", *odd, good))
    assert (passage.id, passage.contents) == ("4", "untitled")
    assert "1 passages of" in caplog.text and "3 left out: 2 without contents" in caplog.text


def test_lone_surrogates_are_replaced_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    passage, _ = read_passages(CASES / "surr.jsonl")
    assert passage.text == "A smile that was cut \ufffd in half"
    ((_, question),) = asked(CASES / "q_surr.jsonl")
    assert question.text == "What was cut \ufffd in half?"
    said = [record.getMessage() for record in caplog.records]
    assert [text.partition(": ")[2][:40] for text in said] == [
        "lone surrogates in 1 rows (such as row 1"
    ] * 2


def test_halves_that_meet_are_joined(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_bytes(b'{"a\\ud83d": ["\\ud83d\\ude00", "\xed\xa0\xbd"]}\n')
    (row,) = read_rows(path, Omissions())
    assert row.values == {"a\ufffd": ["\U0001f600", "\ufffd"]}


ROWS = [{"question": f"Who is {n}?", "golden_answers": ["A", {"b": 'a "]\n'}]} for n in range(3)]
TEXTS = {
    "lines": "".join(json.dumps(row) + "\n" for row in ROWS),
    "lines without an end": "\n".join(json.dumps(row) for row in ROWS),
    "blank lines": "\n\r\n".join(json.dumps(row) for row in ROWS),
    "a byte order mark": "\ufeff" + "\r\n".join(json.dumps(row) for row in ROWS),
    "a list": json.dumps(ROWS),
    "a list on many lines": "\ufeff\n" + json.dumps(ROWS, indent=2) + "\n",
    "a list in an object": json.dumps({"version": "1.0", "data": ROWS}),
    "a list in an object on many lines": json.dumps({"Data": ROWS, "Domain": "x"}, indent=4),
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("name", ["q.jsonl", "q.json", "Q.JSON"])
def test_json_is_read_however_it_is_laid_out(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert [row.values for row in read_rows(tmp_path / name, Omissions())] == ROWS


@pytest.mark.parametrize("number", [1, 3])
def test_rows_that_hold_lists_are_rows(tmp_path: Path, number: int) -> None:
    """As those of MS MARCO, whose passages are a list in each."""
    rows = [{"question": f"Who is {n}?", "passages": ROWS, "data": []} for n in range(number)]
    assert [
        row.values for row in read_rows(lines(tmp_path / "q.jsonl", *rows), Omissions())
    ] == rows


def test_what_follows_an_object_with_a_list_is_a_row(tmp_path: Path) -> None:
    rows = [{"data": ROWS}, {"question": "Who?"}]
    assert [
        row.values for row in read_rows(lines(tmp_path / "q.jsonl", *rows), Omissions())
    ] == rows


def test_a_list_is_read_in_pieces(tmp_path: Path) -> None:
    """Larger than what is held at a time, with items that are cut everywhere."""
    rows = [{"n": n, "text": "é" * (n * 977 % 70_000)} for n in range(120)]
    (tmp_path / "c.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    assert [row.values for row in read_rows(tmp_path / "c.json", Omissions())] == rows


COMPRESSORS = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: arrow.compress(data, codec="zstd", asbytes=True),
}


@pytest.mark.parametrize("ending", COMPRESSORS)
@pytest.mark.parametrize("layout", ["lines", "a list on many lines"])
def test_compressed_files_are_read(tmp_path: Path, ending: str, layout: str) -> None:
    path = tmp_path / f"q.jsonl{ending}"
    data = COMPRESSORS[ending](TEXTS[layout].encode())
    path.write_bytes(data)
    assert [row.values for row in read_rows(path, Omissions())] == ROWS
    for damaged in (data[: len(data) // 2], b"not " + data):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"q\.jsonl.* (cannot be read|is no JSON)"):
            list(read_rows(path, Omissions()))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"a": 1}, {"a": ', r"row 2 of .* is no JSON"),
        ('[{"a": 1}, 3]', r"row 2 of .* is no JSON object: 3"),
        ('[{"a": 1} x]', r"row 2 of .* is no JSON"),
        ('[{"a": 1}]\n[{"a": 2}]\n', r"row 2 of .* is no JSON: more stands behind the end"),
        (
            '[{"a": 1}]' + " " * (1 << 20) + "x",
            r"row 2 of .* is no JSON: more stands behind the end",
        ),
        ('{"a": 1}\n{"a"\n', r"row 2 of .* is no JSON: .*It begins with"),
        ('{\n"a": 1', r"row 1 of .* is no JSON"),
        ("[" * 100_000, r"row 1 of .* is no JSON"),
    ],
)
def test_what_is_corrupt_is_named_with_its_row(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "q.json").write_text(text)
    with pytest.raises(ValueError, match=said):
        list(read_rows(tmp_path / "q.json", Omissions()))


DEEP = '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}"
LAYOUTS_OF_DEEP = {
    "lines": f'{{"n": 1}}\n{DEEP}\n{{"n": 3}}\n',
    "first of the lines": f'{DEEP}\n{{"n": 3}}\n{{"n": 1}}\n',
    "a list": f'[{{"n": 1}}, {DEEP}, {{"n": 3}}]',
    "as deep as Python still reads": f'[{{"n": 1}}, {"[" * 500 + "]" * 500}, {{"n": 3}}]',
    "deep in an object": f'{{"version": 1, "data": [{{"n": 1}}, {DEEP}, {{"n": 3}}], "x": {DEEP}}}',
    "deep in an object on many lines": f'{{\n"Data": [\n{{"n": 1}},\n{DEEP},\n{{"n": 3}}]\n}}\n',
    "in an object": f'{{"data": [{{"n": 1}}, {"[" * 500 + "]" * 500}, {{"n": 3}}]}}',
}


@pytest.mark.parametrize("text", LAYOUTS_OF_DEEP.values(), ids=LAYOUTS_OF_DEEP)
def test_a_row_that_nests_too_deeply_costs_no_other(tmp_path: Path, text: str) -> None:
    (tmp_path / "q.json").write_text(text)
    left_out = Omissions()
    found = list(read_rows(tmp_path / "q.json", left_out))
    assert sorted(row.values["n"] for row in found) == [1, 3]
    assert "1 nested more than 64 levels deep (such as row " in str(left_out)


def test_a_file_of_nothing_but_a_deep_row_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text(DEEP)
    with pytest.raises(ValueError, match=r"q.jsonl holds no questions: 1 left out: 1 nested more"):
        read_tasks([tmp_path / "q.jsonl"])
    with pytest.raises(ValueError, match=r"q.jsonl holds no passages: 1 left out: 1 nested more"):
        list(read_passages(tmp_path / "q.jsonl"))


def test_utf_16_and_a_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text(TEXTS["lines"], encoding="utf-16")
    with pytest.raises(ValueError, match=r"q\.jsonl .*UTF-16, expected UTF-8"):
        list(read_rows(tmp_path / "q.jsonl", Omissions()))
    with pytest.raises(ValueError, match="is no file"):
        list(read_rows(tmp_path, Omissions()))


@pytest.mark.parametrize("title", [{}, {"title": None}, {"title": " "}])
def test_a_passage_needs_no_title(tmp_path: Path, title: dict[str, Any]) -> None:
    path = lines(tmp_path / "c.jsonl", {"id": 1, **title, "text": "Ada was born."})
    assert [passage.contents for passage in read_passages(path)] == ["Ada was born."]


def test_a_chinese_corpus_is_searched_by_a_part_of_a_sentence(tmp_path: Path) -> None:
    corpus = lines(
        tmp_path / "c.jsonl",
        {"id": 1, "title": "旧磨坊", "text": "旧磨坊是艾达画的一幅画。"},
        {"id": 2, "title": "艾达", "text": "艾达出生于奥尔德山。"},
    )
    questions = lines(tmp_path / "q.jsonl", {"question": "谁画了旧磨坊?", "answer": "艾达"})
    env = SearchQA(
        train_questions=str(questions), corpus=str(corpus), topk=1, cache=str(tmp_path / "cache")
    )
    session = env.open()
    session.reset(env.tasks("train")[0])
    assert "(Title: 旧磨坊)" in session.step("<search>谁画了旧磨坊</search>").text
