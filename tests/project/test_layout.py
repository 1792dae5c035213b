"""The layout of the source: packages use only each other's exports, and files stay small."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "rmnet"
MODULES = sorted(path.relative_to(SOURCE) for path in SOURCE.rglob("*.py"))
LONGEST = 300  # lines in a file

pytestmark = pytest.mark.skipif(not MODULES, reason="no checkout: src/rmnet is not here")


def imports(module):
    """Yield module and name of every `from rmnet... import name`."""
    for node in ast.walk(ast.parse((SOURCE / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("rmnet"):
            yield from ((node.module, alias.name) for alias in node.names)


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_packages_import_only_each_others_exports(module):
    own = module.parts[0]
    reached_into = [
        name
        for name, _ in imports(module)
        if name.count(".") > 1 and name.split(".")[1] != own and module.name != "__init__.py"
    ]
    assert reached_into == []


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_no_module_imports_a_private_name(module):
    private = [(name, one) for name, one in imports(module) if one.startswith("_")]
    assert private == []


@pytest.mark.parametrize("module", [path for path in MODULES if len(path.parts) > 1], ids=str)
def test_inside_a_package_no_module_imports_the_package(module):
    package = f"rmnet.{module.parts[0]}"
    if module.name != "__init__.py":
        assert package not in {name for name, _ in imports(module)}


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_files_stay_small(module):
    lines = len((SOURCE / module).read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST, f"{module} has {lines} lines: split it"


def test_exports_are_listed():
    for package in {path.parts[0] for path in MODULES if len(path.parts) > 1}:
        tree = ast.parse((SOURCE / package / "__init__.py").read_text(encoding="utf-8"))
        found = [
            node.value
            for node in tree.body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        ]
        assert len(found) == 1, f"rmnet.{package} has no __all__"
        assert sorted(ast.literal_eval(found[0])) == sorted(
            alias.asname or alias.name
            for node in tree.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
            if node.module != "__future__"
        )
