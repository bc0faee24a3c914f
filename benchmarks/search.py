"""Search-based question answering: recall of the retriever, its latency when served, an oracle.

    python -m benchmarks.search [--questions FILE --corpus FILE] [--clients 64] [--requests 40]

The generated questions, and those of FILE if they are given with `supporting_titles`:

recall   of the supporting titles among the 3 passages that a search for the question itself shows
oracle   exact match, through the environment, of a reader that knows what to search for
served   latency of `python -m opid_lightning retriever corpus=FILE`, which is a process of its own,
         under clients that ask again as soon as they are answered: each for itself, a connection
         each, and all through one client of the environment, which joins and keeps what they ask
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from opid_lightning.envs.search import SearchQA
from opid_lightning.envs.search.expert import ReadingExpert, TitleExpert, is_shown
from opid_lightning.envs.search.retriever import RetrieverClient, Service
from opid_lightning.envs.search.world import corpus_of
from opid_lightning.types import Task

Expert = ReadingExpert | TitleExpert


def recall(environment: SearchQA, tasks: Sequence[Task]) -> tuple[float, float]:
    """The mean share of titles that are shown, and the share of questions of which all are."""
    session, shares = environment.open(), list[float]()
    for task in tasks:
        session.reset(task)
        found = session.step(f"<search>{task.payload.text}</search>").text
        titles = task.payload.supporting_titles
        shares.append(sum(is_shown(title, found) for title in titles) / len(titles))
    return statistics.mean(shares), shares.count(1.0) / len(shares)


def exact_match(
    environment: SearchQA, tasks: Sequence[Task], expert_for: Callable[[Task], Expert]
) -> tuple[float, float]:
    """And the mean number of steps."""
    session, num_won, num_steps = environment.open(), 0, 0
    for task in tasks:
        expert, seen = expert_for(task), session.reset(task).observation
        while not seen.done:
            seen = session.step(expert.decide().command)
            expert.see(seen)
            num_steps += 1
        num_won += seen.won
    return num_won / len(tasks), num_steps / len(tasks)


def report(
    name: str, environment: SearchQA, tasks: Sequence[Task], expert_for: Callable[[Task], Expert]
) -> None:
    share, whole = recall(environment, tasks)
    won, steps = exact_match(environment, tasks, expert_for)
    print(
        f"| {name} | {len(tasks)} | {share:.1%} | {whole:.1%} | {won:.1%} | {steps:.2f} |",
        flush=True,
    )


@contextmanager
def served(corpus: Path) -> Iterator[str]:
    """The URL of the verb `retriever`."""
    command = [sys.executable, "-m", "opid_lightning", "retriever", f"corpus={corpus}", "port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        yield said.split(" at ")[1].split("/retrieve")[0]
        process.terminate()
        process.communicate()


def alone(url: str, queries: Sequence[str], times: list[float]) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    for query in queries:
        body = json.dumps({"queries": [query], "topk": 3, "return_scores": True})
        start = time.perf_counter()
        connection.request("POST", "/retrieve", body)
        answer = connection.getresponse().read()
        times.append(time.perf_counter() - start)
        assert answer.startswith(b'{"result"'), answer
    connection.close()


def together(client: RetrieverClient, queries: Sequence[str], times: list[float]) -> None:
    for query in queries:
        start = time.perf_counter()
        client(query)
        times.append(time.perf_counter() - start)


def load(
    name: str, ask: Callable[[Sequence[str], list[float]], None], shares: Sequence[Sequence[str]]
) -> None:
    times: list[float] = []
    threads = [threading.Thread(target=ask, args=(share, times)) for share in shares]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    milliseconds = sorted(1000 * value for value in times)
    median, p95 = statistics.median(milliseconds), milliseconds[int(0.95 * len(times))]
    print(
        f"| {name} | {len(shares)} | {len(times)} | {median:.1f} ms | {p95:.1f} ms "
        f"| {milliseconds[-1]:.1f} ms | {len(times) / seconds:.0f} |",
        flush=True,
    )


def measure_latency(
    corpus: Path, texts: Sequence[str], num_clients: int, num_requests: int
) -> None:
    print(f"\n{corpus}\n\n| clients | number | queries | median | p95 | longest | queries/s |")
    print("|---|---|---|---|---|---|---|")
    asked = [text for number in range(num_requests) for text in texts]
    shares = [asked[c::num_clients][:num_requests] for c in range(num_clients)]
    with served(corpus) as url:
        alone(url, texts[:1], [])  # the first request of a process takes longer
        load("one", lambda queries, times: alone(url, queries, times), shares[:1])
        load("each for itself", lambda queries, times: alone(url, queries, times), shares)
        for name, kept in (("joined", 0), ("joined and kept", 10_000)):
            client = RetrieverClient(Service(url, cached_queries=kept), 3)
            load(name, lambda queries, times, c=client: together(c, queries, times), shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--questions", help="JSONL or Parquet with supporting_titles")
    parser.add_argument("--corpus", help="what they are about")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--requests", type=int, default=40, help="of each client")
    arguments = parser.parse_args()
    print("| questions | number | titles shown | all shown | oracle | steps |")
    print("|---|---|---|---|---|---|")
    generated = SearchQA()
    for split in ("train", "valid_seen", "valid_unseen"):
        tasks = generated.tasks(split)
        for kind in sorted({task.kind for task in tasks}):
            some = [task for task in tasks if task.kind == kind]
            name = f"{split}, {kind}"
            report(name, generated, some, lambda task: ReadingExpert.of(task.payload.text))
    corpus, tasks = corpus_of(generated.world), generated.tasks("train")
    if arguments.questions:
        given = SearchQA(train_questions=arguments.questions, corpus=arguments.corpus)
        corpus, tasks = Path(arguments.corpus), given.tasks("train")
        name = Path(arguments.questions).name
        report(name, given, tasks, lambda task: TitleExpert(task.payload))
    texts = [task.payload.text for task in tasks]
    measure_latency(corpus, texts, arguments.clients, arguments.requests)


if __name__ == "__main__":
    main()
