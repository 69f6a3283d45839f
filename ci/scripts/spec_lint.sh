#!/usr/bin/env bash
# The form of the specs: one RFC 2119 key word per requirement, well-formed ids that are defined once
# and where they stand as anchors, references to ids that exist, links inside the repository, and at
# most 100 columns. Whether a requirement has a test is asked by spec-extract.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec python3 - "$@" <<'PY'
import os
import re
import sys
from pathlib import Path

COLUMNS_MAX = 100
KEY_WORDS = re.compile(r"\b(MUST NOT|MUST|SHOULD NOT|SHOULD|MAY)\b")
OTHER_WORDS = re.compile(r"\b(SHALL(?: NOT)?|REQUIRED|RECOMMENDED|OPTIONAL)\b")
WEAK_WORDS = re.compile(r"\b(must|shall|should)\b", re.IGNORECASE)
ITEM = re.compile(r"^- \[([^\]\s]+)\](?!\()(.*)$")
ID = re.compile(r"[A-Z]+(?:-[A-Z]+)*-\d{3,4}")
MENTION = re.compile(r"(?<![\w-])([A-Z]+(?:-[A-Z]+)*)-(\d[\dx]{2,3})(?![\w-])")
BOXED = re.compile(r"\[((?:[A-Z]+-)+\d{3,4})\]")
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)")
NOTICE = "The key words MUST, MUST NOT, SHOULD, SHOULD NOT and MAY are to be read as in RFC 2119."

faults = []
defined = {}


def fault(path, number, what):
    faults.append(f"{path}:{number}: {what}")


def specs():
    found = list(Path(".specs").rglob("*.md"))
    for folder, folders, _ in os.walk("."):
        folders[:] = [name for name in folders if name != "target" and not name.startswith(".")]
        found += [Path(folder) / "SPEC.md"] if (Path(folder) / "SPEC.md").is_file() else []
    return sorted(found)


def check_sentence(path, number, name, text):
    words = KEY_WORDS.findall(text)
    if len(words) != 1:
        what = "has no key word" if not words else f"has {len(words)} key words"
        fault(path, number, f"{name} {what}: say MUST, MUST NOT, SHOULD, SHOULD NOT or MAY once")
    for other in OTHER_WORDS.findall(text):
        fault(path, number, f"{name} says {other}: use one of the key words")
    for weak in WEAK_WORDS.findall(text):
        if not weak.isupper():
            fault(path, number, f"{name} says `{weak}`: write a key word in capitals, or another word")
    if not text.rstrip().endswith((".", ":")):
        fault(path, number, f"{name} does not end with a full stop: finish the sentence")


def check_id(path, number, name):
    if not ID.fullmatch(name):
        fault(path, number, f"`{name}` is no id: write upper-case words and three or four digits")
    elif name in defined:
        where = "{}:{}".format(*defined[name])
        fault(path, number, f"{name} is defined in {where} too: take a free number")
    defined.setdefault(name, (path, number))


def read(path):
    """Checks what one file can tell, and answers its prose for what needs all of them."""
    prose, fenced = [], False
    lines = path.read_text(encoding="utf-8").splitlines()
    if NOTICE not in lines:
        fault(path, 1, f"lacks the notice: write `{NOTICE}`")
    if not lines or not lines[0].startswith("# "):
        fault(path, 1, "has no title: begin with `# `")
    for index, line in enumerate(lines):
        number = index + 1
        if len(line) > COLUMNS_MAX:
            fault(path, number, f"has {len(line)} columns: wrap it at {COLUMNS_MAX}")
        if line != line.rstrip():
            fault(path, number, "ends with blanks: remove them")
        fenced ^= line.startswith("```")
        if fenced:
            continue
        prose.append((number, line))
        item = ITEM.match(line)
        if item:
            text = item.group(2)
            for more in lines[number:]:
                if not more.startswith("  "):
                    break
                text += " " + more.strip()
            check_id(path, number, item.group(1))
            check_sentence(path, number, item.group(1), text)
        elif BOXED.search(line):
            fault(path, number, "an id in brackets defines it: here write it without brackets")
    return prose


def check_mentions(path, number, line, families):
    for family, digits in MENTION.findall(line):
        if family not in families:
            continue
        pattern = re.compile(f"{family}-{digits.replace('x', '[0-9]')}")
        if not any(pattern.fullmatch(name) for name in defined):
            fault(path, number, f"{family}-{digits} is defined nowhere: correct it")


def check_links(path, number, line):
    for target in LINK.findall(re.sub(r"`[^`]*`", "", line)):
        whole = (path.parent / target.split("#")[0]).resolve()
        if re.match(r"[a-z][a-z0-9+.-]*:|/", target):
            fault(path, number, f"link `{target}` is not relative to the repository: copy what is needed")
        elif not whole.is_relative_to(Path.cwd()) or not whole.exists():
            fault(path, number, f"link `{target}` leads nowhere in the repository: correct it")


files = {path: read(path) for path in specs()}
families = {name.rsplit("-", 1)[0] for name in defined}
for path, prose in files.items():
    for number, line in prose:
        check_mentions(path, number, line, families)
        check_links(path, number, line)
for line in faults:
    print(line, file=sys.stderr)
print(f"{len(files)} specs, {len(defined)} requirements, {len(faults)} faults", file=sys.stderr)
sys.exit(1 if faults else 0)
PY
