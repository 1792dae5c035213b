"""Runs the command line in child processes that get killed; imports once, forks for each order.

An order is a line of JSON on stdin with `argv`, `folder`, and when to kill the child: `event`, the
number of the file operation in `folder` before which it kills itself, or null; `seconds` after
which it receives `signal`, or null. The answer is a line with the exit code, negative for a signal.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time

import rmnet.cli
import rmnet.cli.track_output
import rmnet.cli.track_resume
import rmnet.segmenter

EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree")


def kill_at(event: int, folder: str) -> None:
    """Kill this process just before its n-th file operation in the folder."""
    left = event

    def hook(name: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if name in EVENTS and str(arguments[0]).startswith(folder):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def child(order: dict) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    if order["event"] is not None:
        kill_at(order["event"], order["folder"])
    code = 70
    try:
        code = rmnet.cli.main(order["argv"])
    finally:
        os._exit(code)


def main() -> None:
    rmnet.weights.load.load_network()  # makes torch import a thousand more modules before the forks
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            child(order)
        if order["seconds"] is not None:

            def kill(pid=pid, order=order):
                time.sleep(order["seconds"])
                os.kill(pid, getattr(signal, order["signal"]))

            killer = threading.Thread(
                target=kill
            )  # before waitpid, so the pid is still the child's
            killer.start()
            killer.join()
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201 the answer


if __name__ == "__main__":
    main()
