"""Where the bytes of a DANDI asset are, for reading only the ranges that are needed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urljoin, urlsplit

from nwb_rnn.errors import SourceError
from nwb_rnn.sources.dandi_address import printable

if TYPE_CHECKING:
    from dandi.dandiapi import BaseRemoteAsset

_UNSTATED = 600.0  # s that a signed address is used for when it does not say how long it lasts
_LONGEST = 1800.0


class AssetBytes:
    """The address of an asset's bytes, asked for anew before its signature runs out.

    remfile calls `get_url` before each read. The archive answers a download with a redirect to its
    store; for an embargoed set that address carries a signature, so it is never shown.
    """

    def __init__(self, asset: BaseRemoteAsset) -> None:
        self._asset = asset
        self._url = ""
        self._renew_at = 0.0

    def get_url(self) -> str:
        """The address to read from now."""
        if time.monotonic() >= self._renew_at:
            self._url = self._resolved()
            self._renew_at = time.monotonic() + _lifetime(self._url)
        return self._url

    def _resolved(self) -> str:
        client, start = self._asset.client, self._asset.base_download_url
        try:
            answer = client.request("HEAD", start, json_resp=False, allow_redirects=False)
            return urljoin(start, answer.headers.get("Location", start))
        finally:
            client.session.close()  # drops idle connections; the client stays usable

    def __repr__(self) -> str:
        return f"AssetBytes(asset={self._asset.identifier})"


def _lifetime(url: str) -> float:
    """Seconds for which to use an address: for ever without a signature, else half of what it states."""
    query = parse_qs(urlsplit(url).query)
    if not query:
        return float("inf")
    stated = query.get("X-Amz-Expires", [""])[0]
    return min(float(stated) / 2, _LONGEST) if stated.isdigit() else _UNSTATED


class AssetUrl(str):
    """The public web address of an asset, which knows how its bytes are reached.

    Text for everyone, `signed` and `size` (bytes) for remfile: so a signal that is read later, on demand,
    opens its source again with an address that is still valid.
    """

    signed: AssetBytes
    size: int

    def __new__(cls, asset: BaseRemoteAsset) -> AssetUrl:
        """The address under which the archive offers the asset for download."""
        if asset.asset_type.name != "BLOB":
            raise SourceError(
                f"{printable(asset.path)!r} is a Zarr folder, which cannot be streamed from an archive; "
                "fetch it with `dandi download` and read the folder"
            )
        address = super().__new__(cls, asset.base_download_url)
        address.signed, address.size = AssetBytes(asset), asset.size
        return address

    def __str__(self) -> str:
        return self
