"""Addresses of recordings on a DANDI archive, as text; nothing here touches the network."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from urllib.parse import parse_qs, unquote, urlsplit

from nwb_rnn.errors import InputError

_VERSION = r"\d+\.\d+\.\d+|draft"
_ASSET = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_SHORT = re.compile(
    rf"(?P<instance>[a-z][a-z-]+):(?P<dandiset>\d{{6}})(?:/(?P<version>{_VERSION}))?(?:/(?P<path>.*))?",
    re.I | re.S,
)
_SCHEME = re.compile(
    rf"dandi://(?P<instance>[\w.-]+)/(?P<dandiset>\d{{6}})(?:@(?P<version>{_VERSION}))?(?:/(?P<path>.*))?",
    re.I | re.S,
)
_URL_ASSET = re.compile(rf"/assets/(?P<asset>{_ASSET})(?:/|/download/?)?$", re.I)
_URL_DANDISET = re.compile(
    rf"/dandisets?/(?P<dandiset>\d{{6}})(?:/versions)?(?:/(?P<version>{_VERSION}))?(?:/.*)?$", re.I
)
EXPECTED = (
    "DANDI:000140/sub-X/sub-X_ses-Y.nwb, DANDI:000140/0.220113.0408/sub-X/*.nwb, "
    "dandi://dandi/000140@draft/sub-X/sub-X.nwb, or the web address of an asset or a dandiset"
)


@dataclass(frozen=True)
class DandiAddress:
    """One asset, or a pattern of assets, on one archive.

    Attributes
    ----------
    instance : name of the archive as the dandi client knows it, or its web address; empty for the default
    dandiset : six digits; empty where only the asset id is known
    version : ``"draft"`` or such as ``"0.220113.0408"``; empty for the most recent published one
    path : path of the asset; a star in it matches any characters; empty for every NWB asset
    asset : id of the asset (a UUID); empty where the path says which
    """

    instance: str = ""
    dandiset: str = ""
    version: str = ""
    path: str = ""
    asset: str = ""

    @property
    def is_pattern(self) -> bool:
        """True where the path has a star, or is left out, so that several assets may match."""
        return not self.asset and ("*" in self.path or not self.path)

    def __str__(self) -> str:
        if not self.dandiset:
            return f"DANDI asset {self.asset}"
        name = self.instance if self.instance and "://" not in self.instance else "dandi"
        parts = (f"{name.upper()}:{self.dandiset}", self.version, self.path or self.asset)
        return printable("/".join(part for part in parts if part))


def is_dandi_address(source: object) -> bool:
    """True for text that names a DANDI dandiset or asset, by form alone."""
    if not isinstance(source, str):
        return False
    if source.lower().startswith(("http://", "https://")):
        return _from_url(source) is not None
    return _SHORT.fullmatch(source) is not None or source.lower().startswith("dandi:")


def parse_address(source: str, version: str | None = None, instance: str | None = None) -> DandiAddress:
    """Read an address; `version` and `instance` fill what it leaves open.

    Raises
    ------
    InputError : the text is none of the known forms, or says one version and the argument another
    """
    if source.lower().startswith(("http://", "https://")):
        address = _from_url(source)
    else:
        match = _SCHEME.fullmatch(source) or _SHORT.fullmatch(source)
        address = None if match is None else _from_match(match)
    if address is None:
        raise InputError(f"{printable(source)!r} is not a DANDI address; expected {EXPECTED}")
    return _completed(address, version, instance)


def _completed(address: DandiAddress, version: str | None, instance: str | None) -> DandiAddress:
    if version is not None and re.fullmatch(_VERSION, version) is None:
        raise InputError(f"version={version!r}: expected 'draft' or a number such as '0.220113.0408'")
    if version and address.version and version != address.version:
        raise InputError(
            f"the address says version {address.version}, the argument version={version!r}; give one of them"
        )
    return replace(address, version=address.version or version or "", instance=instance or address.instance)


def _from_match(match: re.Match) -> DandiAddress:
    name = match["instance"].lower()
    path = (match["path"] or "").strip("/")
    return DandiAddress("" if name == "dandi" else name, match["dandiset"], match["version"] or "", path)


def _from_url(source: str) -> DandiAddress | None:
    """An address from a web address of the archive's API or pages, or None where it is another address."""
    parts = urlsplit(source.replace("/#/", "/", 1))
    asset, dandiset = _URL_ASSET.search(parts.path), _URL_DANDISET.search(parts.path)
    if asset is None and dandiset is None:
        return None
    server = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    path = query.get("path") or query.get("glob") or query.get("location") or ""
    return DandiAddress(
        server + "/api" if parts.path.startswith("/api/") else server,
        dandiset["dandiset"] if dandiset else "",
        (dandiset["version"] or "") if dandiset else "",
        unquote(path).strip("/"),
        asset["asset"].lower() if asset else "",
    )


def printable(text: str) -> str:
    """The text with control characters written out, so that a path cannot steer a terminal."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in str(text))
