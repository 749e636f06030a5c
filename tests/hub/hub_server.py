"""A hub of our own on loopback: Hugging Face's and ModelScope's protocol, and what can go wrong.

Big files ("lfs") are redirected to a second server, as the real hub does; each file may have a list
of faults, one for each request that comes for it.
"""

import hashlib
import http.server
import json
import ssl
import threading
import urllib.parse


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Hub:
    """`with Hub({"org/name": {"config.json": b"..."}}) as hub:` then hub.url."""

    def __init__(self, models, token=None, certificate=None):
        self.models = models
        self.token = token  # needed by every request, if there is one
        self.commits = {name: hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
                        for name, files in models.items()}
        self.lfs = lambda path: path.endswith(".safetensors")
        self.faults = {}  # path: ["cut", "503", ...], taken from the front
        self.listing_faults = []
        self.asked = []  # (server, path, headers)
        self.lock = threading.Lock()
        self.certificate = certificate  # (certificate, key): the home speaks TLS, as "localhost"

    def __enter__(self):
        self.home = self._serve("home")
        self.store = self._serve("store")
        home = "https://localhost" if self.certificate else "http://127.0.0.1"
        self.url = f"{home}:{self.home.server_port}"
        self.store_url = f"http://127.0.0.1:{self.store.server_port}"
        return self

    def __exit__(self, *_):
        for server in (self.home, self.store):
            server.shutdown()
            server.server_close()

    def ranges(self, path):
        return [headers.get("Range") for where, asked, headers in self.asked
                if where == ("store" if self.lfs(path) else "home") and asked.endswith(path)]

    def _serve(self, name):
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_HEAD(self):
                self.do_GET()

            def do_GET(self):
                with hub.lock:
                    hub.asked.append((name, urllib.parse.unquote(self.path), dict(self.headers)))
                hub.answer(self, name)

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        if name == "home" and self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server

    # --- Answers ---

    def answer(self, to, name):
        path, _, query = to.path.partition("?")
        path = urllib.parse.unquote(path)
        values = {key: value[0] for key, value in urllib.parse.parse_qs(query).items()}
        if name == "store":
            repository, file = path[1:].split("/-/")
            return self.send_file(to, repository, file)
        if self.token and to.headers.get("Authorization") != f"Bearer {self.token}":
            return self.send(to, 401, b"{}", {"X-Error-Message": "Access to this is restricted."})
        for repository in self.models:
            if path == f"/api/v1/models/{repository}/repo/files":
                return self.list_model_scope(to, repository)
            if path == f"/api/v1/models/{repository}/repo":
                return self.send_file(to, repository, values["FilePath"])
            if path.startswith(f"/api/models/{repository}/revision/") or \
                    path == f"/api/models/{repository}":
                return self.list_hugging_face(to, repository)
            if path.startswith(f"/api/models/{repository}/tree/"):
                return self.list_tree(to, repository)
            head = f"/{repository}/resolve/"
            if path.startswith(head):
                file = path[len(head):].split("/", 1)[1]
                return self.resolve(to, repository, file)
        self.send(to, 404, b"{}", {"X-Error-Code": "RepoNotFound",
                                   "X-Error-Message": "Repository not found"})

    def list_hugging_face(self, to, repository):
        if self.listing_faults:
            return self.fault(to, self.listing_faults.pop(0), b"")
        siblings = []
        for path, data in self.models[repository].items():
            entry = {"rfilename": path, "size": len(data), "blobId": git_sha1(data)}
            if self.lfs(path):
                entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data),
                                "pointerSize": 130}
            siblings.append(entry)
        self.send(to, 200, json.dumps({"id": repository, "sha": self.commits[repository],
                                       "siblings": siblings}).encode())

    def list_tree(self, to, repository):
        entries = []
        for path, data in self.models[repository].items():
            entry = {"type": "file", "path": path, "size": len(data), "oid": git_sha1(data)}
            if self.lfs(path):
                entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data),
                                "pointerSize": 130}
            entries.append(entry)
        self.send(to, 200, json.dumps(entries).encode())

    def list_model_scope(self, to, repository):
        files = [{"Path": path, "Name": path, "Type": "blob", "Size": len(data),
                  "Sha256": hashlib.sha256(data).hexdigest()}
                 for path, data in self.models[repository].items()]
        self.send(to, 200, json.dumps({"Code": 200, "Data": {"Files": files}}).encode())

    def resolve(self, to, repository, file):
        data = self.models[repository].get(file)
        if data is None:
            return self.send(to, 404, b"", {"X-Error-Code": "EntryNotFound"})
        headers = {"X-Repo-Commit": self.commits[repository], "ETag": f'"{git_sha1(data)}"'}
        if not self.lfs(file):
            return self.send_file(to, repository, file, headers)
        headers |= {"X-Linked-Etag": f'"{hashlib.sha256(data).hexdigest()}"',
                    "X-Linked-Size": str(len(data)),
                    "Location": f"{self.store_url}/{repository}/-/{file}"}
        self.send(to, 302, b"", headers)

    def send_file(self, to, repository, file, headers=None):
        data = self.models[repository][file]
        with self.lock:
            faults = self.faults.get(file)
            fault = faults.pop(0) if faults else None
        if fault:
            return self.fault(to, fault, data)
        first = 0
        if asked := to.headers.get("Range"):
            first = int(asked.removeprefix("bytes=").rstrip("-").split("-")[0])
            if first >= len(data):
                return self.send(to, 416, b"", {"Content-Range": f"bytes */{len(data)}"})
            headers = (headers or {}) | {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"}
        self.send(to, 206 if asked else 200, data[first:], headers)

    def fault(self, to, fault, data):
        if fault == "cut":  # half of what was asked for, and the line is dead
            first = int((to.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
            rest = data[first:]
            status = 206 if first else 200
            to.send_response(status)
            to.send_header("Content-Length", str(len(rest)))
            if first:
                to.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
            to.end_headers()
            to.wfile.write(rest[:max(1, len(rest) // 2)])
            to.close_connection = True
        elif fault == "drop":  # not even a head
            to.close_connection = True
        elif fault == "corrupt":
            self.send(to, 200, bytes([data[0] ^ 1]) + data[1:])
        elif fault == "longer":
            self.send(to, 200, data + b"x")
        elif fault == "shorter":
            self.send(to, 200, data[:-1])
        elif fault == "all":  # whatever part was asked for
            self.send(to, 200, data)
        elif fault == "other part":
            self.send(to, 206, data[1:], {"Content-Range": f"bytes 1-{len(data) - 1}/{len(data)}"})
        elif fault == "loop":
            self.send(to, 302, b"", {"Location": to.path})
        elif fault == "html":
            self.send(to, 200, b"<html>please log in</html>")
        elif fault.startswith("429"):
            self.send(to, 429, b"", {"Retry-After": fault.partition(" ")[2] or "1"})
        else:
            self.send(to, int(fault), b"")

    def send(self, to, status, body, headers=None):
        to.send_response(status)
        for name, value in (headers or {}).items():
            to.send_header(name, value)
        to.send_header("Content-Length", str(len(body)))
        to.end_headers()
        if to.command != "HEAD":
            try:
                to.wfile.write(body)
            except ConnectionError:
                pass
