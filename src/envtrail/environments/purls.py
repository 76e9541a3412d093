"""Package URLs: what a package is called outside, or none where it is not what the registry has under that name.

References:
    https://github.com/package-url/purl-spec (types `pypi` and `conda`; the qualifiers `download_url` and `vcs_url`)
    https://docs.conda.io/projects/conda/en/stable/user-guide/concepts/channels.html (a channel, its labels and subdirs)
"""

from __future__ import annotations

from packageurl import PackageURL

from envtrail.environments.inventory import VCS
from envtrail.model.environment import Package

_DEBIAN = "lib/python3/dist-packages/"
"""dpkg's own; what pip puts beside it lies below `local`."""


def purl_of(package: Package) -> PackageURL | None:
    """The package URL; null for what no index has under this name.

    That is a local project, an editable install, the metadata that a conda package brings along (the conda package itself has a
    URL, and PyPI's name may be another one), and what the distribution packs with its own patches.
    """
    if package.ecosystem == "conda":
        return _make("conda", package, _conda_qualifiers(package))
    url = package.url or ""
    is_foreign = package.installer == "conda" or (package.location or "").startswith(_DEBIAN)
    is_local = url.partition("/")[0].endswith("file:")
    if package.editable or is_foreign or is_local:
        return None
    kind = "vcs_url" if url.partition("+")[0] in VCS else "download_url"
    return _make("pypi", package, {kind: url} if url else {})


def _make(kind: str, package: Package, qualifiers: dict[str, str]) -> PackageURL | None:
    try:
        found = PackageURL(kind, None, package.name, package.version, qualifiers)
        # `/` is a name that is none: what it is read back as decides.
        return found if PackageURL.from_string(found.to_string()) == found else None
    except (ValueError, TypeError):
        return None


def _conda_qualifiers(package: Package) -> dict[str, str]:
    """`build`, `channel`, `subdir` and `type`, from where the archive was fetched, else from the channel's address."""
    qualifiers = {"build": package.build} if package.build else {}
    folder, _, archive = (package.url or "").rpartition("/")
    address, _, subdir = (folder or package.source or "").rpartition("/")
    if address:
        before, label, after = address.partition("/label/")
        qualifiers |= {"channel": before.rpartition("/")[2] + label + after, "subdir": subdir}
    for ending in ("conda", "tar.bz2"):
        if archive.endswith(f".{ending}"):
            qualifiers["type"] = ending
    return qualifiers
