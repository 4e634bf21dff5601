"""A hook of MkDocs: adds the pages outside of `docs/`, and links source files to the repository."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
# Pages of the repository's root, and their names on the site.
PAGES = {"README.md": "index.md", "CHANGELOG.md": "CHANGELOG.md", "CONTRIBUTING.md": "CONTRIBUTING.md"}
LINK = re.compile(r"(\]\()([^)\s]+)(\))")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages and pictures that lie outside of `docs/`."""
    texts = {name: (ROOT / source).read_text(encoding="utf-8") for source, name in PAGES.items()}
    for name, text in texts.items():
        files.append(File.generated(config, name, content=text))
    for file in files.documentation_pages():
        if file.abs_src_path:
            texts[file.src_uri] = Path(file.abs_src_path).read_text(encoding="utf-8")
    for picture in sorted({found for name, text in texts.items() for found in _pictures(name, text)}):
        files.append(File.generated(config, picture, abs_src_path=str(ROOT / picture)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Let each link lead to a page of the site, or to the file in the repository."""
    folder = _folder(page.file.src_uri)

    def replace(match: re.Match[str]) -> str:
        target, _, anchor = match[2].partition("#")
        if not target or "://" in target or target.startswith("mailto:"):
            return match[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        name = PAGES.get(path, path.removeprefix("docs/"))
        if files.get_file_from_path(name) is None:
            name = f"{config.extra['repository']}/blob/main/{path}"
        else:
            name = posixpath.relpath(name, posixpath.dirname(page.file.src_uri) or ".")
        return f"{match[1]}{name}{'#' if anchor else ''}{anchor}{match[3]}"

    return LINK.sub(replace, markdown)


def _folder(name: str) -> str:
    """The folder in the repository of a page of the site."""
    return "" if name in PAGES.values() else posixpath.dirname(f"docs/{name}")


def _pictures(name: str, text: str) -> list[str]:
    """Paths from the root of the pictures that a page shows and that lie outside of `docs/`."""
    targets = [target for _, target, _ in LINK.findall(text) if "://" not in target]
    found = [
        posixpath.normpath(posixpath.join(_folder(name), target))
        for target in targets
        if target.endswith((".png", ".svg"))
    ]
    return [path for path in found if (ROOT / path).is_file() and not path.startswith("docs/")]
