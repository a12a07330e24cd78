#!/usr/bin/env python3
"""Do the tests notice a plausible mistake?

Each entry of the *.toml files beside this program is a small wrong change of the source: a text
there, and what replaces it. The program applies one at a time in a copy of the repository, builds,
and runs the fast tests: unit tests first, then guest kernels under the engines, then the command
line's and the oracle. A mutation is noticed where some test fails, and fails again when it is repeated; otherwise it
survives, and the tests have a hole. It takes from ten seconds to some minutes for each, so it runs
on demand.

usage: run.py [--check] [--quick] [--jobs N] [--percent P] [NAME...]

--check     only see that each entry still fits: its text occurs in the source exactly once, and the
            tests that it names are there
--quick     only the tests that the entries name: a survivor may be noticed by others
--jobs      so many copies at once (default 2)
--percent   so many of a hundred must be noticed for exit status 0 (default 95)
NAME        only these mutations: a name, or the beginning of some followed by *

An entry:

    [[mutation]]
    name = "pit-mode3-odd"                 # unique
    old = "..."                            # occurs exactly once in the sources under src/
    new = "..."
    file = "src/device/chipset/pit.c"      # optional: occurs once there, wherever else it does
    tests = ["pit", "time"]                # optional: unit tests, guest kernels, "cli.sh", to try first
"""

import argparse
import concurrent.futures
import fnmatch
import glob
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tomllib

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
# "veneer run --engine" and more of its options.
ENGINES = {"bt hot": ("bt", "--bt-test hot,predict"), "bt": ("bt", ""), "interp": ("interp", "")}
SCRIPTS = ("cli.sh",)
SLOW_UNIT_TESTS = ("interp", "bt_fault", "touch")
FIELDS = {"name", "file", "old", "new", "tests"}


def read_list():
    mutations = []
    for path in sorted(glob.glob(os.path.join(HERE, "*.toml"))):
        with open(path, "rb") as file:
            mutations += tomllib.load(file)["mutation"]
    return mutations


def read_sources():
    sources = {}
    for path in sorted(glob.glob(os.path.join(TOP, "src", "**", "*.[chS]"), recursive=True)):
        with open(path) as file:
            sources[os.path.relpath(path, TOP)] = file.read()
    return sources


def find_places(mutations):
    """Set each entry's "file". What is wrong with the entries, a line each."""
    sources, names, wrong = read_sources(), set(), []
    for m in mutations:
        name = m.get("name", "?")
        if not {"name", "old", "new"} <= m.keys() <= FIELDS:
            wrong.append(f"{name}: the fields are {sorted(FIELDS)}")
            continue
        if name in names:
            wrong.append(f"{name}: the name stands twice")
        names.add(name)
        files = [m["file"]] if "file" in m else sources
        counts = {file: sources.get(file, "").count(m["old"]) for file in files}
        if sum(counts.values()) != 1:
            places = ", ".join(f"{file}: {count}" for file, count in counts.items() if count)
            wrong.append(f"{name}: its text does not occur once but {sum(counts.values())} times {places}")
            continue
        m["file"] = max(counts, key=counts.get)
    return wrong


def set_up(source, build):
    return ["meson", "setup", "--buildtype=release", "-Dwerror_ci=false", build, source]


class Tests:
    """The names of what there is in a build directory that has been set up."""

    def __init__(self, build):
        with open(os.path.join(build, "guests/kernels/kernels.list")) as file:
            self.kernels = [line.split()[0] for line in file if line.strip()]
        listing = subprocess.run(["meson", "test", "-C", build, "--list"], capture_output=True,
            text=True).stdout.splitlines()
        tests = [line.split(" / ", 1) for line in listing if " / " in line]
        self.unit = sorted((name for suite, name in tests if suite.endswith(":unit")),
            key=lambda name: name in SLOW_UNIT_TESTS)
        self.other = [name for suite, name in tests if not suite.endswith(":unit")]


def find_tests(mutations):
    """What names no test in the entries, a line each."""
    with tempfile.TemporaryDirectory(prefix="mutations-") as build:
        subprocess.run(set_up(TOP, build), check=True, stdout=subprocess.DEVNULL)
        tests = Tests(build)
    known = {*tests.unit, *tests.kernels, *SCRIPTS}
    return [f"{m['name']}: there is no test {name}" for m in mutations
        for name in m.get("tests", []) if name not in known]


class Copy:
    """A copy of the repository with a build of its own."""

    def __init__(self, directory, name):
        self.path = os.path.join(directory, name)
        self.build = os.path.join(self.path, "build")
        ignore = shutil.ignore_patterns("build*", ".git", ".cache")
        shutil.copytree(TOP, self.path, ignore=ignore, symlinks=True)
        self.run(set_up(self.path, self.build), 300)
        if not self.compile(["veneer"]):
            sys.exit("run.py: the repository does not build as it is")
        self.tests = Tests(self.build)

    def run(self, command, seconds, **environment):
        try:
            return subprocess.run(command, cwd=self.path, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=seconds,
                env={**os.environ, **environment}).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def compile(self, targets=()):
        return self.run(["ninja", "-C", self.build, *targets], 1800)

    def passes(self, test):
        """A test is (kind, name, engine)."""
        kind, name, engine = test
        if kind == "script":
            return self.run([f"tests/cli/{name}", f"{self.build}/veneer", self.build, self.path], 900)
        if kind != "kernel":
            return self.run(["meson", "test", "-C", self.build, "--no-rebuild", "-t0.5", name], 600)
        engine, options = ENGINES[engine]
        return self.run(
            ["tests/guest/run-kernels.sh", f"{self.build}/veneer", self.build, engine, name], 600,
            RUN_OPTIONS=options, TIMEOUT_SCALE="2")

    def first_tests(self, names):
        for name in names:
            if name in self.tests.unit:
                yield "unit test", name, None
            elif name in SCRIPTS:
                yield "script", name, None
            elif name in self.tests.kernels:
                yield from (("kernel", name, engine) for engine in ENGINES)

    def all_tests(self):
        yield from (("unit test", name, None) for name in self.tests.unit)
        yield from (("kernel", name, engine) for engine in ENGINES for name in self.tests.kernels)
        yield from (("script", name, None) for name in SCRIPTS)
        yield from (("test", name, None) for name in self.tests.other)

    def targets(self, names):
        """What must be built for these tests, if that is known; else nothing, which is all."""
        targets = ["veneer"]
        for name in names:
            if name in self.tests.kernels:
                targets.append(f"guests/kernels/{name}")
            elif os.path.exists(f"{self.path}/tests/unit/test_{name}.c"):
                targets.append(f"tests/unit/test_{name}")
            else:
                return []
        return targets


class Original(Copy):
    """The copy without a mutation. What fails here too proves nothing."""

    def __init__(self, directory):
        super().__init__(directory, "original")
        self.known, self.lock = {}, threading.Lock()

    def confirms(self, test):
        with self.lock:
            if test not in self.known:
                self.compile(self.targets([test[1]]))
                self.known[test] = self.passes(test) or self.passes(test)
                if not self.known[test]:
                    print(f"# {describe(test)} fails without any mutation, and proves nothing", flush=True)
            return self.known[test]


def describe(test):
    kind, name, engine = test
    return f"{kind} {name}" + (f" ({engine})" if engine else "")


def noticed_by(copy, original, mutation, quick):
    """The first test that notices the mutation; None: it survives."""
    def search(tests):
        for test in tests:
            if not copy.passes(test) and not copy.passes(test) and original.confirms(test):
                return describe(test)
        return None

    path = os.path.join(copy.path, mutation["file"])
    with open(path) as file:
        text = file.read()
    try:
        with open(path, "w") as file:
            file.write(text.replace(mutation["old"], mutation["new"]))
        first = mutation.get("tests", [])
        if first and copy.compile(copy.targets(first)):
            found = search(copy.first_tests(first))
            if found or quick:
                return found
        # The list's own mistake: it says nothing about tests.
        if not copy.compile():
            print(f"# {mutation['name']} does not build", flush=True)
            return None
        return None if quick else search(copy.all_tests())
    finally:
        with open(path, "w") as file:
            file.write(text)


def select(mutations, patterns):
    if not patterns:
        return mutations
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(m["name"], pattern) for m in mutations):
            sys.exit(f"run.py: no mutation is named {pattern}")
    return [m for m in mutations if any(fnmatch.fnmatchcase(m["name"], p) for p in patterns)]


def run_all(mutations, jobs, quick):
    """The names of those that survive."""
    survivors = []
    copies = queue.Queue()
    with tempfile.TemporaryDirectory(prefix="mutations-") as directory:
        original = Original(directory)
        for number in range(max(1, min(jobs, len(mutations)))):
            copies.put(Copy(directory, str(number)))

        def try_one(mutation):
            copy = copies.get()
            start = time.monotonic()
            test = noticed_by(copy, original, mutation, quick)
            copies.put(copy)
            if test is None:
                survivors.append(mutation["name"])
            print(f"{'noticed ' if test else 'SURVIVES'} {mutation['name']:32}"
                f" {time.monotonic() - start:5.0f} s  {test or mutation['file']}", flush=True)

        with concurrent.futures.ThreadPoolExecutor(copies.qsize()) as pool:
            for done in [pool.submit(try_one, m) for m in mutations]:
                done.result()
    return survivors


def main():
    parser = argparse.ArgumentParser(description="Do the tests notice a plausible mistake?")
    parser.add_argument("--check", action="store_true", help="only see that the entries fit the source and the tests")
    parser.add_argument("--quick", action="store_true", help="only the tests that the entries name")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--percent", type=float, default=95)
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()

    mutations = read_list()
    wrong = find_places(mutations)
    if options.check:
        wrong += find_tests(mutations)
    for line in wrong:
        print("run.py:", line, file=sys.stderr)
    if options.check or wrong:
        print(f"{len(mutations)} mutations, {len(wrong)} do not fit")
        return 1 if wrong else 0
    mutations = select(mutations, options.names)
    survivors = run_all(mutations, options.jobs, options.quick)
    noticed = len(mutations) - len(survivors)
    percent = 100 * noticed / len(mutations)
    print(f"{noticed} of {len(mutations)} mutations noticed, {percent:.1f} %;"
        f" survivors: {', '.join(sorted(survivors)) or 'none'}")
    return 0 if percent >= options.percent else 1


if __name__ == "__main__":
    sys.exit(main())
