"""Addresses of DANDI assets, as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwb_rnn.errors import InputError
from nwb_rnn.sources.dandi_address import DandiAddress, is_dandi_address, parse_address, printable

ASSET = "0f57f0b0-f021-42bb-8eaa-56cd482e2a29"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("DANDI:000140", DandiAddress(dandiset="000140")),
        ("dandi:000140/draft", DandiAddress(dandiset="000140", version="draft")),
        ("DANDI:000140/sub-X/a.nwb", DandiAddress(dandiset="000140", path="sub-X/a.nwb")),
        (
            "DANDI:000140/0.220113.0408/sub-X/a.nwb",
            DandiAddress(dandiset="000140", version="0.220113.0408", path="sub-X/a.nwb"),
        ),
        ("EMBER-DANDI:000140/a.nwb", DandiAddress("ember-dandi", "000140", path="a.nwb")),
        ("dandi://dandi/000140@draft/a.nwb", DandiAddress(dandiset="000140", version="draft", path="a.nwb")),
        (
            f"https://api.dandiarchive.org/api/assets/{ASSET}/download/",
            DandiAddress("https://api.dandiarchive.org/api", asset=ASSET),
        ),
        (
            f"https://api.dandiarchive.org/api/dandisets/000140/versions/0.220113.0408/assets/{ASSET}/",
            DandiAddress("https://api.dandiarchive.org/api", "000140", "0.220113.0408", asset=ASSET),
        ),
        (
            "https://dandiarchive.org/dandiset/000140/0.220113.0408",
            DandiAddress("https://dandiarchive.org", "000140", "0.220113.0408"),
        ),
        (
            "https://dandiarchive.org/#/dandiset/000140/draft/files?location=sub-X%2Fa.nwb",
            DandiAddress("https://dandiarchive.org", "000140", "draft", "sub-X/a.nwb"),
        ),
    ],
)
def test_known_forms(text, expected):
    assert is_dandi_address(text)
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "recording.nwb",
        "/data/DANDI/000140/a.nwb",
        "C:000140/a.nwb",
        "https://example.org/a.nwb",
        "https://dandiarchive.s3.amazonaws.com/blobs/0f5/7f0/0f57f0b0-f021-42bb-8eaa-56cd482e2a29",
    ],
)
def test_other_sources_are_left_to_other_readers(text):
    assert not is_dandi_address(text)


@pytest.mark.parametrize("text", ["DANDI:140", "DANDI:", "DANDI:abc/x.nwb", "dandi://x"])
def test_malformed_addresses_say_what_is_expected(text):
    assert is_dandi_address(text)
    with pytest.raises(InputError, match="expected DANDI:000140"):
        parse_address(text)


def test_versions_must_agree():
    assert parse_address("DANDI:000140/a.nwb", version="draft").version == "draft"
    with pytest.raises(InputError, match="give one of them"):
        parse_address("DANDI:000140/draft/a.nwb", version="0.1.2")
    with pytest.raises(InputError, match="expected 'draft'"):
        parse_address("DANDI:000140", version="latest")


def test_user_names_in_a_web_address_are_not_kept():
    address = parse_address(f"https://me:secret@archive.example/api/assets/{ASSET}/")
    assert "secret" not in repr(address)


@given(st.text())
def test_any_text_is_read_or_refused(text):
    """Property: text after the set's number is a path or a version, never an error of another kind."""
    address = parse_address(f"DANDI:000140/sub{text}")
    assert address.dandiset == "000140"
    assert str(address).isprintable()


@given(st.text())
def test_printable(text):
    assert printable(text).isprintable()


def test_control_characters_do_not_reach_the_terminal():
    assert "\x1b" not in str(parse_address("DANDI:000140/sub-\x1b[2J/a.nwb"))
