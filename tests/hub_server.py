"""A small Hugging Face hub on the loopback address that records requests and can inject faults.

It speaks the protocol of huggingface_hub 1 and 2 without Xet: `resolve` with ETag and commit, large
files behind a redirect, and error codes in headers; for uploads, `create`, `preupload`, LFS batch
and `commit`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

MIN_LARGE = 2_000  # bytes; files of this size or more are stored by hash, behind a redirect


@dataclass
class Repository:
    """A repository; commits are numbered in hexadecimal, and branches name them."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    readers: frozenset[str] | None = None  # tokens that may read; None: public
    writers: frozenset[str] = frozenset({"hf_writer"})
    gated: bool = False
    faults: dict[str, str] = field(default_factory=dict)  # file name -> see Handler._send_file
    moves_to: dict[str, bytes] | None = None  # becomes the branch's commit after the next GET

    def commit(self, files, branch="main"):
        """Add a commit with exactly these files and return its hash."""
        sha = f"{len(self.commits) + 1:040x}"
        self.commits[sha] = dict(files)
        self.branches[branch] = sha
        return sha


class HubServer:
    """The hub, its repositories, and all requests received: (method, path, headers)."""

    def __init__(self):
        self.repositories: dict[str, Repository] = {}
        self.created: list[dict[str, object]] = []
        self.messages: list[str] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.large: dict[str, bytes] = {}
        self.port = 0
        self._start()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def add(self, repo_id, files=None, **options):
        """Add a repository, with a first commit if files are given."""
        repository = self.repositories[repo_id] = Repository(**options)
        if files is not None:
            repository.commit(files)
        return repository

    @contextmanager
    def gone(self):
        """Take the server down for the duration of the block."""
        self.close()
        try:
            yield
        finally:
            self._start()

    @contextmanager
    def recorded(self):
        """Collect the requests made in the block, as "METHOD path"."""
        lines: list[str] = []
        start = len(self.requests)
        yield lines
        lines += [f"{method} {path}" for method, path, _ in self.requests[start:]]

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _start(self):
        handler = type("BoundHandler", (Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()


class HubError(Exception):
    """A response other than 200."""

    def __init__(self, status, code="", message="", url=""):
        super().__init__(status, code, message, url)
        self.status, self.code, self.message, self.url = status, code, message, url


class Handler(BaseHTTPRequestHandler):
    """Handler of one request."""

    hub: HubServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self._answer(self._read)

    def do_GET(self):
        self._answer(self._read)

    def do_PUT(self):
        self._answer(self._store_large)

    def do_POST(self):
        self._answer(self._post)

    def log_message(self, *args):
        """Log nothing."""

    def _answer(self, action):
        self.close_connection = True
        self.body = self._read_body()
        self.path = unquote(urlsplit(self.path).path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hub.requests.append((self.command, self.path, headers))
        self.token = headers.get("authorization", "").removeprefix("Bearer ")
        try:
            action()
        except HubError as error:
            self._send(
                error.status,
                json.dumps({"error": error.message, "url": error.url}).encode(),
                {"X-Error-Code": error.code, "X-Error-Message": error.message},
            )

    def _read_body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _send(self, status, content=b"", headers=None, *, length=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            if value:
                self.send_header(name, value)
        if length != "unknown":
            self.send_header("Content-Length", str(len(content) if length is None else length))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _send_json(self, value):
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    # --- Reading ------------------------------------------------------------------------------

    def _read(self):
        if found := re.fullmatch(r"/large/(\w+)/([^/]+/[^/]+)/(.+)", self.path):
            oid, repo_id, name = found.groups()
            fault = self.hub.repositories[repo_id].faults.get(name)
            self._send_file(self.hub.large[oid], {}, fault)
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path):
            self._resolve(*found.groups())
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)", self.path):
            sha = self._readable(found[1]).branches["main"]
            self._send_json({"id": found[1], "sha": sha, "siblings": [], "tags": []})
        else:
            raise HubError(404, "", "no such page")

    def _resolve(self, repo_id, revision, name):
        repository = self._readable(repo_id)
        sha = repository.branches.get(revision, revision)
        if sha not in repository.commits:
            raise HubError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        files = repository.commits[sha]
        if name not in files:
            raise HubError(404, "EntryNotFound", "Entry not found")
        content, fault = files[name], repository.faults.get(name)
        if fault == "server error":
            raise HubError(500, "", "Internal Error")
        headers = {"X-Repo-Commit": "" if fault == "no commit" else sha}
        if self.command == "GET" and repository.moves_to is not None:
            repository.commit(repository.moves_to)
            repository.moves_to = None
        oid = hashlib.sha256(content).hexdigest()
        if len(content) < MIN_LARGE:
            headers["ETag"] = f'"{hashlib.sha1(content).hexdigest()}"'
            self._send_file(content, headers, fault)
            return
        self.hub.large[oid] = content
        headers |= {
            "ETag": '"of the redirect"',
            "X-Linked-ETag": f'"{oid}"',
            "X-Linked-Size": "" if fault == "size unknown" else str(len(content)),
            # Another host, like the hub's CDN, so that clients send it no token.
            "Location": f"http://localhost:{self.hub.port}/large/{oid}/{repo_id}/{name}",
        }
        self._send(302, b"", headers)

    def _send_file(self, content, headers, fault):
        """Send a file, as changed by a fault.

        "short": a complete response with fewer bytes than HEAD announced. "size unknown": the same,
        but HEAD announced no size. "closed early": the connection closes half-way, and at once when
        the rest is requested. "changed": all bytes are sent, one of them changed.
        """
        if fault == "changed":
            middle = len(content) // 2
            content = content[:middle] + bytes((content[middle] ^ 1,)) + content[middle + 1 :]
        total = len(content)
        start = 0
        if requested := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = int(requested[1])
            headers = headers | {"Content-Range": f"bytes {start}-{total - 1}/{total}"}
        status = 206 if requested else 200
        if self.command == "HEAD":
            length = "unknown" if fault == "size unknown" else total
            self._send(status, b"", headers, length=length)
        elif fault in ("short", "size unknown"):
            self._send(status, content[: total // 2], headers)
        elif fault == "closed early":
            self._send(status, content[start : total // 2], headers, length=total - start)
        else:
            self._send(status, content[start:], headers)

    def _readable(self, repo_id):
        repository = self.hub.repositories.get(repo_id)
        if self.token == "hf_invalid":
            raise HubError(401, "", "Invalid credentials in Authorization header")
        if repository is None or (
            repository.readers is not None and self.token not in repository.readers
        ):
            raise HubError(404 if self.token else 401, "RepoNotFound", "Repository not found")
        if repository.gated:
            raise HubError(403, "GatedRepo", f"Access to model {repo_id} is restricted")
        return repository

    # --- Writing ------------------------------------------------------------------------------

    def _post(self):
        if self.path == "/api/validate-yaml":
            assert json.loads(self.body)["content"].startswith("---\n")
            self._send_json({"errors": [], "warnings": []})
        elif self.path == "/api/repos/create":
            self._create()
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/(.+)", self.path):
            self._writable(*found.groups())
            self._send_json({"files": [_upload_mode(f) for f in json.loads(self.body)["files"]]})
        elif found := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", self.path):
            self._writable(found[1], "main")
            objects = [
                item | {"actions": {"upload": {"href": f"{self.hub.endpoint}/large/{item['oid']}"}}}
                for item in json.loads(self.body)["objects"]
            ]
            self._send_json({"transfer": "basic", "objects": objects})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/(.+)", self.path):
            self._commit(*found.groups())
        else:
            raise HubError(404, "", "no such page")

    def _create(self):
        wish = json.loads(self.body)
        repo_id = f"{wish['organization']}/{wish['name']}"
        if self.token != "hf_writer":
            raise HubError(401, "", "Invalid username or password.")
        if repo_id in self.hub.repositories:
            raise HubError(
                409, "", "You already created this model repo", f"{self.hub.endpoint}/{repo_id}"
            )
        self.hub.created.append(wish)
        self.hub.add(repo_id, {})
        self._send_json({"url": f"{self.hub.endpoint}/{repo_id}"})

    def _writable(self, repo_id, revision):
        repository = self._readable(repo_id)
        if self.token not in repository.writers:
            raise HubError(403, "", "You don't have the rights to write")
        if revision not in repository.branches:
            raise HubError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repository

    def _store_large(self):
        oid = self.path.removeprefix("/large/")
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise HubError(400, "", "the hash does not match the content")
        self.hub.large[oid] = self.body
        self._send(200)

    def _commit(self, repo_id, revision):
        repository = self._writable(repo_id, revision)
        files = dict(repository.commits[repository.branches[revision]])
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                self.hub.messages.append(value["summary"])
            elif item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            else:
                raise HubError(400, "", f"unknown operation {item['key']}")
        sha = repository.commit(files, branch=revision)
        url = f"{self.hub.endpoint}/{repo_id}/commit/{sha}"
        self._send_json({"success": True, "commitOid": sha, "commitUrl": url})


def _upload_mode(file):
    mode = "lfs" if file["size"] >= MIN_LARGE else "regular"
    return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}
