"""A copy of the repository with a build folder of its own, in which files can be spoilt.

Cargo tells by their times which files it has to build again. So the copy keeps the times of the
original, and a file that was put back gets a new one.
"""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

# Nothing that a gate runs may wait for ever: spoilt code may never answer.
PATIENCE_S = 240


class Failure(Exception):
    """The mutations cannot be carried out."""


def words_of(output):
    """What a failed command says of its failure, without the logs of what it ran."""
    kept = [line for line in output.split("\n") if not line.startswith(('{"', "   Compiling"))]
    return "\n".join(kept)[-4000:]


class Copy:
    def __init__(self, root):
        target = Path(os.environ.get("CARGO_TARGET_DIR") or root / "target").absolute()
        self.root = root
        self.work = target / "mutations"
        self.tree = self.work / "tree"
        self.build = self.work / "build"
        self.spoilt = self.work / "spoilt"
        self.seed = target / "debug"

    def make(self):
        self.remove()
        for name in self.files():
            place = self.tree / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.root / name, place)
        # A run that was killed may have built what it had spoilt.
        if self.spoilt.exists():
            for name in self.spoilt.read_text().split("\n"):
                if name and (self.tree / name).exists():
                    os.utime(self.tree / name)
            self.spoilt.unlink()
        if not self.build.exists():
            self.take_over_builds()

    def remove(self):
        shutil.rmtree(self.tree, ignore_errors=True)

    def files(self):
        """What git has or would take; without git everything but the build folder."""
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        git = subprocess.run(listed, cwd=self.root, capture_output=True, check=False)
        if git.returncode == 0:
            names = git.stdout.decode().split("\0")
        else:
            names = []
            for folder, folders, found in os.walk(self.root):
                folders[:] = [name for name in folders if name not in ("target", ".git")]
                names += [os.path.relpath(os.path.join(folder, name), self.root) for name in found]
        return [name for name in names if name and (self.root / name).is_file()]

    def take_over_builds(self):
        """Other people's crates need not be built twice. Ours are, since they know their folder."""
        libraries = self.build / "debug" / "deps"
        libraries.mkdir(parents=True)
        for path in (self.seed / "deps").glob("lib*"):
            if path.suffix in (".rlib", ".rmeta", ".so"):
                # Compilers replace such files and do not write into them.
                os.link(path, libraries / path.name)
        ours = {package_of(manifest) for manifest in self.tree.glob("**/Cargo.toml")}
        for kind in (".fingerprint", "build"):
            for path in (self.seed / kind).glob("*"):
                if path.name.rsplit("-", 1)[0] not in ours:
                    shutil.copytree(path, self.build / "debug" / kind / path.name, symlinks=True)

    def run(self, command, patience_s=PATIENCE_S):
        """Success and output of a command in the copy; one that does not end has no success."""
        env = dict(os.environ, CARGO_TARGET_DIR=str(self.build), CARGO_TERM_COLOR="never")
        env["RUST_BACKTRACE"] = "0"
        child = subprocess.Popen(
            command,
            cwd=self.tree,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            output, _ = child.communicate(timeout=patience_s)
            return child.returncode == 0, output.decode(errors="replace")
        except subprocess.TimeoutExpired:
            return False, f"no end within {patience_s} s"
        finally:
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            child.wait()

    def must(self, command):
        done, output = self.run(command, patience_s=3600)
        if not done:
            named = " ".join(map(str, command))
            raise Failure(f"{named} failed without any plant:\n{words_of(output)}")

    def spoil(self, name, change):
        """Changes a file; the result puts it back."""
        path = self.tree / name
        before = path.read_text(encoding="utf-8")
        after = change(before)
        if after == before:
            raise Failure(f"{name} has nothing to change: adapt ci/mutations")
        with self.spoilt.open("a") as spoilt:
            spoilt.write(f"{name}\n")
        path.write_text(after, encoding="utf-8")
        return Spoilt(path, before)


class Spoilt:
    def __init__(self, path, before):
        self.path, self.before = path, before

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.path.write_text(self.before, encoding="utf-8")
        # Some file systems round times: the next build must see a later one.
        time.sleep(0.01)
        os.utime(self.path)


def package_of(manifest):
    text = manifest.read_text(encoding="utf-8").partition("[package]")[2]
    for line in text.split("\n"):
        if line.startswith("name = "):
            return line.split('"')[1]
    return ""
