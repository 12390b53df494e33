"""A small HTTP server on loopback that serves files by byte ranges and counts what it sends."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from loopback import no_collection


class RangeServer(ThreadingHTTPServer):
    """Serves the files of one folder; `sent` is the number of bytes of files sent so far.

    So many answers as `stalls` says stop in their middle, with the connection left open.
    """

    daemon_threads = True

    def __init__(self, folder: Path, ranges: bool = True, status: int = 0):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.ranges, self.status = folder, ranges, status
        self.sent, self.stalls = 0, 0
        self.lock, self.closing = threading.Lock(), threading.Event()

    def address(self, name: str) -> str:
        """The address of a file of the folder."""
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RangeServer

    def do_HEAD(self):
        self.respond(body=False)

    def do_GET(self):
        self.respond(body=True)

    def respond(self, body: bool) -> None:
        path = self.server.folder / self.path.lstrip("/").partition("?")[0]
        if self.server.status or not path.is_file():
            self.send_error(self.server.status or 404)
            return
        size = path.stat().st_size
        first, last, status = self.asked(size)
        self.send_response(status)
        self.send_header("Content-Length", str(last - first + 1))
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.end_headers()
        if body:
            self.send_part(path, first, last)

    def asked(self, size: int) -> tuple[int, int, int]:
        """First and last byte, and the status that goes with them."""
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not found or not self.server.ranges:
            return 0, size - 1, 200
        return int(found[1]), min(int(found[2] or size - 1), size - 1), 206

    def send_part(self, path: Path, first: int, last: int) -> None:
        with path.open("rb") as file:
            file.seek(first)
            left = last - first + 1
            while left > 0:
                if self.server.stalls > 0 and left > 1:
                    self.server.stalls -= 1
                    self.wfile.write(file.read(left // 2))
                    self.server.closing.wait()
                    self.close_connection = True
                    return
                piece = file.read(min(left, 1 << 16))
                try:
                    self.wfile.write(piece)
                except OSError:
                    return
                left -= len(piece)
                with self.server.lock:
                    self.server.sent += len(piece)

    def log_message(self, *arguments) -> None:
        pass


@contextmanager
def serving(folder: Path, **options):
    """A server that runs while the block does."""
    with no_collection(), RangeServer(folder, **options) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()
