"""Send a file with results to a DANDI archive: prepare, check as DANDI does, show, ask, upload.

The upload itself is done by the `dandi` client. Nothing is sent before `agree` said yes to the text that
shows what would be sent, and the file on this machine is only read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nwb_rnn.errors import InputError, SourceError, StorageError
from nwb_rnn.sources.dandi_address import DandiAddress, is_dandi_address, parse_address, printable
from nwb_rnn.sources.dandi_client import connected, dandiset_of, plain_errors, readable_size
from nwb_rnn.sources.nwb_open import is_address, open_nwb, quiet
from nwb_rnn.storage.model_form import KINDS
from nwb_rnn.storage.naming import file_name, plain_id
from nwb_rnn.storage.regions import type_of
from nwb_rnn.storage.validation import Finding

if TYPE_CHECKING:
    from dandi.dandiapi import DandiAPIClient, RemoteDandiset

_SEVERE = "ERROR"
_REMARKS = 5
_DERIVED = "dcite:IsDerivedFrom"


@dataclass(frozen=True)
class Results:
    """What a file says about the results in it.

    Attributes
    ----------
    subject, session : ids of the session
    kind : ``"ecephys"`` or ``"ophys"``
    models : names of the fitted models
    sources : (location, identifier) of the files that they were fitted to
    software : name -> version of what fitted them and of what wrote the file
    """

    subject: str
    session: str
    kind: str
    models: tuple[str, ...]
    sources: tuple[tuple[str, str], ...]
    software: dict[str, str]


@dataclass(frozen=True)
class Upload:
    """A file that is ready to be sent.

    Attributes
    ----------
    file : on this machine
    path : in the dandiset, such as ``sub-X/sub-X_ses-Y_desc-rnn_ecephys.nwb``
    size : bytes
    metadata : of the asset, as the archive's schema has it
    remarks : what the validators say that does not stop an upload
    """

    file: Path
    path: str
    size: int
    metadata: dict[str, Any]
    remarks: tuple[Finding, ...]


def prepare(file: str | os.PathLike, path: str | None = None) -> Upload:
    """Name, metadata and checks of a file that is to go into a dandiset; nothing is sent.

    The metadata are what the dandi client reads out of the file, and in addition: `relatedResource`, the
    recording that each model is derived from, and in `wasGeneratedBy` the fit with its software's versions.

    Parameters
    ----------
    file : an NWB file with results, as `nwb_rnn.write` makes it
    path : in the dandiset; when left out, the file's own name where it is one that DANDI takes, else one made
        from the ids in the file, in the folder of its subject

    Raises
    ------
    SourceError : the file cannot be read
    StorageError : it holds no fitted model, or DANDI would refuse it; the message lists every reason
    """
    os.environ.setdefault("DANDI_NO_ET", "1")
    file = Path(file).expanduser().absolute()
    results = results_of(file)
    asset = _asset(file, path or asset_path(file, results))
    errors, remarks = _findings(asset)
    if errors:
        raise StorageError(
            f"DANDI would refuse {file.name!r} as {asset.path}; nothing was sent:\n"
            + "\n".join(f"  {finding}" for finding in errors)
        )
    return Upload(file, asset.path, asset.size, _metadata(asset, results), tuple(remarks))


def results_of(file: Path) -> Results:
    """What the file says about the session, its models and their software.

    Raises
    ------
    SourceError, StorageError : see `prepare`
    """
    import ndx_latent_dynamics  # noqa: F401 - types register on import

    with open_nwb(file) as nwbfile:
        models = [item for item in nwbfile.objects.values() if type_of(item) in KINDS]
        if not models:
            raise StorageError(
                f"{str(file)!r} holds no fitted model to publish; give a file that nwb_rnn.write or "
                "`nwb-rnn fit` made"
            )
        software = {str(name): str(version) for name, version in (nwbfile.was_generated_by or ())}
        for model in models:
            software |= model.versions()
        sources = dict.fromkeys(
            (str(m.source_location or ""), str(m.source_identifier or "")) for m in models
        )
        subject = nwbfile.subject.subject_id if nwbfile.subject is not None else ""
        modules = {model.parent.name for model in models}
        return Results(
            subject or "",
            nwbfile.session_id or "",
            "ophys" if modules == {"ophys"} else "ecephys",
            tuple(model.name for model in models),
            tuple(source for source in sources if any(source)),
            software,
        )


def asset_path(file: Path, results: Results) -> str:
    """Where in a dandiset the file belongs: the folder of its subject, and a name that DANDI takes."""
    from dandi.organize import ORGANIZED_FILENAME_REGEX

    folder = f"sub-{plain_id(results.subject) or 'unknown'}"
    mine = file.name.startswith((f"{folder}_", f"{folder}."))
    own = mine and re.fullmatch(ORGANIZED_FILENAME_REGEX, file.name)
    return f"{folder}/{file.name if own else file_name(results.subject, results.session, results.kind)}"


def _asset(file: Path, path: str) -> Any:
    from dandi.files import NWBAsset

    return NWBAsset(filepath=file, path=path, dandiset_path=file.parent)


def _findings(asset: Any) -> tuple[list[Finding], list[Finding]]:
    """What the dandi client's own validation says: what stops an upload, and what does not."""
    with quiet():
        found = asset.get_validation_errors()
    errors, remarks = [], []
    for one in found:
        severity = "" if one.severity is None else one.severity.name
        place = ", ".join(map(str, (one.within_asset_paths or {}).values())) or "/"
        finding = Finding("dandi", severity, str(one.id), printable(str(one.message)), printable(place))
        (errors if severity in (_SEVERE, "CRITICAL") else remarks).append(finding)
    return errors, remarks


# metadata ------------------------------------------------------------------------------------------


def _metadata(asset: Any, results: Results) -> dict[str, Any]:
    """What dandi reads out of the file, with where the models come from; checked against its schema."""
    from dandischema.models import BareAsset

    with quiet():
        made = asset.get_metadata(digest=asset.get_digest(), ignore_errors=False)
    metadata = made.model_dump(mode="json", exclude_none=True)
    related = [_resource(*source) for source in results.sources]
    metadata["relatedResource"] = [*metadata.get("relatedResource", []), *related]
    metadata["wasGeneratedBy"] = [*metadata.get("wasGeneratedBy", []), _fit(results)]
    if not metadata["relatedResource"]:
        del metadata["relatedResource"]
    return BareAsset(**metadata).model_dump(mode="json", exclude_none=True)


def _resource(location: str, identifier: str) -> dict[str, str]:
    """The recording that a model was fitted to, as a resource that the file is derived from."""
    resource = {"relation": _DERIVED, "schemaKey": "Resource"}
    if is_dandi_address(location):
        address = parse_address(location)
        resource |= {"identifier": str(address), "name": address.path or address.asset}
        page = _page(address)
        return resource | ({"url": page, "repository": "DANDI"} if page else {})
    if is_address(location):
        return resource | {"url": location} | ({"identifier": identifier} if identifier else {})
    return resource | {"identifier": identifier or location, "name": location or identifier}


def _page(address: DandiAddress) -> str:
    """The web page of the folder of an asset, or nothing where the archive has no pages."""
    from urllib.parse import quote

    from dandi.consts import known_instances

    known = known_instances.get(address.instance or "dandi")
    if known is None or not known.gui or not address.dandiset:
        return ""
    folder = quote(address.path.rpartition("/")[0])
    page = f"{known.gui.rstrip('/')}/dandiset/{address.dandiset}/{address.version or 'draft'}/files"
    return f"{page}?location={folder}" if folder else page


def _fit(results: Results) -> dict[str, Any]:
    software = [
        {"name": name, "version": version, "schemaKey": "Software"}
        for name, version in sorted(results.software.items())
    ]
    return {
        "name": "Fit of models of latent dynamics",
        "description": f"Fitted models: {', '.join(results.models)}",
        "wasAssociatedWith": software,
        "schemaKey": "Activity",
    }


# sending -------------------------------------------------------------------------------------------


def publish(
    file: str | os.PathLike,
    dandiset: str,
    *,
    agree: Callable[[str], bool],
    path: str | None = None,
    instance: str | None = None,
    token: str | None = None,
    replace: bool = False,
    progress: Callable[[float], None] | None = None,
) -> str | None:
    """Send a file with results to the draft of a dandiset, once `agree` says yes.

    Parameters
    ----------
    file, path : see `prepare`
    dandiset : six digits, or such as ``"DANDI:000140"``
    agree : called once with the text that shows what would be sent; nothing is sent unless it returns True
    instance : another archive: its name (``"sandbox"``, …) or the address of its API
    token : of an owner of the dandiset; when left out, the environment variable of the archive, which is
        DANDI_API_KEY for the main one. It is sent to that archive only, and shown nowhere
    replace : whether a file that the draft holds under the same path, with other contents, may be replaced
    progress : called with the percentage that was sent

    Returns
    -------
    The address of the asset, such as ``DANDI:000140/draft/sub-X/…``; None where `agree` said no.

    Raises
    ------
    InputError : no dandiset, or no token
    SourceError : the archive does not answer, or refuses the token
    StorageError : DANDI would refuse the file, the path is taken, or the upload failed. The file stays as it
        is; calling again sends what is missing, and nothing twice where the archive has all bytes already
    """
    address = _draft(dandiset, instance)
    upload = prepare(file, path)
    with connected(address, token) as client:
        secret = str(client.session.headers.get("Authorization", "")).removeprefix("token ")
        if not secret:
            raise InputError(
                f"{client.api_url} takes files from signed-in users only: pass token=… or set the "
                f"environment variable {client.api_key_env_var} (the key is in the archive's user menu)"
            )
        client.check_schema_version()
        target = dandiset_of(client, address)
        there = _existing(target, upload, replace)
        same = there is not None and _etag(there) == upload.metadata["digest"]["dandi:dandi-etag"]
        if not agree(shown(upload, client, target, there, same)):
            return None
        if not same:
            _send(upload, target, there, progress, secret)
        return f"{address}/{upload.path}"


def _draft(dandiset: str, instance: str | None) -> DandiAddress:
    text = f"DANDI:{dandiset}" if re.fullmatch(r"\d{6}", dandiset.strip()) else dandiset
    address = parse_address(text.strip(), None, instance)
    if not address.dandiset or address.path or address.asset or address.version not in ("", "draft"):
        raise InputError(
            f"{printable(dandiset)!r}: files go to the draft of a dandiset; give its number, such as 000140"
        )
    return parse_address(f"DANDI:{address.dandiset}", "draft", instance or address.instance or None)


def _existing(target: RemoteDandiset, upload: Upload, replace: bool) -> Any:
    """The asset that the draft holds under that path, if any.

    Raises
    ------
    StorageError : it has other contents, and may not be replaced
    """
    found = [a for a in target.get_assets_with_path_prefix(upload.path) if a.path == upload.path]
    if not found:
        return None
    if not replace and _etag(found[0]) != upload.metadata["digest"]["dandi:dandi-etag"]:
        raise StorageError(
            f"the draft of {target.identifier} holds {upload.path} already, with other contents: give "
            "replace (--replace) to put this file in its place, or another path (--path); nothing was sent"
        )
    return found[0]


def _etag(asset: Any) -> str:
    return asset.get_raw_metadata().get("digest", {}).get("dandi:dandi-etag", "")


def shown(
    upload: Upload, client: DandiAPIClient, target: RemoteDandiset, there: Any = None, same: bool = False
) -> str:
    """Everything that would be sent, and where to, for a person to agree to."""
    open_to = "everyone" if target.embargo_status.value == "OPEN" else "its owners, until its embargo ends"
    what = "nothing new: the draft has this very file" if same else "a new file"
    if there is not None and not same:
        what = "in place of the file that is there"
    lines = [
        f"to        {client.api_url}",
        f"dandiset  {target.identifier} {target.version.name}: open to {open_to}",
        f"file      {upload.file} ({readable_size(upload.size)})",
        f"as        {upload.path} ({what})",
        *_about(upload.metadata),
        *(f"remark    {finding}" for finding in upload.remarks[:_REMARKS]),
    ]
    if len(upload.remarks) > _REMARKS:
        lines.append(f"remark    … and {len(upload.remarks) - _REMARKS} more: nwb-rnn validate lists them")
    return "\n".join(printable(line) for line in lines)


def _about(metadata: dict[str, Any]) -> Iterator[str]:
    for person in metadata.get("wasAttributedTo", []):
        species = person.get("species", {}).get("name", "species not given")
        sex = person.get("sex", {}).get("name", "sex not given")
        yield f"subject   {person.get('identifier', '')}, {species}, {sex}"
    for resource in metadata.get("relatedResource", []):
        yield f"derived   from {resource.get('identifier') or resource.get('url')}"
    for activity in metadata.get("wasGeneratedBy", []):
        software = activity.get("wasAssociatedWith", [])
        made = ", ".join(f"{s['name']} {s['version']}" for s in software if "version" in s)
        if made:
            yield f"software  {made}"
    yield f"digest    {metadata['digest']['dandi:dandi-etag']}"


def _send(
    upload: Upload,
    target: RemoteDandiset,
    there: Any,
    progress: Callable[[float], None] | None,
    secret: str,
) -> None:
    """The upload by the dandi client, which compares checksums of every part and of the whole."""
    asset = _asset(upload.file, upload.path)
    try:
        with plain_errors("the archive did not take it", secret), quiet():
            for status in asset.iter_upload(target, dict(upload.metadata), replacing=there):
                if progress is not None and "progress" in status:
                    progress(float(status["progress"]))
    except SourceError as error:
        raise StorageError(
            f"the upload of {upload.file.name!r} to {target.identifier} did not finish: "
            f"{error}. The file on this machine is untouched; run the same command again. Only owners of a "
            "dandiset may add files to it"
        ) from None
