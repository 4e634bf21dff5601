"""The links, files, tests, commands and buttons that the documentation names exist."""

from __future__ import annotations

import ast
import importlib.util
import re
import tomllib
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import pytest
from fixtures.documented import DOCS, README, ROOT, commands
from mednext import cli

MODULE = ROOT / "MedNeXtSegmentation"
PAGES = [
    README,
    *sorted(DOCS.glob("*.md")),
    *sorted((ROOT / "benchmarks").glob("*.md")),
    *sorted((ROOT / "Testing").glob("*/README.md")),
]
SUFFIXES = ("py", "h", "cpp", "ui", "cmake")
# Each page with commands for users, and a test that runs them as they stand there.
RUN_BY = {
    "README.md": "test_typed_commands.py::test_the_first_commands_of_the_readme",
    "console.md": "test_console_examples.py::test_the_examples_for_a_shell_run",
    "department.md": "test_archive.py::test_the_commands_of_the_page_for_departments",
    "hippocampus.md": "test_typed_commands.py::test_the_commands_for_whole_heads",
    "models.md": "test_typed_commands.py::test_the_commands_about_models",
    "server.md": "test_typed_commands.py::test_the_commands_about_a_server",
    "training.md": "test_training_guide.py::test_the_commands_of_the_guide_do_what_it_says",
}
MOST_KIB = 150  # of a picture: the Extensions Index wants a small repository

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def links(page: Path) -> list[str]:
    """The relative addresses of a page, without anchors."""
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    return [target.split("#")[0] for target in targets if "://" not in target and not target.startswith("#")]


def code(page: Path) -> list[str]:
    """The words between backticks of a page."""
    return re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def files() -> list[str]:
    """The files of this project, as paths from its root."""
    folders = [
        ROOT / name for name in ("MedNeXtSegmentation", "training", "Testing", "benchmarks", "docs", "demo")
    ]
    found = [*ROOT.glob("*"), *(file for folder in folders for file in folder.rglob("*"))]
    return [f"/{file.relative_to(ROOT).as_posix()}" for file in found]


@every_page
def test_every_link_leads_somewhere(page):
    assert [target for target in links(page) if not (page.parent / target).exists()] == []


@every_page
def test_every_named_file_exists(page, files):
    """By its last folders and its name; one with a star stands for several."""
    file_name = re.compile(rf"(?!.*\.\.\.)[\w./*-]+\.({'|'.join(SUFFIXES)})")
    names = [word for word in code(page) if file_name.fullmatch(word)]
    names = [name.removeprefix("./").removeprefix("../") for name in names if not name.startswith("test_")]
    patterns = {name: re.compile(rf"/{re.escape(name)}$".replace(r"\*", r"\w+")) for name in names}
    assert [name for name, end in patterns.items() if not any(map(end.search, files))] == []


@cache
def names_of_tests(file: str) -> set[str]:
    """The functions of a file of tests."""
    tree = ast.parse((ROOT / file[1:]).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@every_page
def test_every_named_test_exists(page, files):
    missing = []
    for word in code(page):
        if match := re.fullmatch(r"(?:Testing/)?([\w/]*test_\w+\.py)(?:::(\w+))?", word):
            found = [file for file in files if file.startswith("/Testing/") and file.endswith(f"/{match[1]}")]
            if not found or (match[2] and not any(match[2] in names_of_tests(file) for file in found)):
                missing.append(word)
    assert missing == []


@every_page
def test_every_target_of_make_and_every_program_exists(page):
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"(?:^    |`)make ([a-z-]+)", text, re.MULTILINE)) <= set(targets)
    modules = set(re.findall(r"python3? -m ([\w.]+)", text)) - {"zipfile", "pytest"}
    assert [name for name in modules if importlib.util.find_spec(name) is None] == []


@every_page
def test_every_command_has_the_options_of_the_program(page, tmp_path, monkeypatch, capsys):
    """Without the files that it names it may end with an error, but not with one about its options.

    Nothing is fetched: an address of a proxy that is none is an error without a second try.
    """
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDNEXT_MODELS", str(tmp_path))
    for arguments in commands(page):
        if arguments[0] == "serve" and "keys" not in arguments:  # it would serve until it is stopped
            cli.main([*arguments, "--replicas", "0"])
        else:
            cli.main(arguments)
        assert "--help'" not in capsys.readouterr().err, arguments
    for arguments in commands(page, "mednext-train"):
        from mednext_training.cli import command_parser

        command_parser().parse_args(arguments)  # argparse exits for wrong options


def test_every_page_with_commands_has_a_test_that_runs_them(files):
    with_commands = {page.name for page in PAGES if commands(page) or commands(page, "mednext-train")}
    assert with_commands == set(RUN_BY)
    for file, _, name in (test.partition("::") for test in RUN_BY.values()):
        found = [path for path in files if path.startswith("/Testing/") and path.endswith(f"/{file}")]
        assert any(name in names_of_tests(path) for path in found)


@every_page
def test_every_extra_that_pip_installs_exists(page):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    named = re.findall(
        r"pip install [^`\n]*(?:slicer-mednext-segmentation|\.)\[([\w,]+)\]", page.read_text(encoding="utf-8")
    )
    assert {extra for names in named for extra in names.split(",")} <= set(extras)


@every_page
def test_every_environment_variable_is_read_by_the_program(page):
    code = [
        *(file for folder in (MODULE, ROOT / "training", ROOT / "Testing") for file in folder.rglob("*.py")),
        ROOT / "Makefile",
    ]
    text = "".join(file.read_text(encoding="utf-8") for file in code if file.name != Path(__file__).name)
    named = set(re.findall(r"\bMEDNEXT_[A-Z_]+[A-Z]", page.read_text(encoding="utf-8")))
    assert {name for name in named if name not in text} == set()


def test_the_pictures_are_small_and_all_are_shown():
    pictures = sorted((ROOT / "Resources" / "Screenshots").iterdir())
    shown = {(page.parent / target).resolve() for page in PAGES for target in links(page)}
    assert [picture.name for picture in pictures if picture.resolve() not in shown] == []
    assert [picture.name for picture in pictures if picture.stat().st_size > MOST_KIB * 1024] == []


def texts_of_the_panel() -> set[str]:
    """Every text of the .ui files, and every text that Python translates."""
    texts = {
        string.text or ""
        for file in (MODULE / "Resources" / "UI").glob("*.ui")
        for string in ElementTree.parse(file).iter("string")
    }
    for file in (MODULE / "MedNeXtSegmentationLib").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_":
                texts |= {str(text.value) for text in node.args if isinstance(text, ast.Constant)}
    # A single "&" marks an accelerator key.
    return {text.replace("&", "").rstrip(":.").strip() for text in texts}


@pytest.mark.parametrize("name", ["tutorial", "performance", "troubleshooting"])
def test_a_guide_names_the_panels_own_words(name):
    """In bold; Slicer's words are in italics."""
    text = " ".join((DOCS / f"{name}.md").read_text(encoding="utf-8").split())
    named = {name.rstrip(":.") for name in re.findall(r"\*\*([^*]+)\*\*", text)}
    assert named - texts_of_the_panel() == set()
