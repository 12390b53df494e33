"""A DANDI archive on 127.0.0.1, for tests with the real `dandi` client.

Two servers run: the archive, which speaks the part of the REST API that the client calls, and a store
on another port that holds the bytes, as the archive's S3 bucket does. Tests add files, look at what
was asked and sent, and make the store fail in chosen ways.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlencode, urlsplit

SCHEMA_VERSION = "0.7.0"
LONG_AGO = "2024-01-01T00:00:00Z"


@dataclass
class Asset:
    path: str
    blob: str
    identifier: str = field(default_factory=lambda: str(uuid.uuid4()))
    metadata: dict = field(default_factory=dict)


@dataclass
class Dandiset:
    identifier: str
    name: str
    embargoed: bool = False
    versions: dict[str, dict[str, Asset]] = field(default_factory=lambda: {"draft": {}})
    metadata: dict = field(default_factory=dict)


@dataclass
class Faults:
    """How the store misbehaves."""

    cut_after: int | None = None  # close the connection after so many bytes, as often as `cuts` says
    cuts: int = 0
    flip_byte_at: int | None = None  # change this byte of every answer that holds it
    ignore_range: bool = False
    status: int | None = None  # refuse everything with this


@dataclass(frozen=True)
class Request:
    server: str
    method: str
    path: str
    authorization: str
    range: str


class DandiServer:
    """The archive and its store; use as a context manager."""

    def __init__(self, folder: Path, page_size: int = 100) -> None:
        self.folder = Path(folder)
        self.page_size = page_size
        self.dandisets: dict[str, Dandiset] = {}
        self.blobs: dict[str, Path] = {}
        self.embargoed_blobs: set[str] = set()
        self.tokens: set[str] = set()
        self.signatures: dict[str, float] = {}
        self.signature_lifetime = 3600.0
        self.uploads: dict[str, dict] = {}
        self.requests: list[Request] = []
        self.bytes_sent = 0
        self.faults = Faults()
        self.lock = threading.Lock()
        self.archive = self._serve(_Archive)
        self.store = self._serve(_Store)

    def _serve(self, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        server.world = self
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return server

    def __enter__(self) -> DandiServer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for server in (self.archive, self.store):
            server.shutdown()
            server.server_close()

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.archive.server_port}/api"

    @property
    def store_url(self) -> str:
        return f"http://127.0.0.1:{self.store.server_port}"

    # -- what tests put in and look at ---------------------------------------------------------------

    def add_dandiset(self, identifier: str, name: str = "Test set", embargoed: bool = False) -> Dandiset:
        dandiset = Dandiset(identifier, name, embargoed, metadata={"name": name, "identifier": identifier})
        self.dandisets[identifier] = dandiset
        return dandiset

    def add_file(self, dandiset: str, path: str, file: Path, version: str = "draft") -> Asset:
        asset = Asset(path, self._add_blob(Path(file)))
        asset.metadata = {"path": path, "encodingFormat": "application/x-nwb"}
        home = self.dandisets[dandiset]
        home.versions.setdefault(version, {})[asset.identifier] = asset
        if home.embargoed:
            self.embargoed_blobs.add(asset.blob)
        return asset

    def _add_blob(self, file: Path) -> str:
        identifier = str(uuid.uuid4())
        self.blobs[identifier] = file
        return identifier

    def publish(self, dandiset: str, version: str) -> None:
        home = self.dandisets[dandiset]
        home.versions[version] = dict(home.versions["draft"])

    def store_requests(self) -> list[Request]:
        return [r for r in self.requests if r.server == "store"]

    def reset_counters(self) -> None:
        self.requests.clear()
        self.bytes_sent = 0

    # -- answers -------------------------------------------------------------------------------------

    def sign(self, blob: str) -> str:
        """Address of a blob; for an embargoed one, with a signature that expires."""
        url = f"{self.store_url}/blobs/{blob}"
        if blob not in self.embargoed_blobs:
            return url
        signature = secrets.token_hex(8)
        self.signatures[signature] = time.monotonic() + self.signature_lifetime
        return f"{url}?X-Amz-Signature={signature}"

    def asset_metadata(self, asset: Asset) -> dict:
        file = self.blobs[asset.blob]
        digests = {"dandi:dandi-etag": dandi_etag(file), "dandi:sha2-256": sha256(file)}
        addresses = [
            f"{self.api_url}/assets/{asset.identifier}/download/",
            f"{self.store_url}/blobs/{asset.blob}",
        ]
        made = {"contentSize": file.stat().st_size, "digest": digests, "contentUrl": addresses}
        return {**made, "schemaVersion": SCHEMA_VERSION, **asset.metadata, "path": asset.path}

    def asset_row(self, asset: Asset) -> dict:
        size = self.blobs[asset.blob].stat().st_size
        return {
            "asset_id": asset.identifier,
            "blob": asset.blob,
            "zarr": None,
            "path": asset.path,
            "size": size,
            "created": LONG_AGO,
            "modified": LONG_AGO,
        }

    def version_row(self, dandiset: Dandiset, version: str) -> dict:
        assets = dandiset.versions[version].values()
        return {
            "version": version,
            "name": dandiset.name,
            "asset_count": len(assets),
            "size": sum(self.blobs[asset.blob].stat().st_size for asset in assets),
            "status": "Valid" if version == "draft" and len(dandiset.versions) == 1 else "Published",
            "created": LONG_AGO,
            "modified": LONG_AGO,
        }

    def dandiset_row(self, dandiset: Dandiset) -> dict:
        published = sorted(version for version in dandiset.versions if version != "draft")
        return {
            "identifier": dandiset.identifier,
            "created": LONG_AGO,
            "modified": LONG_AGO,
            "contact_person": "Example, Person",
            "embargo_status": "EMBARGOED" if dandiset.embargoed else "OPEN",
            "draft_version": self.version_row(dandiset, "draft"),
            "most_recent_published_version": (
                self.version_row(dandiset, published[-1]) if published else None
            ),
        }

    def info(self) -> dict:
        return {
            "schema_version": SCHEMA_VERSION,
            "schema_url": "http://127.0.0.1/schema.json",
            "version": "0.0.0",
            "cli-minimal-version": "0.60.0",
            "cli-bad-versions": [],
            "services": {"api": {"url": self.api_url}},
        }


def sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def dandi_etag(file: Path) -> str:
    from dandischema.digests.dandietag import DandiETag

    return DandiETag.from_file(file).as_str()


class _Refusal(Exception):
    def __init__(self, status: int, detail: str, **headers: str) -> None:
        self.status, self.detail, self.headers = status, detail, headers


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_name = ""
    routes: ClassVar[list[tuple[str, re.Pattern, Callable]]] = []

    @property
    def world(self) -> DandiServer:
        return self.server.world

    def log_message(self, *arguments: object) -> None:
        pass

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, content: object, status: int = 200, **headers: str) -> None:
        self._answer(status, json.dumps(content).encode(), Content_Type="application/json", **headers)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def handle_any(self) -> None:
        parts = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.sent = self.body() if self.command in ("POST", "PUT") else b""
        authorization = self.headers.get("Authorization", "")
        seen = Request(
            self.server_name, self.command, self.path, authorization, self.headers.get("Range", "")
        )
        self.world.requests.append(seen)
        try:
            for method, pattern, action in self.routes:
                match = pattern.fullmatch(parts.path)
                if match and self.command in (method, "HEAD" if method == "GET" else method):
                    action(self, **match.groupdict())
                    return
            raise _Refusal(404, "Not found.")
        except _Refusal as refusal:
            self.json({"detail": refusal.detail}, refusal.status, **refusal.headers)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any


def _route(routes: list, method: str, path: str) -> Callable:
    """Register an action; `{name}` in the path matches one segment."""
    pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))

    def register(action: Callable) -> Callable:
        routes.append((method, pattern, action))
        return action

    return register


class _Archive(_Handler):
    server_name = "archive"
    routes: ClassVar[list] = []

    def authenticated(self) -> bool:
        return self.headers.get("Authorization", "").removeprefix("token ") in self.world.tokens

    def need_token(self) -> None:
        if not self.authenticated():
            raise _Refusal(401, "Authentication credentials were not provided or are wrong.")

    def dandiset(self, identifier: str) -> Dandiset:
        if identifier not in self.world.dandisets:
            raise _Refusal(404, "Not found.")
        dandiset = self.world.dandisets[identifier]
        if dandiset.embargoed:
            self.need_token()
        return dandiset

    def assets(self, identifier: str, version: str) -> dict[str, Asset]:
        versions = self.dandiset(identifier).versions
        if version not in versions:
            raise _Refusal(404, "Not found.")
        return versions[version]

    def any_asset(self, asset: str) -> Asset:
        for dandiset in self.world.dandisets.values():
            for assets in dandiset.versions.values():
                if asset in assets:
                    return self.dandiset(dandiset.identifier) and assets[asset]
        raise _Refusal(404, "Not found.")

    def page(self, rows: list[dict]) -> None:
        number = int(self.query.get("page", 1))
        size = int(self.query.get("page_size", self.world.page_size))
        following = None
        if number * size < len(rows):
            query = urlencode({**self.query, "page": number + 1})
            following = f"{self.world.api_url}{urlsplit(self.path).path.removeprefix('/api')}?{query}"
        results = rows[(number - 1) * size : number * size]
        self.json({"count": len(rows), "next": following, "previous": None, "results": results})

    def asked(self) -> dict:
        return json.loads(self.sent or b"{}")


@_route(_Archive.routes, "GET", "/api/info/")
def _info(handler: _Archive) -> None:
    handler.json(handler.world.info())


@_route(_Archive.routes, "GET", "/api/auth/token/?")
def _token(handler: _Archive) -> None:
    handler.need_token()
    handler.json("ok")


@_route(_Archive.routes, "GET", "/api/dandisets/")
def _dandisets(handler: _Archive) -> None:
    handler.page([handler.world.dandiset_row(d) for d in handler.world.dandisets.values() if not d.embargoed])


@_route(_Archive.routes, "GET", "/api/dandisets/{identifier}/")
def _dandiset(handler: _Archive, identifier: str) -> None:
    handler.json(handler.world.dandiset_row(handler.dandiset(identifier)))


@_route(_Archive.routes, "GET", "/api/dandisets/{identifier}/versions/")
def _versions(handler: _Archive, identifier: str) -> None:
    dandiset = handler.dandiset(identifier)
    handler.page([handler.world.version_row(dandiset, version) for version in dandiset.versions])


@_route(_Archive.routes, "GET", "/api/dandisets/{identifier}/versions/{version}/")
def _version(handler: _Archive, identifier: str, version: str) -> None:
    handler.assets(identifier, version)
    handler.json({**handler.dandiset(identifier).metadata, "version": version})


@_route(_Archive.routes, "PUT", "/api/dandisets/{identifier}/versions/{version}/")
def _set_metadata(handler: _Archive, identifier: str, version: str) -> None:
    handler.need_token()
    handler.dandiset(identifier).metadata.update(handler.asked()["metadata"])
    _version_info(handler, identifier, version)


@_route(_Archive.routes, "GET", "/api/dandisets/{identifier}/versions/{version}/info/")
def _version_info(handler: _Archive, identifier: str, version: str) -> None:
    handler.assets(identifier, version)
    row = handler.world.version_row(handler.dandiset(identifier), version)
    handler.json({**row, "asset_validation_errors": [], "version_validation_errors": []})


@_route(_Archive.routes, "POST", "/api/dandisets/{identifier}/versions/draft/publish/")
def _publish(handler: _Archive, identifier: str) -> None:
    handler.need_token()
    handler.world.publish(identifier, f"0.{240101 + len(handler.dandiset(identifier).versions)}.0000")
    handler.json({}, 202)


def _matches(query: dict[str, str], path: str) -> bool:
    """The archive's rules: `path` is a prefix; in `glob` a star matches any characters, slashes too."""
    pattern = re.escape(query.get("glob", "*")).replace(r"\*", ".*")
    return path.startswith(query.get("path", "")) and bool(re.fullmatch(pattern, path, flags=re.I))


@_route(_Archive.routes, "GET", "/api/dandisets/{identifier}/versions/{version}/assets/")
def _assets(handler: _Archive, identifier: str, version: str) -> None:
    assets = sorted(handler.assets(identifier, version).values(), key=lambda asset: asset.path)
    handler.page([handler.world.asset_row(a) for a in assets if _matches(handler.query, a.path)])


@_route(_Archive.routes, "GET", "/api/dandisets/{identifier}/versions/{version}/assets/{asset}/")
@_route(_Archive.routes, "GET", "/api/assets/{asset}/")
def _asset(handler: _Archive, asset: str, identifier: str = "", version: str = "") -> None:
    handler.json(handler.world.asset_metadata(handler.any_asset(asset)))


@_route(_Archive.routes, "GET", "/api/dandisets/{identifier}/versions/{version}/assets/{asset}/info/")
@_route(_Archive.routes, "GET", "/api/assets/{asset}/info/")
def _asset_info(handler: _Archive, asset: str, identifier: str = "", version: str = "") -> None:
    found = handler.any_asset(asset)
    handler.json({**handler.world.asset_row(found), "metadata": handler.world.asset_metadata(found)})


@_route(_Archive.routes, "GET", "/api/dandisets/{identifier}/versions/{version}/assets/{asset}/download/")
@_route(_Archive.routes, "GET", "/api/assets/{asset}/download/")
def _download(handler: _Archive, asset: str, identifier: str = "", version: str = "") -> None:
    handler._answer(302, Location=handler.world.sign(handler.any_asset(asset).blob))


@_route(_Archive.routes, "POST", "/api/uploads/initialize/")
def _upload_start(handler: _Archive) -> None:
    from dandischema.digests.dandietag import PartGenerator

    handler.need_token()
    asked, world = handler.asked(), handler.world
    etag = asked["digest"]["value"]
    for blob, file in world.blobs.items():
        if dandi_etag(file) == etag:
            raise _Refusal(409, "Blob already exists.", Location=blob)
    upload = str(uuid.uuid4())
    world.uploads[upload] = {"etag": etag, "parts": {}}
    parts = [
        {
            "part_number": p.number,
            "size": p.size,
            "upload_url": f"{world.store_url}/parts/{upload}/{p.number}",
        }
        for p in PartGenerator.for_file_size(asked["contentSize"])
    ]
    handler.json({"upload_id": upload, "parts": parts})


@_route(_Archive.routes, "POST", "/api/uploads/{upload}/complete/")
def _upload_complete(handler: _Archive, upload: str) -> None:
    handler.need_token()
    handler.json({"complete_url": f"{handler.world.store_url}/complete/{upload}", "body": "<parts/>"})


@_route(_Archive.routes, "POST", "/api/uploads/{upload}/validate/")
def _upload_validate(handler: _Archive, upload: str) -> None:
    handler.need_token()
    found = handler.world.uploads[upload]
    handler.json({"blob_id": found["blob"], "etag": found["etag"], "sha256": None, "size": 0})


def _asset_from(handler: _Archive, identifier: str) -> Asset:
    handler.need_token()
    asked = handler.asked()
    asset = Asset(asked["metadata"]["path"], asked["blob_id"], metadata=asked["metadata"])
    handler.dandiset(identifier).versions["draft"][asset.identifier] = asset
    return asset


@_route(_Archive.routes, "POST", "/api/dandisets/{identifier}/versions/draft/assets/")
def _add_asset(handler: _Archive, identifier: str) -> None:
    handler.json(handler.world.asset_row(_asset_from(handler, identifier)))


@_route(_Archive.routes, "PUT", "/api/dandisets/{identifier}/versions/draft/assets/{asset}/")
def _replace_asset(handler: _Archive, identifier: str, asset: str) -> None:
    made = _asset_from(handler, identifier)
    del handler.dandiset(identifier).versions["draft"][asset]
    handler.json(handler.world.asset_row(made))


class _Store(_Handler):
    """Bytes by range, as an S3 bucket gives them."""

    server_name = "store"
    routes: ClassVar[list] = []

    def send_bytes(self, file: Path, start: int, stop: int) -> None:
        faults, world = self.world.faults, self.world
        allowed = stop - start
        if faults.cuts > 0 and faults.cut_after is not None and allowed > faults.cut_after:
            faults.cuts -= 1
            allowed = faults.cut_after
            self.close_connection = True
        with open(file, "rb") as stream:
            stream.seek(start)
            while allowed > 0:
                block = bytearray(stream.read(min(allowed, 1 << 16)))
                at = stream.tell() - len(block)
                if faults.flip_byte_at is not None and at <= faults.flip_byte_at < at + len(block):
                    block[faults.flip_byte_at - at] ^= 0xFF
                self.wfile.write(block)
                allowed -= len(block)
                with world.lock:
                    world.bytes_sent += len(block)


@_route(_Store.routes, "GET", "/blobs/{blob}")
def _blob(handler: _Store, blob: str) -> None:
    world = handler.world
    if world.faults.status is not None:
        raise _Refusal(world.faults.status, "Refused")
    if blob not in world.blobs:
        raise _Refusal(404, "No such key")
    if blob in world.embargoed_blobs:
        expires = world.signatures.get(handler.query.get("X-Amz-Signature", ""), 0.0)
        if time.monotonic() >= expires:
            raise _Refusal(403, "Signature missing, wrong or expired")
    file = world.blobs[blob]
    size = file.stat().st_size
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
    if asked is None or world.faults.ignore_range:
        start, stop = 0, size
        handler.send_response(200)
    else:
        start, stop = int(asked[1]), min(int(asked[2]) + 1 if asked[2] else size, size)
        if start >= size:
            raise _Refusal(416, "Range not satisfiable")
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
    handler.send_header("Accept-Ranges", "bytes")
    handler.send_header("Content-Length", str(stop - start))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.send_bytes(file, start, stop)


@_route(_Store.routes, "PUT", "/parts/{upload}/{number}")
def _part(handler: _Store, upload: str, number: str) -> None:
    handler.world.uploads[upload]["parts"][int(number)] = handler.sent
    handler._answer(200, ETag=f'"{hashlib.md5(handler.sent).hexdigest()}"')


@_route(_Store.routes, "POST", "/complete/{upload}")
def _complete(handler: _Store, upload: str) -> None:
    found = handler.world.uploads[upload]
    file = handler.world.folder / f"{upload}.blob"
    file.write_bytes(b"".join(found["parts"][number] for number in sorted(found["parts"])))
    found["blob"] = handler.world._add_blob(file)
    handler._answer(200, f'<Result><ETag>"{dandi_etag(file)}"</ETag></Result>'.encode())
