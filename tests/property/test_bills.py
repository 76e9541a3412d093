"""Whatever packages say of themselves, the bill is valid and says the same in both forms."""

from __future__ import annotations

import string

from hypothesis import given, settings
from hypothesis import strategies as st

from envtrail.environments.sbom import make_bom, render_bom, validate_bom
from envtrail.environments.sbom_diff import diff_boms, parse_bom
from envtrail.model.environment import Environment, Package, Snapshot

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_SPOILT = st.sampled_from(["", "\x00", "\x1b[31m", "\ufffe", "]]>", "&", "C:\\x", "https://x/%zz", "a b", "\u202e", "\r\n"])
_ANY = st.one_of(_TEXT, _SPOILT)
_URL = st.one_of(
    st.none(),
    _ANY,
    st.builds(
        "{}://{}/{}".format, st.sampled_from(["https", "file", "git+ssh"]), st.text(string.ascii_letters, max_size=4), _ANY
    ),
)
_HASH = st.one_of(st.none(), _ANY, st.builds("{}:{}".format, st.sampled_from(["sha256", "md5", "sha1", "x"]), _ANY))
_LICENCE = st.one_of(st.none(), _ANY, st.sampled_from(["MIT", "MIT OR Apache-2.0", "BSD", "LicenseRef-x", "MIT AND", "GPL-2.0+"]))
PACKAGES = st.lists(
    st.builds(
        Package,
        ecosystem=st.sampled_from(["pypi", "conda"]),
        name=_ANY,
        version=_ANY,
        build=st.none() | _ANY,
        source=_URL,
        installer=st.none() | _ANY,
        digest=_HASH,
        location=st.none() | _ANY,
        url=_URL,
        archive=_HASH,
        requires=st.lists(_ANY, max_size=2).map(tuple),
        license=_LICENCE,
        editable=st.booleans(),
        requested=st.none() | st.booleans(),
    ),
    max_size=3,
)


@settings(deadline=None, max_examples=60)
@given(PACKAGES, _ANY)
def test_any_package_gives_a_valid_bill(packages: list[Package], prefix: str) -> None:
    environment = Environment(prefix=f"/{prefix}", kind="venv", python="3.11.2")
    snapshot = Snapshot(prefix=environment.prefix, kind="venv", packages=packages)
    bom = make_bom(environment, snapshot, [], host="h", time_ms=1_764_000_000_000)
    texts = {form: render_bom(bom, form) for form in ("json", "xml")}
    for form, text in texts.items():
        assert validate_bom(text, form) is None
    assert len(bom.components) == len({(p.ecosystem, p.name, p.version, p.location or "") for p in packages})
    assert diff_boms(parse_bom(texts["json"].encode(), "x"), parse_bom(texts["xml"].encode(), "y")) == []
