"""Loads and pushes on demand, in a process whose environment names the hub to ask.

huggingface_hub reads its environment once, at import. Requests come as lines of JSON on standard
input, {"call", "args", "options"}; answers go out likewise: {"result"} or {"error", "message"}.
"""

from __future__ import annotations

import json
import sys
import time

from rmnet.errors import RMNetError
from rmnet.weights.load import load_network, push_network
from tiny_network import digest, tiny_network


def load(name, **options):
    """Digest of the tensors of what was loaded."""
    return digest(load_network(name, **options))


def push(repo_id, seed, **options):
    """Address of the commit."""
    return push_network(tiny_network(seed), repo_id, **options)


def main():
    time.sleep = lambda seconds: None  # huggingface_hub waits before it tries again
    for line in sys.stdin:
        request = json.loads(line)
        call = {"load": load, "push": push}[request["call"]]
        try:
            answer = {"result": call(*request["args"], **request["options"])}
        except RMNetError as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
