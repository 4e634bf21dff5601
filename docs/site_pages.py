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
    sources = [*(Path(file.abs_src_path) for file in files.documentation_pages() if file.abs_src_path)]
    texts |= {source.name: source.read_text(encoding="utf-8") for source in sources}
    for picture in sorted({found for text in texts.values() for found in _pictures(text)}):
        files.append(File.generated(config, picture, abs_src_path=str(ROOT / picture)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Let each link lead to a page of the site, or to the file in the repository."""
    folder = "" if page.file.src_uri in PAGES.values() else "docs"

    def replace(match: re.Match[str]) -> str:
        target, _, anchor = match[2].partition("#")
        if not target or "://" in target or target.startswith("mailto:"):
            return match[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        name = PAGES.get(path, path.removeprefix("docs/"))
        if files.get_file_from_path(name) is None:
            name = f"{config.repo_url}/blob/main/{path}"
        return f"{match[1]}{name}{'#' if anchor else ''}{anchor}{match[3]}"

    return LINK.sub(replace, markdown)


def _pictures(text: str) -> list[str]:
    """Paths from the root of the pictures that a page shows and that lie outside of `docs/`."""
    targets = [target for _, target, _ in LINK.findall(text) if "://" not in target]
    found = [target.removeprefix("../") for target in targets if target.endswith((".png", ".svg"))]
    return [path for path in found if (ROOT / path).is_file() and not path.startswith("docs/")]
