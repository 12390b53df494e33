"""What `nwb-rnn inspect DANDI:000140` shows: the files of a dandiset."""

from __future__ import annotations

from nwb_rnn.sources.dandi_address import parse_address, printable
from nwb_rnn.sources.dandi_client import Listing, list_assets, readable_size

SHOWN = 200


def is_dandiset(source: str) -> bool:
    """True where an address names a set or a pattern, so that there is something to list."""
    return parse_address(source).is_pattern


def dandiset_text(
    source: str,
    *,
    version: str | None = None,
    instance: str | None = None,
    token: str | None = None,
    shown: int = SHOWN,
) -> str:
    """The listing of a dandiset for a terminal: one line per file with its size and path.

    Parameters
    ----------
    source : such as ``"DANDI:000140"`` or ``"DANDI:000140/sub-Jenkins/*"``
    version, instance, token : see `nwb_rnn.sources.dandi.read_dandi`
    shown : how many files to list at most; the rest is counted

    Raises
    ------
    InputError, SourceError : see `nwb_rnn.sources.dandi_client.list_assets`
    """
    return listing_text(list_assets(source, version=version, instance=instance, token=token), shown)


def listing_text(listing: Listing, shown: int = SHOWN) -> str:
    """A `Listing` as text; control characters in names are written out."""
    count = len(listing.assets)
    lines = [
        f"{listing.address}  {printable(listing.name)}",
        f"versions: {', '.join(listing.versions)}  access: {listing.embargo.lower()}",
        f"{count} file{'s' * (count != 1)}, {readable_size(listing.size)}",
    ]
    sizes = [readable_size(asset.size) for asset in listing.assets[:shown]]
    width = max((len(size) for size in sizes), default=0)
    lines += [
        f"  {size:>{width}}  {printable(asset.path)}"
        for size, asset in zip(sizes, listing.assets, strict=False)
    ]
    if count > shown:
        lines.append(
            f"  … and {count - shown} more; narrow it with a pattern such as {listing.address}/sub-X*"
        )
    return "\n".join(lines)
