#!/usr/bin/env bash
# Moves the finished items of TODO.md, marked `[x]` behind their number, to
# .docs/DONE/<date>-todo.md, and numbers the others anew. Without finished items it changes nothing.
#
#   archive_todo.sh [DATE]         DATE as 2026-01-31; today where it is not given
set -euo pipefail
cd "$(dirname "$0")/../.."
exec python3 - "$@" <<'PY'
import datetime
import pathlib
import re
import sys

try:
    date = datetime.date.fromisoformat(sys.argv[1]) if sys.argv[1:] else datetime.date.today()
except ValueError:
    sys.exit("archive_todo.sh [DATE], such as 2026-01-31")

todo = pathlib.Path("TODO.md")
kept, done, number, in_done = [], [], 0, False
for line in todo.read_text(encoding="utf-8").splitlines(keepends=True):
    item = re.match(r"\d+\. (\[x\] )?", line)
    if item:
        in_done = item.group(1) is not None
        number += not in_done
        text = line[item.end() :]
        (done if in_done else kept).append(f"- {text}" if in_done else f"{number}. {text}")
    elif in_done and line.startswith(" "):
        done.append(f"  {line.lstrip()}")
    else:
        in_done = False
        kept.append(line)
if not done:
    sys.exit(print("no finished items", file=sys.stderr))
archive = pathlib.Path(f".docs/DONE/{date}-todo.md")
archive.parent.mkdir(parents=True, exist_ok=True)
if not archive.exists():
    archive.write_text(f"# Done by {date}\n\n", encoding="utf-8")
with archive.open("a", encoding="utf-8") as out:
    out.writelines(done)
todo.write_text("".join(kept), encoding="utf-8")
print(archive, file=sys.stderr)
PY
