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
CHAPTERS = ROOT / "derivations"
MODULES = sorted(PACKAGE.rglob("*.py"))

# From the ground up: a module imports from its own storey and from those below.
STOREYS = ["models", "descent", "theory", "config", "runs", "sweeps", "claims", "shown", "cli", "__main__"]
PURE = {"models", "descent", "theory"}
UPWARDS = {("theory/conditions.py", "config")}
"""A preset's name is accepted wherever an experiment is: only then is the configuration loaded."""
NUMERICAL = {"numpy", "scipy", "numba", "llvmlite", "threadpoolctl"}
STANDARD = set(sys.stdlib_module_names)
HEAVY = ("numba", "scipy", "xarray", "pandas", "matplotlib", "jax", "pydantic", "typer", "rich")

PUBLIC = {
    "losses",
    "nt_xent",
    "spectral_loss",
    "Claim",
    "ConfigError",
    "Evidence",
    "Experiment",
    "Instance",
    "Result",
    "Samples",
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


def storey_of(module: str) -> str:
    """theory for numsim.theory.race."""
    return module.split(".")[1]


def module_of(path: Path) -> str:
    """numsim.theory.race for its file; a package for its __init__.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> set[str]:
    """Dotted names of all that a file imports, anywhere in it: numsim's own modules, others' first names."""
    module = module_of(path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    known = {module_of(other) for other in MODULES}
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            source = ".".join([*base, *(node.module or "").split(".")]).rstrip(".")
            for alias in node.names:
                inside = f"{source}.{alias.name}"
                found.add(inside if inside in known else source)
    return {name if name.split(".")[0] == "numsim" else name.split(".")[0] for name in found}


def own(path: Path) -> set[str]:
    """The modules of numsim that a file imports, but for the package's first, which is only names."""
    return {name for name in imports(path) if name.startswith("numsim.") and "derivations" not in name}


def test_numba_is_imported_in_one_file_only() -> None:
    users = {path.name for path in MODULES if "numba" in imports(path)}
    assert users == {"_jit.py"}


def test_generators_are_made_in_one_file_only() -> None:
    makers = re.compile(r"np\.random\.(?!Generator\b)|np\.random\.Generator\(|RandomState")
    users = {path.name for path in MODULES if makers.search(path.read_text())}
    assert users == {"streams.py"}


def test_reference_imports_nothing_of_numsim() -> None:
    for path in (PACKAGE / "descent" / "reference").glob("*.py"):
        own_parts = {name for name in own(path) if not name.startswith("numsim.descent.reference")}
        assert not own_parts
        assert {name for name in imports(path) if not name.startswith("numsim")} <= {"numpy"} | STANDARD


@pytest.mark.parametrize("path", MODULES, ids=module_of)
def test_a_module_stands_on_its_own_storey_and_those_below(path: Path) -> None:
    if path.parent == PACKAGE and path.stem in ("__init__", "losses"):  # names of other storeys, no code
        return
    height = STOREYS.index(storey_of(module_of(path))) if module_of(path) != "numsim.presets" else 0
    above = {storey_of(name) for name in own(path)} - set(STOREYS[: height + 1])
    name = path.relative_to(PACKAGE).as_posix()
    assert {storey for storey in above if (name, storey) not in UPWARDS} == set()


@pytest.mark.parametrize("path", [p for p in MODULES if p.parent.name in PURE], ids=module_of)
def test_the_pure_simulator_imports_numerics_only(path: Path) -> None:
    assert {name for name in imports(path) if not name.startswith("numsim")} <= NUMERICAL | STANDARD


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {module_of(path): own(path) for path in MODULES if path != PACKAGE / "__init__.py"}
    graph["numsim.theory.conditions"] -= {"numsim.config.sources"}  # UPWARDS
    while ends := {name for name, needed in graph.items() if not needed & graph.keys()}:
        graph = {name: needed for name, needed in graph.items() if name not in ends}
    assert graph == {}


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
    tree |= {".".join(("numsim", *p.parent.relative_to(ROOT).parts)) for p in CHAPTERS.rglob("__init__.py")}
    assert declared == tree
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
    for path in (PACKAGE / "descent" / "_kernels").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert len(node.args.args) <= 8, node.name


def test_no_machine_paths() -> None:
    notes = [path for path in CHAPTERS.rglob("*") if path.suffix in (".py", ".md")]
    for path in [*MODULES, *notes, ROOT / "README.md", ROOT / "setup.cfg"]:
        assert not re.search(r"/(work|root|home)/[a-z]", path.read_text()), path
