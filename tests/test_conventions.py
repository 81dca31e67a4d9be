"""Conventions that a script can hold: imports, layers, the frozen public names, docstrings, packages."""

import ast
import configparser
import inspect
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import numsim

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "numsim"
MODULES = sorted(PACKAGE.rglob("*.py"))

# The pure simulator, left to right along the data flow: a module imports only from its left.
FLOW = [
    "checks",
    "_jit",
    "_kernels",
    "blas",
    "streams",
    "space",
    "dictionary",
    "data",
    "network",
    "dynamics",
    "offset",
    "contrastive",
    "fresh_views",
    "supervised",
    "coefficients",
    "evaluation",
]
PURE = {*FLOW, "theory", "reference"}
NUMERICAL = {"numpy", "scipy", "numba", "llvmlite", "threadpoolctl"}
STANDARD = set(sys.stdlib_module_names)
HEAVY = ("numba", "scipy", "xarray", "pandas", "matplotlib", "jax", "pydantic", "typer", "rich")

PUBLIC = {
    "Claim",
    "ConfigError",
    "Evidence",
    "Experiment",
    "Instance",
    "Result",
    "compress",
    "draw",
    "info_nce",
    "load",
    "load_result",
    "logistic_loss",
    "power_matrix",
    "pretrain",
    "run",
    "run_many",
    "sweep",
    "theory",
    "train",
    "verify",
}


def name_of(path: Path) -> str:
    """First component inside the package: theory for theory/race.py."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Top-level names a module imports: third parties as they are, numsim's own with a leading dot."""
    found = set()
    depth = len(path.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            if node.level < depth:  # inside the same sub-package
                continue
            names = [node.module.split(".")[0]] if node.module else [alias.name for alias in node.names]
            found |= {f".{name}" for name in names}
    return found


def test_numba_is_imported_in_one_file_only() -> None:
    users = {path.name for path in MODULES if "numba" in imports(path)}
    assert users == {"_jit.py"}


def test_generators_are_made_in_one_file_only() -> None:
    makers = re.compile(r"np\.random\.(?!Generator\b)|np\.random\.Generator\(|RandomState")
    users = {path.name for path in MODULES if makers.search(path.read_text())}
    assert users == {"streams.py"}


def test_reference_imports_nothing_of_numsim() -> None:
    assert imports(PACKAGE / "reference.py") <= {"numpy"} | STANDARD


@pytest.mark.parametrize("path", [p for p in MODULES if name_of(p) in PURE], ids=lambda p: p.stem)
def test_the_pure_simulator_imports_numerics_and_its_left(path: Path) -> None:
    found = imports(path)
    own = {name[1:] for name in found if name.startswith(".")}
    assert {name for name in found if not name.startswith(".")} <= NUMERICAL | STANDARD
    if name_of(path) in FLOW:
        assert own <= set(FLOW[: FLOW.index(name_of(path))])
    else:
        assert own <= PURE


@pytest.mark.parametrize(
    "module",
    ["config", "experiment", "result", "prediction", "levels", "comparison", "claims", "registry"],
)
def test_nothing_below_the_surface_imports_it(module: str) -> None:
    surface = {
        *(".cli", ".plotting", ".tables", ".export", ".figures", ".verification", ".report", ".svg"),
        ".notes",
    }
    assert not imports(PACKAGE / f"{module}.py") & surface


def test_public_names_are_frozen_and_lazy() -> None:
    assert set(numsim.__all__) == PUBLIC
    assert all(getattr(numsim, name) is not None for name in numsim.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        numsim.no_such_name  # noqa: B018


def test_importing_numsim_imports_nothing_heavy() -> None:
    code = f"import sys, numsim; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_packages_in_setup_cfg_are_those_of_the_tree() -> None:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    declared = set(parser["options"]["packages"].split())
    tree = {".".join(p.parent.relative_to(ROOT).parts) for p in PACKAGE.rglob("__init__.py")}
    assert declared == tree | {"numsim.derivations"}
    folders = dict(line.split(" = ") for line in parser["options"]["package_dir"].strip().splitlines())
    assert folders["numsim.derivations"] == "derivations"
    assert parser["metadata"]["version"] == numsim.__version__


def public_functions() -> Sequence[object]:
    names = [*numsim.__all__, *(f"theory.{name}" for name in numsim.theory.__all__)]
    found: list[object] = []
    for name in names:
        value: object = numsim
        for part in name.split("."):
            value = getattr(value, part)
        if inspect.isfunction(value):
            found.append(pytest.param(value, id=name))
    return found


@pytest.mark.parametrize("function", public_functions())
def test_public_docstrings_name_every_parameter(function: object) -> None:
    assert inspect.isfunction(function)
    text = inspect.getdoc(function) or ""
    missing = [name for name in inspect.signature(function).parameters if not re.search(rf"\b{name}\b", text)]
    assert not missing


def test_kernels_take_at_most_eight_arguments() -> None:
    for path in (PACKAGE / "_kernels").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert len(node.args.args) <= 8, node.name


def test_no_machine_paths() -> None:
    notes = (ROOT / "derivations").iterdir()
    for path in [*MODULES, *(p for p in notes if p.is_file()), ROOT / "README.md", ROOT / "setup.cfg"]:
        assert not re.search(r"/(work|root|home)/[a-z]", path.read_text()), path
