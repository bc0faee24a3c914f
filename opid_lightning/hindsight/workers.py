"""Workers: a few threads that work off a queue, and that nobody has to wait for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Workers(Generic[Item]):
    """At most `number` threads, each started when there is something for it to do.

    Unlike those of the standard library's pool they are not waited for when the process ends,
    however long what they do may hang. `work` must not raise.
    """

    def __init__(self, number: int, work: Callable[[Item], None], name: str) -> None:
        self.number = number
        self.work = work
        self.name = name
        self._queue: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._num_started = 0

    def submit(self, item: Item) -> None:
        """Queues an item; starts another thread while there are fewer than `number`."""
        self._queue.put(item)
        if self._num_started < self.number:
            self._num_started += 1
            name = f"{self.name}-{self._num_started}"
            threading.Thread(target=self._run, name=name, daemon=True).start()

    def drop_waiting(self) -> list[Item]:
        """What none of them has begun; it will not be."""
        found = list(self._waiting())
        for item in found:
            if item is None:  # the sign to end, which is for another thread
                self._queue.put(None)
        return [item for item in found if item is not None]

    def close(self) -> None:
        """Each ends when it has finished what it has begun."""
        for _ in range(self._num_started):
            self._queue.put(None)

    def _waiting(self) -> Iterator[Item | None]:
        while True:
            try:
                yield self._queue.get_nowait()
            except queue.Empty:
                return

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            self.work(item)
