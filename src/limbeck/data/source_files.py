"""Which Python files a harvest reads: the standard library and installed distributions, in sorted order."""

from __future__ import annotations

import platform
import re
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

STANDARD_LIBRARY = "python"

# Tests, vendored copies, generated tables, and parts that some Python builds leave out.
_FOLDERS = (
    "tests?|testing|_testing|idle_test|benchmarks?|externals?|_external|_vendor|vendor|vendored|_bundled|site-packages"
    "|dist-packages|__pycache__|idlelib|lib2to3|turtledemo|tkinter|ensurepip|distutils|pydoc_data|config-[^/]*"
    "|lib-dynload"
)
_FILES = r"test_[^/]*|[^/]*_test|[^/]*_pb2|conftest|_sysconfigdata[^/]*|setup"
_LEFT_OUT = re.compile(rf"(^|/)({_FOLDERS})/|(^|/)({_FILES})\.py$")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of one package."""

    package: str  # name of the distribution, or "python"
    module: str  # dotted
    path: Path
    size: int  # bytes


def source_files(packages: Sequence[str]) -> list[SourceFile]:
    """The files of the standard library and of those packages that are installed, sorted by module."""
    files = _standard_library()
    for name in sorted(versions_of(packages)[0], key=str.lower):
        if name != STANDARD_LIBRARY:
            files += _of_distribution(name, metadata.distribution(name))
    unique = {file.module: file for file in reversed(files)}  # the first package that holds a module keeps it
    return [unique[module] for module in sorted(unique)]


def versions_of(packages: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """(version of Python and of each installed package, packages that are not installed), both sorted."""
    versions = {STANDARD_LIBRARY: platform.python_version()}
    absent = []
    for name in sorted(set(packages)):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            absent.append(name)
    return dict(sorted(versions.items())), absent


def _standard_library() -> list[SourceFile]:
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = (path for path in root.rglob("*.py") if not _LEFT_OUT.search(path.relative_to(root).as_posix()))
    return [_source_file(STANDARD_LIBRARY, path.relative_to(root), path) for path in sorted(paths)]


def _of_distribution(name: str, distribution: metadata.Distribution) -> list[SourceFile]:
    inside = [Path(str(file)) for file in distribution.files or () if file.suffix == ".py"]
    wanted = sorted(
        path for path in inside if ".." not in path.parts and not _LEFT_OUT.search(path.as_posix())
    )
    located = ((path, Path(str(distribution.locate_file(path)))) for path in wanted)
    return [_source_file(name, path, place) for path, place in located if place.is_file()]


def _source_file(package: str, relative: Path, path: Path) -> SourceFile:
    parts = relative.with_suffix("").parts
    module = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
    return SourceFile(package, module, path, path.stat().st_size)
