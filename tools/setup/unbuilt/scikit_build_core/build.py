"""pip asks a source package for its name and version before it keeps the download. This answers
from the folder's name, so that fetching neither needs a Python build nor runs any."""

import pathlib


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    name, version = "xgrammar", ""
    for line in pathlib.Path("PKG-INFO").read_text().splitlines():
        if line.startswith("Version: "):
            version = line.removeprefix("Version: ")
            break
    info = pathlib.Path(metadata_directory) / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return info.name
