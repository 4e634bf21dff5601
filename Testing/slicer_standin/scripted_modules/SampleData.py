"""Stand-in for Slicer's scripted module SampleData: registers data sets, downloads and loads volumes."""

from __future__ import annotations

import hashlib
import logging
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import slicer

PER_FILE = ("uris", "fileNames", "nodeNames", "checksums", "loadFiles", "loadFileTypes")


class SampleDataLogic:
    """`slicer.modules.sampleDataSources[category]` lists the registered sources, as in Slicer."""

    @staticmethod
    def registerCustomSampleDataCategory(category: str, title: str) -> None:
        """The title that the module shows above the category's data sets."""
        categories = getattr(slicer.modules, "sampleDataSourceCategories", {})
        categories.setdefault(category, {})["title"] = title
        slicer.modules.sampleDataSourceCategories = categories

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
        if isinstance(uris, str):
            for key in PER_FILE:
                setattr(source, key, [getattr(source, key)])
        lists = {key: vars(source)[key] for key in PER_FILE if isinstance(vars(source)[key], (list, tuple))}
        if len({len(values) for values in lists.values()}) > 1:
            raise ValueError(f"All fields of sample data source must have the same length: {lists}")
        if not hasattr(slicer.modules, "sampleDataSources"):
            slicer.modules.sampleDataSources = {}
        sources = slicer.modules.sampleDataSources.setdefault(category, [])
        if source not in sources:
            sources.append(source)

    def sourceForSampleName(self, sampleName: str) -> Any:
        """The data set of this name, or None."""
        sources = [source for some in slicer.modules.sampleDataSources.values() for source in some]
        return next((source for source in sources if source.sampleName == sampleName), None)

    def downloadFromSource(self, source: Any) -> list[Any]:
        """The nodes of a data set's files; without those that cannot be downloaded, which are logged."""
        nodes = []
        for uri, name, checksum, node_name in zip(
            source.uris, source.fileNames, source.checksums, source.nodeNames, strict=True
        ):
            file = Path(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory(), name)
            try:
                with urllib.request.urlopen(uri) as answer:
                    content = answer.read()
            except OSError as error:
                logging.getLogger(__name__).error("Download failed: %s", error)
                continue
            if f"SHA256:{hashlib.sha256(content).hexdigest()}" != checksum:
                logging.getLogger(__name__).error("Checksum test failed: %s", name)
                continue
            file.write_bytes(content)
            nodes.append(slicer.util.loadVolume(str(file), {"name": node_name}))
        return nodes
