"""Plants one mistake at a time in a copy of the repository and asks the gate named for it.

A gate counts as red only if it was green before, if what was planted compiles, and if the gate says
what is wrong. Not here: whether the gates are green, which is dev:loop's business; here it is only
made sure of.
"""

import fcntl
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import traced
from copy_of_tree import Copy, Failure, words_of

# The code of how many requirements is disabled. Commits differ in which, so that over time all are.
SAMPLED = {(): 2, ("--full",): 10, ("--all",): None}
PROGRAMS = ["orchestratord", "pool-managerd", "llama-orch-cli", "test-harness-fake-engine", "xtask"]


@dataclass
class Gate:
    name: str
    command: list
    # A run of cargo is built first, so that a mistake that does not compile is not taken for found.
    builds: bool = False
    # Programs that the gate starts, and that cargo does not build for it.
    programs: bool = False


@dataclass
class Plant:
    name: str
    gate: Gate
    file: str
    change: object
    # What the gate must say.
    says: str


def replaced(old, new):
    return lambda text: text.replace(old, new, 1)


def plants(copy):
    xtask = str(copy.build / "debug" / "xtask")
    tidy = Gate("xtask tidy", [xtask, "tidy"])
    generated = Gate("xtask regen --check", [xtask, "regen", "--check"])
    links = Gate("check_links.sh", ["ci/scripts/check_links.sh"])
    walk = ["cargo", "test", "--package", "tools-openapi-client", "--test", "provider_verify"]
    walk = Gate("router walk", walk, builds=True, programs=True)
    metrics = ["cargo", "test", "--package", "orchestratord", "--lib"]
    metrics = Gate("metrics of orchestratord", metrics, builds=True)
    if (copy.tree / "test-harness/metrics-contract").exists():
        metrics = ["cargo", "test", "--package", "test-harness-metrics-contract"]
        metrics = Gate("metrics contract", metrics, builds=True, programs=True)
    tagged, requirement = sole_tag(copy.tree)
    drop_tag = replaced(requirement, "OC-CORE-1001")
    return [
        Plant(
            "a renamed metric",
            metrics,
            "orchestratord/src/telemetry/metrics.rs",
            replaced('"tokens_in_total"', '"tokens_read_total"'),
            "tokens_in_total",
        ),
        Plant(
            "a dropped header",
            walk,
            "orchestratord/src/api/correlation.rs",
            replaced("response.headers_mut().insert(CORRELATION_HEADER, value);", "drop(value);"),
            "(?i)correlation",
        ),
        Plant(
            "a changed status",
            walk,
            "orchestratord/src/api/error.rs",
            replaced("NotFound => StatusCode::NOT_FOUND", "NotFound => StatusCode::IM_A_TEAPOT"),
            "418",
        ),
        Plant(
            f"a deleted test tag ({requirement})",
            generated,
            tagged,
            drop_tag,
            f"{requirement} is a MUST without a test",
        ),
        Plant(
            "a hand-edited YAML",
            generated,
            "contracts/openapi/data.yaml",
            replaced("description:", "description: By hand."),
            r"data\.yaml differs",
        ),
        Plant(
            "a broken link",
            links,
            "README.md",
            lambda text: text + "\nSee [nowhere](no/such/file.md).\n",
            "leads nowhere",
        ),
        Plant(
            "an import against a layer rule",
            tidy,
            "orchestrator-core/src/priority.rs",
            lambda text: text + "\nuse std::fs as _;\n",
            "the core does no I/O",
        ),
    ]


def sole_tag(tree):
    """A binding requirement that one test alone carries, and the file of that test."""
    files = sorted((tree / "requirements").glob("[0-9]*.yaml"))
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    binding = set(re.findall(r"- id: (\S+)\n  level: MUST", text))
    for one in traced.requirements(tree):
        if one.id in binding and len(one.tests) == 1 and one.tests[0][0].endswith(".rs"):
            file = one.tests[0][0]
            if (tree / file).read_text(encoding="utf-8").count(one.id) == 1:
                return file, one.id
    raise Failure("no requirement has one test alone: adapt ci/mutations")


def build_programs(copy):
    packages = [word for package in PROGRAMS for word in ("--package", package)]
    return ["cargo", "build", *packages]


def must_build(copy, gate):
    for command in commands_before(copy, gate):
        copy.must(command)


def commands_before(copy, gate):
    if gate.programs:
        yield build_programs(copy)
    if gate.builds:
        yield [*gate.command, "--no-run"]


def builds(copy, gate):
    return all(copy.run(command, patience_s=1800)[0] for command in commands_before(copy, gate))


def ask(copy, plant):
    """What came of one plant: `found`, or why not."""
    with copy.spoil(plant.file, plant.change):
        for command in commands_before(copy, plant.gate):
            built, output = copy.run(command, patience_s=1800)
            if not built:
                return f"does not compile:\n{words_of(output)}"
        green, output = copy.run(plant.gate.command)
    if green:
        return "NOT FOUND"
    if not re.search(plant.says, output):
        return f"red for another reason:\n{words_of(output)}"
    return "found"


def commit(root):
    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, check=False)
    return git.stdout.decode().strip() or "no commit"


def ask_tests(copy, requirement):
    """Disables the code of one requirement, place by place, until one of its tests notices.

    Nothing where no place can be disabled so that it compiles.
    """
    places = [place for place in requirement.code if place[1] and place[0].endswith(".rs")]
    survived = None
    for file, item in places[: traced.PLACES_MAX]:
        text = (copy.tree / file).read_text(encoding="utf-8")
        for spoilt in traced.disabled(text, requirement.id, item):
            verdict = notices(copy, requirement, file, spoilt)
            if verdict == "found":
                return f"found ({item})"
            if verdict:
                survived = f"NOT FOUND ({item} of {file})"
                break
    return survived


def notices(copy, requirement, file, spoilt):
    package = traced.package_of(copy.tree / traced.crate_of(copy.tree, file) / "Cargo.toml")
    verdict = None
    for of_package, command, names in traced.test_commands(copy.tree, requirement.tests, package):
        # Other packages' tests start programs of their own, which cargo builds for them.
        programs = of_package.startswith(("test-harness-", "tools-openapi-client"))
        gate = Gate(of_package, command, builds=True, programs=programs)
        with copy.spoil(file, lambda _: spoilt):
            if not builds(copy, gate):
                return verdict
            green, output = copy.run([*command, "--", *names])
        if green and "running 0 tests" in output and " 1 passed" not in output:
            continue
        verdict = "NOT FOUND"
        # What fails without the plant too has not noticed it.
        if not green:
            must_build(copy, gate)
            copy.must([*command, "--", *names])
            return "found"
    return verdict


class Table:
    def __init__(self):
        self.rows, self.since = [], time.monotonic()

    def add(self, plant, gate, verdict):
        now = time.monotonic()
        self.rows.append((plant, gate, verdict.split("\n")[0], now - self.since))
        self.since = now
        print(f"{plant}: {verdict}", flush=True)

    def show(self):
        print(f"\n{'planted':<44} {'gate':<28} {'seconds':>7}  result")
        for plant, gate, verdict, seconds in self.rows:
            print(f"{plant:<44} {gate:<28} {seconds:>7.1f}  {verdict}")

    def all_found(self):
        return all(verdict.startswith("found") or gate == "" for _, gate, verdict, _ in self.rows)


def mutate(copy, sampled):
    table = Table()
    copy.make()
    copy.must(build_programs(copy))
    planted = plants(copy)
    for gate in {plant.gate.name: plant.gate for plant in planted}.values():
        must_build(copy, gate)
        copy.must(gate.command)
    table.add("nothing", "", "all gates are green")
    for plant in planted:
        table.add(plant.name, plant.gate.name, ask(copy, plant))
    done = 0
    for requirement in traced.sample(copy.tree, commit(copy.root)):
        if done == sampled:
            break
        verdict = ask_tests(copy, requirement)
        if verdict is None:
            table.add(f"code of {requirement.id}", "", "skipped: no function to disable")
            continue
        table.add(f"code of {requirement.id}", "its tagged tests", verdict)
        done += 1
    table.show()
    if sampled and done < sampled:
        raise Failure(f"the code of only {done} of {sampled} requirements could be disabled")
    return table.all_found()


def stop(*_):
    raise KeyboardInterrupt


def main():
    if tuple(sys.argv[1:]) not in SAMPLED:
        sys.exit("mutate_gates.sh [--full|--all]")
    signal.signal(signal.SIGTERM, stop)
    copy = Copy(Path.cwd())
    copy.work.mkdir(parents=True, exist_ok=True)
    with open(copy.work / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            found = mutate(copy, SAMPLED[tuple(sys.argv[1:])])
        except Failure as failure:
            sys.exit(f"mutate_gates.sh: {failure}")
        except KeyboardInterrupt:
            sys.exit(130)
        finally:
            copy.remove()
    sys.exit(0 if found else "mutate_gates.sh: a mistake was not found")


main()
