#!/usr/bin/env bash
# Every relative link in every Markdown file leads to a file that exists, and every #anchor to a
# heading. Links to other hosts are not followed: this check needs no network.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec python3 - "$@" <<'PY'
import os
import re
import sys
from urllib.parse import unquote

HIDDEN_SOURCES = {".specs", ".docs", ".ci", ".github"}
INLINE = re.compile(r"!?\[(?:[^\]\\]|\\.)*\]\(\s*<?([^)\s>]*)>?[^)]*\)")
REFERENCE = re.compile(r"^ {0,3}\[[^\]]+\]:\s*<?([^\s>]+)>?")
OTHER_HOST = re.compile(r"^(?:[a-z][a-z0-9+.-]*:|//)", re.IGNORECASE)


def markdown_files():
    for folder, folders, files in os.walk("."):
        folders[:] = sorted(
            name
            for name in folders
            if (name in HIDDEN_SOURCES if name.startswith(".") else name != "target")
        )
        for name in sorted(files):
            if name.endswith(".md"):
                yield os.path.normpath(os.path.join(folder, name))


def prose(path):
    """The lines outside code fences, with inline code taken out."""
    fence = None
    with open(path, encoding="utf-8") as text:
        for number, line in enumerate(text, 1):
            mark = re.match(r"\s*(```+|~~~+)", line)
            if mark and fence is None:
                fence = mark.group(1)
            elif mark and line.strip().startswith(fence):
                fence = None
            elif fence is None:
                yield number, line.rstrip("\n")


def anchors(path):
    """The anchors of the headings, made as GitHub makes them."""
    found = {}
    for _, line in prose(path):
        heading = re.match(r"#{1,6}\s+(.*?)\s*#*$", line)
        if not heading:
            continue
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.group(1)).lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        times = found.get(anchor, -1) + 1
        found[anchor] = times
        if times:
            found[f"{anchor}-{times}"] = 0
    return found


def fault(path, target):
    """What is wrong with a link, or nothing."""
    if OTHER_HOST.match(target):
        return None
    file, _, anchor = unquote(target).partition("#")
    if file.startswith("/"):
        return "is absolute: write it relative to this file"
    whole = os.path.normpath(os.path.join(os.path.dirname(path), file)) if file else path
    if whole.startswith(".."):
        return "leads out of the repository: remove it"
    if not os.path.exists(whole):
        return "leads nowhere: correct it, or write the file"
    if anchor and whole.endswith(".md") and anchor not in anchors(whole):
        return f"has no heading `#{anchor}` in {whole}: correct it"
    return None


faults = links = 0
for path in markdown_files():
    for number, line in prose(path):
        line = re.sub(r"(`+)(?:(?!\1).)*\1", "`code`", line)
        for target in INLINE.findall(line) + REFERENCE.findall(line):
            links += 1
            what = fault(path, target)
            if what:
                faults += 1
                print(f"{path}:{number}: link `{target}` {what}", file=sys.stderr)
print(f"{links} links, {faults} of them broken", file=sys.stderr)
sys.exit(1 if faults else 0)
PY
