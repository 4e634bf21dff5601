"""Make a release: `python -m release [--allow-changes]`.

All files are made and tried in a new folder, which takes its name only when every step has succeeded:
`dist/VERSION/` with wheel, source archive, the extension's archive, the Index's entry, SHA256SUMS and
CHECKLIST.md.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from release.checklist import BY_HAND, Finding, check_release, version_of
from release.packages import ROOT, build_extension, build_python_packages
from release.trial import try_extension, try_wheel

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Make the release; return the exit code: 0, or 1 where a rule of the checklist or a trial fails."""
    options = _parse(arguments)
    version = version_of(ROOT)
    findings = check_release(ROOT)
    print(_report(version, findings))
    if any(not finding.passed for finding in findings) and not options.allow_changes:
        print("The release was not made: mend the failed rules first.", file=sys.stderr)
        return 1
    target = options.output / version
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.output, prefix=".making-") as made:
        folder = Path(made, version)
        folder.mkdir()
        try:
            _make(folder, version, options)
        except subprocess.CalledProcessError as error:
            print(f"The release was not made: {error.cmd[:4]} failed, see above.", file=sys.stderr)
            return 1
        (folder / "CHECKLIST.md").write_text(_report(version, findings), encoding="utf-8")
        _write_checksums(folder)
        if target.exists():
            shutil.rmtree(target)
        folder.rename(target)
    print(f"The release lies in {target}:")
    for file in sorted(target.iterdir()):
        print(f"  {file.stat().st_size / 2**20:6.1f} MiB  {file.name}")
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="release", description="make a release")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="default: dist")
    parser.add_argument("--slicer", default="5.12", help="version of Slicer, such as 5.12 (the default)")
    parser.add_argument("--slicer-revision", default="0", help="its revision, as Help - About shows it")
    parser.add_argument(
        "--allow-changes", action="store_true", help="make it although the checklist fails: a trial"
    )
    return parser.parse_args(arguments)


def _make(folder: Path, version: str, options: argparse.Namespace) -> None:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()
    packages = build_python_packages(folder)
    wheel = next(file for file in packages if file.suffix == ".whl")
    with tempfile.TemporaryDirectory() as scratch:
        archive = build_extension(folder, Path(scratch), options.slicer, options.slicer_revision, commit)
        for name in ("slicer", "wheel"):
            Path(scratch, name).mkdir()
        try_extension(archive, Path(scratch, "slicer"))
        told = try_wheel(wheel, Path(scratch, "wheel"))
    if told != f"mednext {version}":
        raise ValueError(f"The wheel calls itself {told!r}, and the version is {version}.")
    shutil.copyfile(ROOT / "MedNeXtSegmentation.json", folder / "MedNeXtSegmentation.json")


def _write_checksums(folder: Path) -> None:
    files = sorted(folder.iterdir())
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def _report(version: str, findings: list[Finding]) -> str:
    lines = [f"# Checklist of version {version}", ""]
    for finding in findings:
        lines.append(f"- [{'x' if finding.passed else ' '}] {finding.rule}")
        lines += [f"    - {problem}" for problem in finding.problems]
    lines += [
        "",
        "By hand, before the entry is sent to the Index:",
        "",
        *(f"- [ ] {rule}" for rule in BY_HAND),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
