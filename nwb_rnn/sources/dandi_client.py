"""Talk to a DANDI archive through the `dandi` client: connect, find assets, list them.

The token of an embargoed set goes to the archive it was given for and nowhere else: never into an
error, a log line, a `repr` or a file. Errors of the client are therefore rewritten, not chained.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from nwb_rnn.errors import InputError, NwbRnnError, SourceError
from nwb_rnn.sources.dandi_address import DandiAddress, parse_address, printable
from nwb_rnn.sources.nwb_open import PATIENCE, patient

if TYPE_CHECKING:
    from dandi.dandiapi import BaseRemoteAsset, DandiAPIClient, RemoteDandiset

_NICKNAMES = {"sandbox": "dandi-sandbox", "dandiarchive": "dandi", "ember": "ember-dandi"}
_SHOWN = 20
_UNSEEN = logging.NullHandler()
_NWB_ENDINGS = (".nwb", ".nwb.zarr")


@dataclass(frozen=True)
class ListedAsset:
    """One file of a dandiset: path, size in bytes, id and time of the last change (ISO 8601)."""

    path: str
    size: int
    identifier: str
    modified: str


@dataclass(frozen=True)
class Listing:
    """What a dandiset holds in one version.

    Attributes
    ----------
    address : such as ``"DANDI:000140/0.220113.0408"``
    name : title of the dandiset
    version : the version listed
    versions : every version there is
    embargo : ``"OPEN"`` or ``"EMBARGOED"``
    assets : the files, sorted by path
    """

    address: str
    name: str
    version: str
    versions: tuple[str, ...]
    embargo: str
    assets: tuple[ListedAsset, ...]

    @property
    def size(self) -> int:
        """Bytes of all listed assets together."""
        return sum(asset.size for asset in self.assets)


@contextmanager
def connected(address: DandiAddress, token: str | None = None) -> Iterator[DandiAPIClient]:
    """A client of the address's archive, closed at the end.

    Without `token`, the environment variable that the dandi client reads for that archive is used:
    DANDI_API_KEY for the main archive, DANDI_SANDBOX_API_KEY for the sandbox, and so on.

    Raises
    ------
    InputError : unknown archive, or a token that cannot be one
    SourceError : the archive does not answer, or refuses the token
    """
    os.environ.setdefault("DANDI_NO_ET", "1")  # the client would ask a third party for its newest version
    # Where a program has not set up logging, Python would print the client's lines, tracebacks too, beside
    # the error that says the same in a sentence.
    logging.getLogger("dandi").addHandler(_UNSEEN)
    from dandi.dandiapi import DandiAPIClient

    name = address.instance or os.environ.get("DANDI_INSTANCE", "dandi")
    with plain_errors(f"cannot reach the DANDI archive {printable(name)}"):
        client = DandiAPIClient(dandi_instance=_instance(name))
    patient(client.session, PATIENCE)
    with client:
        key = _valid_token(token if token is not None else os.environ.get(client.api_key_env_var), client)
        if key is not None:
            with plain_errors(f"{client.api_url} refused the token", key):
                client.authenticate(key)
        with plain_errors(str(address), key or ""):
            yield client


def _instance(name: str):
    from dandi.consts import known_instances
    from dandi.utils import get_instance

    known = _NICKNAMES.get(name.lower(), name.lower())
    if "://" in name:
        return get_instance(name)
    if known not in known_instances:
        raise InputError(
            f"instance={name!r} is not a known archive; give the address of its API (https://…/api) "
            f"or one of: {', '.join(sorted(known_instances))}"
        )
    return get_instance(known)


def _valid_token(token: str | None, client: DandiAPIClient) -> str | None:
    """The token without surrounding space, refused where sending it would reveal it."""
    if token is None or not token.strip():
        return None
    token = token.strip()
    if re.fullmatch(r"[A-Za-z0-9._~+/=-]+", token) is None:
        raise InputError(
            "the DANDI token holds characters that no token has; copy it again from the archive's "
            "user menu (it is not shown here)"
        )
    parts = urlsplit(client.api_url)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise InputError(f"{client.api_url} is not encrypted: the token was not sent; use its https address")
    return token


@contextmanager
def plain_errors(what: str, secret: str = "") -> Iterator[None]:
    """Turn any error of the client into a `SourceError` that holds neither the token nor a signature."""
    try:
        yield
    except (NwbRnnError, MemoryError):
        raise
    except Exception as error:
        failure = SourceError(f"{what}: {_explained(error, secret)}")
        try:
            raise failure from None
        except SourceError:
            failure.__context__ = None  # the client's error holds its session, and that the token
            raise


def _explained(error: Exception, secret: str) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    text = printable(without_secrets(f"{type(error).__name__}: {error}", secret))[:500]
    if status in (401, 403):
        return (
            f"the archive does not allow it (HTTP {status}). For an embargoed set pass token=… or set the "
            "environment variable DANDI_API_KEY (another archive: its own, such as DANDI_SANDBOX_API_KEY)"
        )
    return text


def without_secrets(text: str, secret: str = "") -> str:
    """The text without the token and without the query part of any address (signatures live there)."""
    if secret:
        text = text.replace(secret, "***")
    text = re.sub(r"(?i)\b(token|bearer)\s+[\w.~+/=-]{8,}", r"\1 ***", text)
    return re.sub(r"\?[^\s'\")]*=[^\s'\")]*", "?…", text)


def dandiset_of(client: DandiAPIClient, address: DandiAddress) -> RemoteDandiset:
    """The dandiset, at the address's version or else the most recent published one, or else the draft."""
    dandiset = client.get_dandiset(address.dandiset, address.version or None)
    try:
        dandiset.version  # noqa: B018 - asks the archive, so that a wrong id is told apart from a wrong path
    except Exception as error:
        if type(error).__name__ != "NotFoundError":
            raise
        raise SourceError(
            f"{client.api_url} has no dandiset {address.dandiset}"
            + (f" with version {address.version}" if address.version else "")
            + "; check the number, or pass token=… if it is embargoed"
        ) from None
    return dandiset


def find_asset(
    client: DandiAPIClient, address: DandiAddress, choice: str | int | None = None
) -> BaseRemoteAsset:
    """The one asset that the address names.

    Parameters
    ----------
    choice : where a pattern matches several, the text found in one path only, or its place in the
        sorted list (0 is the first)

    Raises
    ------
    SourceError : nothing matches; the message lists what there is
    InputError : several match and `choice` does not settle it; the message lists them
    """
    if not address.dandiset:
        return client.get_asset(address.asset)
    dandiset = dandiset_of(client, address)
    if address.asset:
        return dandiset.get_asset(address.asset)
    if not address.is_pattern:
        for asset in dandiset.get_assets_with_path_prefix(address.path):
            if asset.path == address.path:
                return asset
        raise SourceError(_nothing(dandiset, address))
    found = dandiset.get_assets_by_glob(address.path) if address.path else dandiset.get_assets()
    matches = sorted((a for a in found if a.path.endswith(_NWB_ENDINGS)), key=lambda asset: asset.path)
    if not matches:
        raise SourceError(_nothing(dandiset, address))
    return _chosen(matches, address, choice)


def _chosen(matches: list, address: DandiAddress, choice: str | int | None):
    if isinstance(choice, int) and -len(matches) <= choice < len(matches):
        return matches[choice]
    if isinstance(choice, str):
        exact = [asset for asset in matches if asset.path == choice]
        left = exact or [asset for asset in matches if choice in asset.path]
    else:
        left = matches
    if len(left) == 1 and not (isinstance(choice, int)):
        return left[0]
    raise InputError(
        f"{address} matches {len(left)} NWB files"
        + (f" with asset={choice!r}" if choice is not None else "")
        + "; name one, or pass asset= with a text that only one path holds, or its number:\n"
        + _numbered(left or matches)
    )


def _nothing(dandiset: RemoteDandiset, address: DandiAddress) -> str:
    assets = sorted((a for a in dandiset.get_assets()), key=lambda asset: asset.path)
    held = _numbered(assets) if assets else "  (nothing)"
    return f"{address} matches no NWB file in version {dandiset.version_id}; it holds:\n{held}"


def _numbered(assets: list) -> str:
    lines = [f"  {i}: {printable(a.path)} ({readable_size(a.size)})" for i, a in enumerate(assets[:_SHOWN])]
    if len(assets) > _SHOWN:
        lines.append(f"  … and {len(assets) - _SHOWN} more")
    return "\n".join(lines)


def list_assets(
    source: str, *, version: str | None = None, instance: str | None = None, token: str | None = None
) -> Listing:
    """What a dandiset holds, or the part of it that the address's path matches.

    Parameters
    ----------
    source : such as ``"DANDI:000140"``, ``"DANDI:000140/draft"`` or ``"DANDI:000140/sub-X/*"``
    version, instance, token : see `nwb_rnn.sources.dandi.read`

    Raises
    ------
    InputError, SourceError : see `connected` and `dandiset_of`
    """
    address = parse_address(source, version, instance)
    if not address.dandiset:
        raise InputError(f"{address}: to list, name a dandiset such as DANDI:000140")
    with connected(address, token) as client:
        dandiset = dandiset_of(client, address)
        return _listing(dandiset, address)


def _listing(dandiset: RemoteDandiset, address: DandiAddress) -> Listing:
    found = dandiset.get_assets_by_glob(address.path) if "*" in address.path else None
    if found is None:
        found = dandiset.get_assets_with_path_prefix(address.path) if address.path else dandiset.get_assets()
    assets = [ListedAsset(a.path, a.size, a.identifier, a.modified.isoformat()) for a in found]
    return Listing(
        f"DANDI:{dandiset.identifier}/{dandiset.version_id}",
        dandiset.version.name,
        dandiset.version_id,
        tuple(version.identifier for version in dandiset.get_versions()),
        dandiset.embargo_status.value,
        tuple(sorted(assets, key=lambda asset: asset.path)),
    )


def readable_size(size: int) -> str:
    """Bytes for a reader, such as ``"1.2 GB"`` (powers of 1000)."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
