"""Short ways to write the parts of a specification."""

from pynwb.spec import NWBAttributeSpec, NWBDatasetSpec, NWBLinkSpec


def number(name: str, doc: str, dtype: str = "float32", required: bool = False) -> NWBDatasetSpec:
    """A single number."""
    return NWBDatasetSpec(name=name, doc=doc, dtype=dtype, quantity=1 if required else "?")


def text(name: str, doc: str, required: bool = False) -> NWBDatasetSpec:
    """A single text of any length, such as JSON."""
    return NWBDatasetSpec(name=name, doc=doc, dtype="text", quantity=1 if required else "?")


def array(
    name: str, doc: str, dims: str, dtype: str | None = "float32", required: bool = False
) -> NWBDatasetSpec:
    """An array whose axes are named in `dims`, separated by blanks; every axis may have any length."""
    axes = dims.split()
    return NWBDatasetSpec(
        name=name,
        doc=doc,
        dtype=dtype,
        dims=axes,
        shape=[None] * len(axes),
        quantity=1 if required else "?",
    )


def column(name: str, doc: str, dims: str, dtype: str | None = "float32") -> NWBDatasetSpec:
    """An optional column of a table; the first of `dims` is the row."""
    axes = dims.split()
    return NWBDatasetSpec(
        name=name,
        doc=doc,
        neurodata_type_inc="VectorData",
        dtype=dtype,
        dims=axes,
        shape=[None] * len(axes),
        quantity="?",
    )


def region(name: str, doc: str) -> NWBDatasetSpec:
    """Rows of a table of the same file."""
    return NWBDatasetSpec(name=name, doc=doc, neurodata_type_inc="DynamicTableRegion", quantity="?")


def attribute(name: str, doc: str, dtype: str = "text", required: bool = False) -> NWBAttributeSpec:
    """A short text or a number."""
    return NWBAttributeSpec(name=name, doc=doc, dtype=dtype, required=required)


def model_link(doc: str) -> NWBLinkSpec:
    """The model that something belongs to."""
    return NWBLinkSpec(name="model", doc=doc, target_type="LatentDynamicsModel", quantity="?")
