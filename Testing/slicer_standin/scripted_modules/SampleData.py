"""Stand-in for Slicer's scripted module SampleData: data sets are registered, and never downloaded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import slicer

PER_FILE = ("uris", "fileNames", "nodeNames", "checksums", "loadFiles", "loadFileTypes")


class SampleDataLogic:
    """`slicer.modules.sampleDataSources[category]` lists what modules registered, as in Slicer."""

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        customDownloader: Any = None,
        thumbnailFileName: str | None = None,
        loadFileTypes: Any = None,
        loadFiles: Any = None,
        loadFileProperties: Any = None,
        checksums: Any = None,
        loadFileType: Any = None,
    ) -> None:
        """Raises ValueError where not every file has its address, name and checksum."""
        source = SimpleNamespace(**{key: value for key, value in locals().items() if key != "category"})
        lists = {key: vars(source)[key] for key in PER_FILE if isinstance(vars(source)[key], (list, tuple))}
        if len({len(values) for values in lists.values()}) > 1:
            raise ValueError(f"All fields of sample data source must have the same length: {lists}")
        if not hasattr(slicer.modules, "sampleDataSources"):
            slicer.modules.sampleDataSources = {}
        sources = slicer.modules.sampleDataSources.setdefault(category, [])
        if source not in sources:
            sources.append(source)
