"""What the two servers of the DANDI archive for tests answer: the REST API, and a store of bytes."""

from __future__ import annotations

import hashlib
import json
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import parse_qs, urlencode, urlsplit

if TYPE_CHECKING:
    from dandi_server import Asset, DandiServer, Dandiset


def sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def dandi_etag(file: Path) -> str:
    from dandischema.digests.dandietag import DandiETag

    return DandiETag.from_file(file).as_str()


@dataclass(frozen=True)
class Request:
    server: str
    method: str
    path: str
    authorization: str
    range: str


class Refusal(Exception):
    def __init__(self, status: int, detail: str, **headers: str) -> None:
        self.status, self.detail, self.headers = status, detail, headers


class Handler(BaseHTTPRequestHandler):
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
        if self.world.faults.silent_archive and parts.path not in ("/server-info", "/api/info/"):
            self.world.closing.wait()
        try:
            for method, pattern, action in self.routes:
                match = pattern.fullmatch(parts.path)
                if match and self.command in (method, "HEAD" if method == "GET" else method):
                    action(self, **match.groupdict())
                    return
            raise Refusal(404, "Not found.")
        except Refusal as refusal:
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


class Archive(Handler):
    server_name = "archive"
    routes: ClassVar[list] = []

    def token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("token ")

    def authenticated(self) -> bool:
        return self.token() in self.world.tokens | self.world.readers

    def need_token(self) -> None:
        if not self.authenticated():
            raise Refusal(401, "Authentication credentials were not provided or are wrong.")

    def need_owner(self) -> None:
        self.need_token()
        if self.token() in self.world.readers:
            raise Refusal(403, "You do not have permission to perform this action.")

    def dandiset(self, identifier: str) -> Dandiset:
        if identifier not in self.world.dandisets:
            raise Refusal(404, "Not found.")
        dandiset = self.world.dandisets[identifier]
        if dandiset.embargoed:
            self.need_token()
        return dandiset

    def assets(self, identifier: str, version: str) -> dict[str, Asset]:
        versions = self.dandiset(identifier).versions
        if version not in versions:
            raise Refusal(404, "Not found.")
        return versions[version]

    def any_asset(self, asset: str) -> Asset:
        for dandiset in self.world.dandisets.values():
            for assets in dandiset.versions.values():
                if asset in assets:
                    return self.dandiset(dandiset.identifier) and assets[asset]
        raise Refusal(404, "Not found.")

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


@_route(Archive.routes, "GET", "/api/info/")
def _info(handler: Archive) -> None:
    handler.json(handler.world.info())


@_route(Archive.routes, "GET", "/api/auth/token/?")
def _token(handler: Archive) -> None:
    handler.need_token()
    handler.json("ok")


@_route(Archive.routes, "GET", "/api/dandisets/")
def _dandisets(handler: Archive) -> None:
    handler.page([handler.world.dandiset_row(d) for d in handler.world.dandisets.values() if not d.embargoed])


@_route(Archive.routes, "GET", "/api/dandisets/{identifier}/")
def _dandiset(handler: Archive, identifier: str) -> None:
    handler.json(handler.world.dandiset_row(handler.dandiset(identifier)))


@_route(Archive.routes, "GET", "/api/dandisets/{identifier}/versions/")
def _versions(handler: Archive, identifier: str) -> None:
    dandiset = handler.dandiset(identifier)
    handler.page([handler.world.version_row(dandiset, version) for version in dandiset.versions])


@_route(Archive.routes, "GET", "/api/dandisets/{identifier}/versions/{version}/")
def _version(handler: Archive, identifier: str, version: str) -> None:
    handler.assets(identifier, version)
    handler.json({**handler.dandiset(identifier).metadata, "version": version})


@_route(Archive.routes, "PUT", "/api/dandisets/{identifier}/versions/{version}/")
def _set_metadata(handler: Archive, identifier: str, version: str) -> None:
    handler.need_token()
    handler.dandiset(identifier).metadata.update(handler.asked()["metadata"])
    _version_info(handler, identifier, version)


@_route(Archive.routes, "GET", "/api/dandisets/{identifier}/versions/{version}/info/")
def _version_info(handler: Archive, identifier: str, version: str) -> None:
    handler.assets(identifier, version)
    row = handler.world.version_row(handler.dandiset(identifier), version)
    handler.json({**row, "asset_validation_errors": [], "version_validation_errors": []})


@_route(Archive.routes, "POST", "/api/dandisets/{identifier}/versions/draft/publish/")
def _publish(handler: Archive, identifier: str) -> None:
    handler.need_token()
    handler.world.publish(identifier, f"0.{240101 + len(handler.dandiset(identifier).versions)}.0000")
    handler.json({}, 202)


def _matches(query: dict[str, str], path: str) -> bool:
    """The archive's rules: `path` is a prefix; in `glob` a star matches any characters, slashes too."""
    pattern = re.escape(query.get("glob", "*")).replace(r"\*", ".*")
    return path.startswith(query.get("path", "")) and bool(re.fullmatch(pattern, path, flags=re.I))


@_route(Archive.routes, "GET", "/api/dandisets/{identifier}/versions/{version}/assets/")
def _assets(handler: Archive, identifier: str, version: str) -> None:
    assets = sorted(handler.assets(identifier, version).values(), key=lambda asset: asset.path)
    handler.page([handler.world.asset_row(a) for a in assets if _matches(handler.query, a.path)])


@_route(Archive.routes, "GET", "/api/dandisets/{identifier}/versions/{version}/assets/{asset}/")
@_route(Archive.routes, "GET", "/api/assets/{asset}/")
def _asset(handler: Archive, asset: str, identifier: str = "", version: str = "") -> None:
    handler.json(handler.world.asset_metadata(handler.any_asset(asset)))


@_route(Archive.routes, "GET", "/api/dandisets/{identifier}/versions/{version}/assets/{asset}/info/")
@_route(Archive.routes, "GET", "/api/assets/{asset}/info/")
def _asset_info(handler: Archive, asset: str, identifier: str = "", version: str = "") -> None:
    found = handler.any_asset(asset)
    handler.json({**handler.world.asset_row(found), "metadata": handler.world.asset_metadata(found)})


@_route(Archive.routes, "GET", "/api/dandisets/{identifier}/versions/{version}/assets/{asset}/download/")
@_route(Archive.routes, "GET", "/api/assets/{asset}/download/")
def _download(handler: Archive, asset: str, identifier: str = "", version: str = "") -> None:
    handler._answer(302, Location=handler.world.sign(handler.any_asset(asset).blob))


@_route(Archive.routes, "POST", "/api/uploads/initialize/")
def _upload_start(handler: Archive) -> None:
    from dandischema.digests.dandietag import PartGenerator

    handler.need_owner()
    asked, world = handler.asked(), handler.world
    etag = asked["digest"]["value"]
    for blob, file in world.blobs.items():
        if dandi_etag(file) == etag:
            raise Refusal(409, "Blob already exists.", Location=blob)
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


@_route(Archive.routes, "POST", "/api/uploads/{upload}/complete/")
def _upload_complete(handler: Archive, upload: str) -> None:
    handler.need_token()
    handler.json({"complete_url": f"{handler.world.store_url}/complete/{upload}", "body": "<parts/>"})


@_route(Archive.routes, "POST", "/api/uploads/{upload}/validate/")
def _upload_validate(handler: Archive, upload: str) -> None:
    handler.need_token()
    found = handler.world.uploads[upload]
    handler.json({"blob_id": found["blob"], "etag": found["etag"], "sha256": None, "size": 0})


def _asset_from(handler: Archive, identifier: str) -> Asset:
    handler.need_owner()
    if handler.world.faults.refuse_assets > 0:
        handler.world.faults.refuse_assets -= 1
        raise Refusal(400, "Not now.")
    asked = handler.asked()
    return handler.world.add_asset(handler.dandiset(identifier), asked["metadata"], asked["blob_id"])


@_route(Archive.routes, "POST", "/api/dandisets/{identifier}/versions/draft/assets/")
def _add_asset(handler: Archive, identifier: str) -> None:
    handler.json(handler.world.asset_row(_asset_from(handler, identifier)))


@_route(Archive.routes, "PUT", "/api/dandisets/{identifier}/versions/draft/assets/{asset}/")
def _replace_asset(handler: Archive, identifier: str, asset: str) -> None:
    made = _asset_from(handler, identifier)
    del handler.dandiset(identifier).versions["draft"][asset]
    handler.json(handler.world.asset_row(made))


class Store(Handler):
    """Bytes by range, as an S3 bucket gives them."""

    server_name = "store"
    routes: ClassVar[list] = []

    def send_bytes(self, file: Path, start: int, stop: int) -> None:
        faults, world = self.world.faults, self.world
        allowed = stop - start
        stalls = False
        if faults.cuts > 0 and faults.cut_after is not None and allowed > faults.cut_after:
            faults.cuts -= 1
            allowed, stalls = faults.cut_after, faults.stall
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
        if stalls:
            world.closing.wait()


@_route(Store.routes, "GET", "/blobs/{blob}")
def _blob(handler: Store, blob: str) -> None:
    world = handler.world
    if world.faults.status is not None:
        raise Refusal(world.faults.status, "Refused")
    if blob not in world.blobs:
        raise Refusal(404, "No such key")
    if blob in world.embargoed_blobs:
        expires = world.signatures.get(handler.query.get("X-Amz-Signature", ""), 0.0)
        if time.monotonic() >= expires:
            raise Refusal(403, "Signature missing, wrong or expired")
    file = world.blobs[blob]
    size = file.stat().st_size
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
    if asked is None or world.faults.ignore_range:
        start, stop = 0, size
        handler.send_response(200)
    else:
        start, stop = int(asked[1]), min(int(asked[2]) + 1 if asked[2] else size, size)
        if start >= size:
            raise Refusal(416, "Range not satisfiable")
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
    handler.send_header("Accept-Ranges", "bytes")
    handler.send_header("Content-Length", str(stop - start))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.send_bytes(file, start, stop)


@_route(Store.routes, "PUT", "/parts/{upload}/{number}")
def _part(handler: Store, upload: str, number: str) -> None:
    faults = handler.world.faults
    if faults.refuse_parts > 0:
        faults.refuse_parts -= 1
        raise Refusal(403, "Refused")
    if faults.spoil_parts:
        handler.sent = bytes(len(handler.sent))
    handler.world.bytes_received += len(handler.sent)
    handler.world.uploads[upload]["parts"][int(number)] = handler.sent
    handler._answer(200, ETag=f'"{hashlib.md5(handler.sent).hexdigest()}"')


@_route(Store.routes, "POST", "/complete/{upload}")
def _complete(handler: Store, upload: str) -> None:
    found = handler.world.uploads[upload]
    file = handler.world.folder / f"{upload}.blob"
    file.write_bytes(b"".join(found["parts"][number] for number in sorted(found["parts"])))
    found["blob"] = handler.world.add_blob(file)
    handler._answer(200, f'<Result><ETag>"{dandi_etag(file)}"</ETag></Result>'.encode())
