"""A stand-in of the Hugging Face hub: an HTTP server with the few endpoints that huggingface_hub asks for models."""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


class Hub:
    """Repositories in memory.

    Attributes:
      url: what HF_ENDPOINT is to be.
      gated: repositories whose files nobody gets.
      requests: 'METHOD path' of everything that was asked.
    """

    def __init__(self):
        self._commits = {}  # repository -> commit -> {file: content}
        self._branches = {}  # repository -> revision -> commit
        self.gated = set()
        self.requests = []
        self.url = ""

    def push(self, repository, files, *, branch="main"):
        """A new commit with exactly these files, {name: bytes}; returns its 40 digits."""
        content = repr(sorted((name, hashlib.sha256(data).hexdigest()) for name, data in files.items()))
        commit = hashlib.sha1(content.encode()).hexdigest()
        self._commits.setdefault(repository, {})[commit] = files
        self._branches.setdefault(repository, {})[branch] = commit
        return commit

    def answer(self, path):
        """(status, headers, body) of a request."""
        parts = urlsplit(path)
        names = unquote(parts.path).strip("/").split("/")
        if names[:2] == ["api", "models"] and len(names) == 2:
            word = parse_qs(parts.query)["search"][0]
            found = [name for name in self._commits if word in name]
            return 200, {}, json.dumps([{"id": name} for name in found]).encode()
        if names[:2] == ["api", "models"]:
            repository, rest = "/".join(names[2:4]), names[4:]
            revision = "/".join(rest[1:]) or "main"
        elif "resolve" not in names[2:3]:
            return 404, {}, b""
        else:
            repository, revision, file = "/".join(names[:2]), names[3], "/".join(names[4:])
        if repository not in self._commits:
            return 401, {"X-Error-Code": "RepoNotFound"}, b""
        commit = self._branches[repository].get(revision, revision)
        if commit not in self._commits[repository]:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        files = self._commits[repository][commit]
        if names[0] == "api":
            document = {"id": repository, "sha": commit, "siblings": [{"rfilename": name} for name in files]}
            return 200, {}, json.dumps(document).encode()
        if repository in self.gated:
            return 403, {"X-Error-Code": "GatedRepo"}, b""
        if file not in files:
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}, b""
        etag = hashlib.sha256(files[file]).hexdigest()  # that of large files
        return 200, {"ETag": f'"{etag}"', "X-Repo-Commit": commit}, files[file]


@contextmanager
def serve():
    """A `Hub` that answers until the end of the block."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            hub.requests.append(f"{self.command} {self.path}")
            status, headers, body = hub.answer(self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
