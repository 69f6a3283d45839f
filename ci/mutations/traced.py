"""Disabling the code that carries the tag of a requirement, to see one of its tests fail."""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

from copy_of_tree import package_of

# How many places of one requirement are tried: a build takes its time.
PLACES_MAX = 3


@dataclass
class Requirement:
    id: str
    tests: list = field(default_factory=list)
    code: list = field(default_factory=list)


def requirements(tree):
    """The tested requirements as spec-extract has written them: places are `(file, item)`."""
    found, places = [], None
    for path in sorted((tree / "requirements").glob("*.yaml")):
        if path.name in ("index.yaml", "open.yaml"):
            continue
        for line in path.read_text(encoding="utf-8").split("\n"):
            if line.startswith("- id: "):
                found.append(Requirement(line[6:]))
            elif line in ("  tests:", "  code:"):
                places = getattr(found[-1], line.strip(" :"))
            elif line.startswith('  - "') and places is not None:
                file, _, item = line[5:-1].partition(" ")
                places.append((file, item))
            elif line.startswith("  ") and not line.startswith("  - "):
                places = None
    return [requirement for requirement in found if requirement.tests]


def sample(tree, commit):
    """Requirements with code, in an order that each commit shuffles anew."""
    order = lambda one: hashlib.sha256(f"{commit} {one.id}".encode()).digest()
    return sorted((one for one in requirements(tree) if one.code), key=order)


def disabled(text, requirement, item):
    """The file with the tagged function disabled, in the ways that may compile."""
    tag = re.compile(rf"// spec:.*\b{requirement}\b")
    for found in re.finditer(rf"\bfn {re.escape(item)}\b", text):
        body = body_of(text, found.end())
        if body is None:
            continue
        begin, end = body
        above = text[: found.start()].rstrip().split("\n")
        head = []
        for line in reversed(above):
            if not line.lstrip().startswith(("//", "#[", "pub", "async", "const")):
                break
            head.append(line)
        if not tag.search("\n".join(head) + text[begin:end]):
            continue
        for value in values(text[found.end() : begin], text[begin:end]):
            yield text[:begin] + "{ " + value + " }" + text[end:]


def values(signature, body):
    """Values for a function of this signature that do not come from its body, the likeliest to
    compile last: a panic shows only that a test gets there."""
    arrow = re.search(r"->\s*(.*?)\s*(?:\bwhere\b.*)?$", signature, re.DOTALL)
    if not arrow:
        return [""]
    kind = arrow.group(1)
    if kind == "bool":
        return [f"!{body}"]
    value = "Default::default()"
    if "Result" in kind.split("<")[0]:
        value = "Ok(Default::default())"
    if kind.startswith("&") and kind.endswith("str"):
        value = '""'
    return [value, 'panic!("disabled")']


def body_of(text, start):
    """Begin and end of the braces of the function whose name ends at `start`."""
    depth, begin = 0, None
    for at, char in code_characters(text, start):
        if char in "([":
            depth += 1
        elif char in ")]":
            depth -= 1
        elif char == ";" and depth == 0 and begin is None:
            return None
        elif char == "{":
            if begin is None and depth == 0:
                begin = at
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0 and begin is not None:
                return begin, at + 1
    return None


def code_characters(text, start):
    """The characters that are neither in comments nor in literals."""
    literal = re.compile(
        r'//[^\n]*|/\*.*?\*/|r(#*)".*?"\1|"(?:\\.|[^"\\])*"|\'(?:\\.[^\']*|[^\'\\])\'', re.DOTALL
    )
    at = start
    while at < len(text):
        skipped = literal.match(text, at)
        if skipped:
            at = skipped.end()
            continue
        yield at, text[at]
        at += 1


def crate_of(tree, file):
    """The folder of the crate that the file belongs to."""
    return next(above for above in Path(file).parents if (tree / above / "Cargo.toml").exists())


def test_commands(tree, places, first):
    """A run of cargo for each package and target with tagged tests, the package `first` first."""
    runs = {}
    for file, item in places:
        folder = crate_of(tree, file)
        package = package_of(tree / folder / "Cargo.toml")
        inner = Path(file).relative_to(folder)
        if inner.parts[0] == "tests":
            target = ("--test", inner.parts[1].removesuffix(".rs"))
        else:
            kinds = {"--lib": "src/lib.rs", "--bins": "src/main.rs"}
            target = tuple(k for k, main in kinds.items() if (tree / folder / main).exists())
        if inner.parts[0] in ("tests", "src") and item:
            runs.setdefault((package, target), []).append(item)
    ordered = sorted(runs.items(), key=lambda run: (run[0][0] != first, run[0]))
    for (package, target), items in ordered:
        yield package, ["cargo", "test", "--package", package, *target], sorted(set(items))
