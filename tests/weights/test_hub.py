"""Weights over real HTTP, from and to a small hub on this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hub_server import HubServer
from rmnet.weights import save_network
from tiny_network import digest, tiny_network

# The exception is huggingface_hub's own, when it uploads a large file.
WARNINGS = ("-W", "error", "-W", "ignore:Use 'content=")


class Client:
    """A process that asks the hub; see hub_client.py."""

    def __init__(self, home, endpoint, **environment):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        self._log = home.with_suffix(".log").open("w+", encoding="utf-8")
        self._process = subprocess.Popen(
            [sys.executable, *WARNINGS, str(Path(__file__).parents[1] / "hub_client.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=kept
            | {
                "HF_ENDPOINT": endpoint,
                "HF_HOME": str(home),
                "HF_HUB_DISABLE_XET": "1",
                "HF_HUB_DISABLE_TELEMETRY": "1",
                "NO_PROXY": "*",
                "TQDM_POSITION": "-1",  # huggingface_hub then draws without a terminal, too
            }
            | environment,
        )

    def load(self, *args, **options):
        return self._call("load", args, options)

    def push(self, *args, **options):
        return self._call("push", args, options)

    def _call(self, call, args, options):
        request = {"call": call, "args": args, "options": options}
        self._process.stdin.write(json.dumps(request, default=str) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, self.log()
        return json.loads(line)

    def log(self):
        self._log.seek(0)
        return self._log.read()

    def close(self):
        with self._process, self._log:
            self._process.kill()


@pytest.fixture(scope="module")
def hub():
    server = HubServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
def clients(hub, tmp_path_factory):
    """Both at once: most of their time goes into importing torch."""
    home = tmp_path_factory.mktemp("home")
    online = Client(home / "online", hub.endpoint)
    offline = Client(home / "offline", hub.endpoint, HF_HUB_OFFLINE="1")
    yield online, offline
    online.close()
    offline.close()


@pytest.fixture
def client(clients):
    return clients[0]


@pytest.fixture
def offline(clients):
    """A client with HF_HUB_OFFLINE=1."""
    return clients[1]


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What a repository holds whose weights have this seed."""

    def of(seed):
        folder = save_network(tiny_network(seed), tmp_path_factory.mktemp("files"))
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    return of


def loaded(seed):
    return {"result": digest(tiny_network(seed))}


def assert_error(answer, error, *parts):
    assert answer.get("error") == error, answer
    for part in parts:
        assert part in answer["message"], answer["message"]


# --- Downloading --------------------------------------------------------------------------------


def test_first_load_downloads_both_files_once(hub, client, cache, files):
    hub.add("org/first", files(1))
    with hub.recorded() as requests:
        assert client.load("org/first", cache_dir=cache) == loaded(1)
    commit = f"{1:040x}"
    downloads = [line for line in requests if line.startswith("GET")]
    assert downloads[0] == "GET /org/first/resolve/main/config.json"
    assert [line.rpartition("/")[2] for line in downloads] == ["config.json", "model.safetensors"]
    assert f"HEAD /org/first/resolve/{commit}/model.safetensors" in requests
    assert "rmnet/" in hub.requests[-1][2]["user-agent"]


def test_cached_weights_load_without_the_server(hub, client, cache, files):
    hub.add("org/cached", files(2))
    client.load("org/cached", cache_dir=cache)
    with hub.gone():
        assert client.load("org/cached", cache_dir=cache) == loaded(2)


def test_cached_weights_are_not_downloaded_again(hub, client, cache, files):
    hub.add("org/again", files(2))
    client.load("org/again", cache_dir=cache)
    with hub.recorded() as requests:
        assert client.load("org/again", cache_dir=cache) == loaded(2)
    assert requests == ["HEAD /org/again/resolve/main/config.json"]


def test_force_download_downloads_again(hub, client, cache, files):
    hub.add("org/force", files(3))
    client.load("org/force", cache_dir=cache)
    with hub.recorded() as requests:
        assert client.load("org/force", cache_dir=cache, force_download=True) == loaded(3)
    assert sum(line.startswith("GET") for line in requests) == 2


def test_branch_that_has_moved_is_followed(hub, client, cache, files):
    repository = hub.add("org/moving", files(1))
    assert client.load("org/moving", cache_dir=cache) == loaded(1)
    repository.commit(files(2))
    assert client.load("org/moving", cache_dir=cache) == loaded(2)


def test_revisions_give_their_own_weights(hub, client, cache, files):
    repository = hub.add("org/revisions")
    old = repository.commit(files(4))
    repository.commit(files(5))
    repository.branches["v1"] = old
    assert client.load("org/revisions", cache_dir=cache) == loaded(5)
    assert client.load("org/revisions", cache_dir=cache, revision="v1") == loaded(4)
    with hub.gone():
        assert client.load("org/revisions", cache_dir=cache, revision=old) == loaded(4)


def test_both_files_are_of_one_commit_though_the_branch_moves_between(hub, client, cache, files):
    repository = hub.add("org/race", files(6))
    repository.moves_to = files(7) | {"config.json": b"{}"}
    assert client.load("org/race", cache_dir=cache) == loaded(6)
    assert repository.branches["main"] == f"{2:040x}"


def test_token_is_sent_and_opens_a_private_repository(hub, client, cache, files):
    hub.add("org/private", files(8), readers=frozenset({"hf_reader"}))
    answer = client.load("org/private", cache_dir=cache)
    assert_error(answer, "WeightsNotFoundError", "no repository 'org/private'", "token=")
    start = len(hub.requests)
    assert client.load("org/private", cache_dir=cache, token="hf_reader") == loaded(8)
    sent = {
        headers.get("authorization")
        for _, path, headers in hub.requests[start:]
        if path.startswith("/org/private/resolve/")
    }
    assert sent == {"Bearer hf_reader"}


def test_token_false_sends_none(hub, client, cache, files):
    hub.add("org/public", files(8))
    start = len(hub.requests)
    client.load("org/public", cache_dir=cache, token=False)
    assert not any("authorization" in headers for _, _, headers in hub.requests[start:])


def test_local_files_only_asks_nobody(hub, client, cache, files):
    hub.add("org/local", files(9))
    with hub.recorded() as requests:
        answer = client.load("org/local", cache_dir=cache, local_files_only=True)
    assert_error(answer, "WeightsNotFoundError", "config.json of 'org/local'", "local_files_only")
    assert requests == []
    client.load("org/local", cache_dir=cache)
    with hub.recorded() as requests:
        assert client.load("org/local", cache_dir=cache, local_files_only=True) == loaded(9)
    assert requests == []


def test_offline_mode_uses_the_cache_alone(hub, client, offline, cache, files):
    hub.add("org/offline", files(10))
    client.load("org/offline", cache_dir=cache)
    with hub.recorded() as requests:
        assert offline.load("org/offline", cache_dir=cache) == loaded(10)
        absent = offline.load("org/elsewhere", cache_dir=cache)
        forced = offline.load("org/offline", cache_dir=cache, force_download=True)
        pushed = offline.push("org/offline", 1)
    assert requests == []
    assert_error(absent, "WeightsNotFoundError", "org/elsewhere", "HF_HUB_OFFLINE")
    assert_error(forced, "WeightsNotFoundError", "org/offline", "HF_HUB_OFFLINE")
    assert_error(pushed, "WeightsNotFoundError", "org/offline", "HF_HUB_OFFLINE")


# --- What goes wrong ----------------------------------------------------------------------------


def test_unknown_repository_is_named(client, cache):
    answer = client.load("org/unknown", cache_dir=cache)
    assert_error(answer, "WeightsNotFoundError", "no repository 'org/unknown'", "Check the name")


def test_unknown_repository_is_named_when_download_is_forced(client, cache):
    answer = client.load("org/unknown", cache_dir=cache, force_download=True)
    assert_error(answer, "WeightsNotFoundError", "no repository 'org/unknown'")


def test_gated_repository_says_where_to_ask(hub, client, cache, files):
    hub.add("org/gated", files(1), gated=True)
    answer = client.load("org/gated", cache_dir=cache)
    assert_error(answer, "WeightsNotFoundError", "gated", f"{hub.endpoint}/org/gated")


def test_refused_token_is_said(hub, client, cache, files):
    hub.add("org/refused", files(1))
    answer = client.load("org/refused", cache_dir=cache, token="hf_invalid")
    assert_error(answer, "WeightsNotFoundError", "refused access (401)", "token=")


def test_wrong_revision_is_named(hub, client, cache, files):
    hub.add("org/wrong", files(1))
    answer = client.load("org/wrong", cache_dir=cache, revision="v9")
    assert_error(answer, "WeightsNotFoundError", "revision 'v9'", "no such revision")


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_missing_file_is_named(hub, client, cache, files, missing):
    content = files(1)
    del content[missing]
    hub.add("org/incomplete", content)
    answer = client.load("org/incomplete", cache_dir=cache)
    assert_error(answer, "WeightsNotFoundError", f"{missing} of 'org/incomplete'", "no such file")


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("model.safetensors", "short"),
        ("model.safetensors", "closed early"),
        ("model.safetensors", "size unknown"),
        ("config.json", "short"),
        ("config.json", "closed early"),
    ],
)
def test_truncated_download_is_an_error_until_it_is_fetched_again(
    hub, client, cache, files, fault, name
):
    repository = hub.add("org/truncated", files(11), faults={name: fault})
    answer = client.load("org/truncated", cache_dir=cache)
    assert_error(answer, "WeightsError", name, "force_download=True")
    repository.faults.clear()
    assert client.load("org/truncated", cache_dir=cache, force_download=True) == loaded(11)


def test_weights_of_other_bytes_than_the_hub_names_are_refused_also_from_the_cache(
    hub, client, cache, files
):
    repository = hub.add("org/changed", files(12), faults={"model.safetensors": "changed"})
    for _ in range(2):  # then it is cached
        answer = client.load("org/changed", cache_dir=cache)
        assert_error(answer, "WeightsError", "model.safetensors of 'org/changed'", "SHA-256")
    answer = client.load("org/changed", cache_dir=cache, local_files_only=True)
    assert_error(answer, "WeightsError", "SHA-256", "force_download=True")
    repository.faults.clear()
    assert client.load("org/changed", cache_dir=cache, force_download=True) == loaded(12)


@pytest.mark.parametrize("force_download", [False, True])
def test_no_connection_and_no_cache_is_said(hub, client, cache, force_download):
    with hub.gone():
        answer = client.load("org/nowhere", cache_dir=cache, force_download=force_download)
    assert_error(answer, "WeightsNotFoundError", hub.endpoint, "Is it reachable?")


@pytest.mark.parametrize("fault", ["server error", "no commit"])
def test_server_that_fails_is_named(hub, client, cache, files, fault):
    hub.add("org/failing", files(1), faults={"config.json": fault})
    answer = client.load("org/failing", cache_dir=cache)
    assert_error(answer, "WeightsNotFoundError", "org/failing", hub.endpoint)


def test_weights_that_do_not_fit_are_refused(hub, client, cache, files):
    hub.add("org/misfit", files(1) | {"model.safetensors": _other_safetensors()})
    answer = client.load("org/misfit", cache_dir=cache)
    assert_error(answer, "WeightsError", "weights of another model")


def _other_safetensors():
    import torch
    from safetensors.torch import save

    return save({"layer.weight": torch.zeros(600)})


# --- Uploading ----------------------------------------------------------------------------------


def test_pushed_weights_load_back(hub, client, cache):
    answer = client.push(
        "org/pushed", 12, token="hf_writer", private=True, commit_message="First weights"
    )
    repository = hub.repositories["org/pushed"]
    head = repository.branches["main"]
    assert answer == {"result": f"{hub.endpoint}/org/pushed/commit/{head}"}
    assert len(repository.commits) == 2  # the empty one, and one with everything
    assert hub.created[-1]["name"] == "pushed"
    assert "private" in (hub.created[-1].get("visibility"), *hub.created[-1])
    assert hub.messages[-1] == "First weights"
    assert set(repository.commits[head]) == {"README.md", "config.json", "model.safetensors"}
    card = repository.commits[head]["README.md"].decode()
    assert 'RMNetSegmenter.from_pretrained("org/pushed")' in card
    assert client.load("org/pushed", cache_dir=cache) == loaded(12)


def test_push_to_an_existing_repository_keeps_its_model_card(hub, client, cache, files):
    repository = hub.add("org/carded", files(1) | {"README.md": b"My own words"})
    client.push("org/carded", 13, token="hf_writer")
    assert repository.commits[repository.branches["main"]]["README.md"] == b"My own words"
    assert client.load("org/carded", cache_dir=cache) == loaded(13)


def test_push_to_a_branch_leaves_the_others(hub, client, cache, files):
    repository = hub.add("org/branched", files(1))
    repository.branches["next"] = repository.branches["main"]
    client.push("org/branched", 14, token="hf_writer", revision="next")
    assert client.load("org/branched", cache_dir=cache, revision="next") == loaded(14)
    assert client.load("org/branched", cache_dir=cache) == loaded(1)


def test_push_to_a_branch_that_is_not_there_is_named(hub, client, files):
    hub.add("org/unbranched", files(1))
    answer = client.push("org/unbranched", 1, token="hf_writer", revision="v9")
    assert_error(answer, "WeightsNotFoundError", "revision 'v9'", "no such revision")


@pytest.mark.parametrize("token", [False, "hf_reader"])
def test_push_without_the_right_to_write_is_refused(hub, client, files, token):
    repository = hub.add("org/readonly", files(1))
    answer = client.push("org/readonly", 1, token=token)
    assert_error(answer, "WeightsNotFoundError", "'org/readonly'", "token=")
    assert len(repository.commits) == 1


def test_push_without_a_connection_is_said(hub, client):
    with hub.gone():
        answer = client.push("org/nowhere", 1, token="hf_writer")
    assert_error(answer, "WeightsError", "upload to 'org/nowhere'", "failed")


def test_neither_way_draws_a_progress_bar(hub, client, cache):
    client.push("org/quiet", 15, token="hf_writer")
    client.load("org/quiet", cache_dir=cache)
    assert "%|" not in client.log()
