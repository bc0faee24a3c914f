"""The verb `retriever`, typed as a user types it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import httpx
import pytest

from opid_lightning.cli.verbs.table import main, overview


def corpus(folder):
    path = folder / "c.jsonl"
    path.write_text(
        '{"id": 1, "contents": "Ada\\nIn Rome."}\n{"id": 2, "contents": "Ink\\nBlue."}\n'
    )
    return path


def test_it_serves_a_corpus_until_it_is_told_to_end(tmp_path):
    typed = [f"corpus={corpus(tmp_path)}", "port=0", f"cache={tmp_path}"]
    command = [sys.executable, "-m", "opid_lightning", "retriever", *typed]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as it:
        said = it.stdout.readline()
        assert said.startswith(f"Serving 2 passages of {tmp_path}/c.jsonl by BM25 at http://127.")
        url = said.split(" at ")[1].split(";")[0]
        request = {"queries": ["Ada"], "topk": 1, "return_scores": True}
        with httpx.Client() as http:  # a connection that is kept does not keep the service
            (hits,) = http.post(url, json=request).json()["result"]
            it.send_signal(signal.SIGTERM)
            assert it.stdout.read() == "Ended.\n"
        assert it.wait(10) == 0
        assert "indexing" in it.stderr.read()
    assert hits[0]["document"] == {"id": "1", "contents": "Ada\nIn Rome."}


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["corpus=no.jsonl"], "there is no file no.jsonl"),
        (["port=http"], "port is 'http'. Expected a whole number"),
        (["topk=0"], "topk is '0'"),
        (["conf=search"], "retriever does not use conf=search"),
        (["env.topk=3"], "retriever does not use env.topk=3. Did you mean 'topk'? It reads corpus"),
        (["corpus=c.jsonl", "port=99999"], "nothing can listen at host=127.0.0.1 port=99999"),
        (["corpus=c.jsonl", "dense=."], "dense=. is no model"),
    ],
)
def test_what_cannot_be_served_is_said_in_a_line(typed, said, tmp_path, monkeypatch, capsys):
    corpus(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["retriever", f"cache={tmp_path}", *typed]) == 2
    assert said in capsys.readouterr().err


def test_it_is_listed_with_the_other_verbs_and_has_a_help_of_its_own(capsys):
    assert "  retriever " in overview()
    assert main(["retriever", "--help"]) == 0
    assert "POST /retrieve" in capsys.readouterr().out


def test_a_broken_corpus_names_the_row(tmp_path, capsys):
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps({"id": 1, "contents": "x"}) + "\n{\n")
    assert main(["retriever", f"corpus={path}", f"cache={tmp_path}"]) == 2
    assert f"row 2 of {path} is no JSON" in capsys.readouterr().err
