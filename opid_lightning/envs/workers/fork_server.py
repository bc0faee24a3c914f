"""The process that workers are forked from: `python fork_server.py FD`, see fork_server_process.py.

It imports and builds what an environment needs, once. A worker is then there in milliseconds and
shares that memory, where one of its own would take seconds and a few hundred MB. The trainer itself
could not be forked: its threads and its GPU would not come along.

It ends with its parent, however that ended, and with it end all workers and what they started. It
is run by its path and knows the standard library alone, until it is told where to find the rest.
"""

from __future__ import annotations

import ctypes
import gc
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import NoReturn

POLL_S = 0.2  # how soon the parent's end is noticed where others hold its end of the connection
PR_SET_PDEATHSIG = 1  # linux/prctl.h

Serve = Callable[[Connection], None]


def main(fd: int) -> None:
    """Serves the trainer over the socket `fd` until it closes; reports an import error once."""
    parent = os.getppid()
    trainer = Connection(fd)
    try:
        serve = prepare(*trainer.recv())
    except Exception:
        trainer.send(traceback.format_exc())
        return
    trainer.send("")  # nothing is wrong
    adopt()
    gc.freeze()  # collecting would write to every page, and so unshare it
    ForkServer(trainer, serve).run(parent)


def prepare(path: list[str], environment: bytes) -> Serve:
    """What a worker does with its connection; `path` is where the trainer finds its modules."""
    sys.path[:] = path
    from opid_lightning.envs.workers.worker import serve

    return partial(serve, pickle.loads(environment))


@dataclass
class ForkServer:
    """Answers the trainer, which alone knows what a worker is for."""

    trainer: Connection
    serve: Serve
    workers: set[int] = field(default_factory=set)  # by process id, also those that died

    def run(self, parent: int) -> None:
        """Answers requests until the trainer ends, then ends all workers."""
        try:
            while os.getppid() == parent:
                if self.trainer.poll(POLL_S):
                    name, *arguments = self.trainer.recv()
                    self.trainer.send(getattr(self, name)(*arguments))
        except (EOFError, ConnectionError):
            pass  # the trainer has closed its end, or has ended
        finally:
            for worker in tuple(self.workers):
                self.end(worker)

    def fork(self) -> int:
        """A worker at the other end of a connection that the trainer sends along."""
        fd = reduction.recv_handle(self.trainer)
        fork_server, worker = os.getpid(), os.fork()
        if worker == 0:
            self.trainer.close()
            work(self.serve, Connection(fd), fork_server)
        os.close(fd)
        self.workers.add(worker)
        return worker

    def end(self, worker: int) -> int | None:
        """Kills it and its group; how it ended, if by itself before, and none when asked again.

        Until then it keeps its process id, so that nobody else can be killed by mistake.
        """
        if worker not in self.workers:
            return None
        self.workers.remove(worker)
        for kill in (os.killpg, os.kill):  # it may not lead a group yet
            with suppress(ProcessLookupError):
                kill(worker, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
        self.sweep()
        return code

    def sweep(self) -> None:
        """Kills what workers that have ended left behind."""
        from opid_lightning.envs.workers.strays import end_children

        end_children(but=self.workers)


def work(serve: Serve, requests: Connection, fork_server: int) -> NoReturn:
    """The life of a worker. It must not return into the fork server's."""
    code = 1
    try:
        os.setsid()  # leads a group of its own, to be ended with all that it started
        die_with(fork_server)
        adopt()
        serve(requests)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def adopt() -> None:
    """Makes orphans of workers children of this process, so that it can end them."""
    from opid_lightning.envs.workers.strays import adopt_orphans

    adopt_orphans()


def die_with(fork_server: int) -> None:
    """The worker ends should the fork server be killed. On Linux alone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != fork_server:
            os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
