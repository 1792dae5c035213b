"""A process that loads and pushes weights on request; its environment names the hub.

It is a process of its own because huggingface_hub reads the environment once, at import. Requests
are lines of JSON on standard input, {"call", "args", "options"}; responses are lines on standard
output, {"result"} or {"error", "message"}.
"""

from __future__ import annotations

import json
import sys
import time

from rmnet.errors import RMNetError
from rmnet.weights import load_network, push_network
from tiny_network import digest, tiny_network


def load(name, **options):
    """Load a network and return a digest of its tensors."""
    return digest(load_network(name, **options))


def push(repo_id, seed, **options):
    """Push a network and return the URL of the commit."""
    return push_network(tiny_network(seed), repo_id, **options)


def main():
    time.sleep = lambda seconds: None  # no waiting between huggingface_hub's retries
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
