"""A DANDI archive on 127.0.0.1, for tests with the real `dandi` client.

Two servers run: the archive, which speaks the part of the REST API that the client calls, and a store
on another port that holds the bytes, as the archive's S3 bucket does. Tests add files, look at what
was asked and sent, and make the store fail in chosen ways.
"""

from __future__ import annotations

import secrets
import threading
import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from dandi_http import Archive, Request, Store, dandi_etag, sha256
from loopback import no_collection

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
    """How the store, and once the archive, misbehave."""

    cut_after: int | None = None  # close the connection after so many bytes, as often as `cuts` says
    cuts: int = 0
    stall: bool = False  # fall silent there, the connection left open, instead of closing it
    silent_archive: bool = False  # the archive says that it is there, and then never answers
    flip_byte_at: int | None = None  # change this byte of every answer that holds it
    ignore_range: bool = False
    status: int | None = None  # refuse everything with this
    refuse_parts: int = 0  # refuse so many parts of uploads
    spoil_parts: bool = False  # store other bytes than were sent
    refuse_assets: int = 0  # take the bytes, and refuse so often to make an asset of them


class DandiServer:
    """The archive and its store; use as a context manager."""

    def __init__(self, folder: Path, page_size: int = 100) -> None:
        self.folder = Path(folder)
        self.page_size = page_size
        self.dandisets: dict[str, Dandiset] = {}
        self.blobs: dict[str, Path] = {}
        self.embargoed_blobs: set[str] = set()
        self.tokens: set[str] = set()
        self.readers: set[str] = set()  # tokens of users who own no dandiset
        self.signatures: dict[str, float] = {}
        self.signature_lifetime = 3600.0
        self.uploads: dict[str, dict] = {}
        self.requests: list[Request] = []
        self.bytes_sent = 0
        self.bytes_received = 0
        self.faults = Faults()
        self.lock = threading.Lock()
        self.closing = threading.Event()

    def __enter__(self) -> DandiServer:
        with ExitStack() as stack:
            stack.enter_context(no_collection())
            self.archive = self._serve(Archive, stack)
            self.store = self._serve(Store, stack)
            stack.callback(self.closing.set)
            self.running = stack.pop_all()
        return self

    def _serve(self, handler: type[BaseHTTPRequestHandler], stack: ExitStack) -> ThreadingHTTPServer:
        server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        server.daemon_threads = True
        server.world = self
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        stack.callback(server.shutdown)
        return server

    def __exit__(self, *exc_info: object) -> None:
        self.running.__exit__(*exc_info)

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
        asset = Asset(path, self.add_blob(Path(file)))
        asset.metadata = {"path": path, "encodingFormat": "application/x-nwb"}
        home = self.dandisets[dandiset]
        home.versions.setdefault(version, {})[asset.identifier] = asset
        if home.embargoed:
            self.embargoed_blobs.add(asset.blob)
        return asset

    def add_asset(self, dandiset: Dandiset, metadata: dict, blob: str) -> Asset:
        """An asset made by an upload."""
        asset = Asset(metadata["path"], blob, metadata=metadata)
        dandiset.versions["draft"][asset.identifier] = asset
        return asset

    def add_blob(self, file: Path) -> str:
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
        self.bytes_sent = self.bytes_received = 0

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
