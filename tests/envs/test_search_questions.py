import gzip
import json

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from opid_lightning.envs.search.passages import Passage, read_passages, write_passages
from opid_lightning.envs.search.questions import Question, read_tasks

ROW = {
    "id": 7,
    "question": " Who? ",
    "golden_answers": ["Ada", " Ada Brook ", ""],
    "data_source": "nq",
    "supporting_titles": ["Ada Brook"],
}


def lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_question_of_a_line_is_a_task_named_and_kinded_by_its_source(tmp_path):
    (task,) = read_tasks([lines(tmp_path / "q.jsonl", ROW)])
    assert (task.id, task.kind) == ("nq/7", "nq")
    assert task.payload == Question("Who?", ("Ada", "Ada Brook"), ("Ada Brook",))


def test_parquet_of_search_r1_reads_as_lines_do(tmp_path):
    row = {"id": "test_0", "question": "Who?", "data_source": "nq"}
    row["reward_model"] = {"style": "rule", "ground_truth": {"target": ["Ada", "Ada Brook"]}}
    parquet.write_table(arrow.Table.from_pylist([row]), tmp_path / "q.parquet")
    (task,) = read_tasks([tmp_path / "q.parquet"])
    assert task.id == "nq/test_0"
    assert task.payload == Question("Who?", ("Ada", "Ada Brook"))
    assert (task,) == read_tasks([lines(tmp_path / "q.jsonl", row)])


def test_several_files_are_sources_by_their_names_and_ids_come_from_the_words(tmp_path):
    row = {"question": "Who?", "golden_answers": "Ada"}
    files = [lines(tmp_path / f"{name}.jsonl", row) for name in ("trivia", "popqa")]
    one, two = read_tasks(files)
    assert (one.kind, two.kind) == ("trivia", "popqa")
    assert one.id.removeprefix("trivia/") == two.id.removeprefix("popqa/")
    assert one.payload.golden_answers == ("Ada",)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"golden_answers": ["a"]}, "row 1 of .* has no question"),
        ({"question": "  ", "golden_answers": ["a"]}, "has no question"),
        ({"question": "Who?"}, "without golden answers"),
        ({"question": "Who?", "golden_answers": []}, "without golden answers"),
        ({"question": "Who?", "golden_answers": ["", " "]}, "without golden answers"),
        ({"question": "Who?", "golden_answers": [None]}, "without golden answers"),
        ({"question": "Who?", "golden_answers": [float("nan")]}, "no texts: nan"),
        ({"question": 3, "golden_answers": ["a"]}, "has no question: 3"),
        ({**ROW, "supporting_titles": "Ada"}, "titles that are no texts"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused_with_its_place(tmp_path, row, said):
    with pytest.raises(ValueError, match=said):
        read_tasks([lines(tmp_path / "q.jsonl", row)])


def test_two_questions_of_one_id_are_refused(tmp_path):
    with pytest.raises(ValueError, match="'nq/7'"):
        read_tasks([lines(tmp_path / "q.jsonl", ROW, ROW)])


def test_a_file_that_is_missing_empty_broken_or_something_else_is_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no file"):
        read_tasks([tmp_path / "no.jsonl"])
    with pytest.raises(ValueError, match="holds no questions"):
        read_tasks([lines(tmp_path / "empty.jsonl")])
    with pytest.raises(ValueError, match="neither JSONL nor Parquet"):
        read_tasks([lines(tmp_path / "q.csv", ROW)])
    (tmp_path / "cut.jsonl").write_text(json.dumps(ROW) + '\n{"question": "Who')
    with pytest.raises(ValueError, match=r"row 2 of .* is no JSON: .*question"):
        read_tasks([tmp_path / "cut.jsonl"])
    (tmp_path / "latin.jsonl").write_bytes(b'{"question": "\xe9"}\n')
    with pytest.raises(ValueError, match=r"row 1 of .* is no JSON"):
        read_tasks([tmp_path / "latin.jsonl"])
    (tmp_path / "list.jsonl").write_text("[1]\n")
    with pytest.raises(ValueError, match="is no JSON object"):
        read_tasks([tmp_path / "list.jsonl"])
    for name in ("no.parquet", "no.jsonl.gz"):
        (tmp_path / name).write_bytes(b"PAR1 cut short")
        with pytest.raises(ValueError, match="cannot be read"):
            read_tasks([tmp_path / name])


def test_passages_have_a_title_and_a_text_whatever_file_they_are_in(tmp_path):
    rows = [{"id": 0, "contents": '"Ada"\nShe was\nborn.'}, {"id": "b", "contents": "Alone"}]
    lines(tmp_path / "c.jsonl", *rows)
    with gzip.open(tmp_path / "c.jsonl.gz", "wb") as file:
        file.write((tmp_path / "c.jsonl").read_bytes())
    named = [{**row, "id": str(row["id"])} for row in rows]
    parquet.write_table(arrow.Table.from_pylist(named), tmp_path / "c.parquet")
    for name in ("c.jsonl", "c.jsonl.gz", "c.parquet"):
        one, two = read_passages(tmp_path / name)
        assert one == Passage("0", '"Ada"\nShe was\nborn.')
        assert (one.title, one.text, two.title, two.text) == ("Ada", "She was born.", "Alone", "")
    shown = "Doc 1 (Title: Ada) She was born.\nDoc 2 (Title: Alone)"
    assert write_passages((one, two)) == shown


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"id": 1, "title": "x"}, "row 1 of .* has no contents: it holds id, title"),
        ({"id": 1, "contents": " "}, "has no contents: ' '"),
        ({"contents": "x"}, "has no id"),
    ],
)
def test_a_corpus_without_contents_is_refused_with_its_place(tmp_path, row, said):
    with pytest.raises(ValueError, match=said):
        list(read_passages(lines(tmp_path / "c.jsonl", row)))


def test_an_empty_corpus_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no passages"):
        list(read_passages(lines(tmp_path / "c.jsonl")))
