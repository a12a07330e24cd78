#!/usr/bin/env python3
"""Do the tests notice a plausible mistake?

Each entry of the *.toml files beside this program is a small wrong change of the source: the file,
the text there and what replaces it. The program applies one at a time in a copy of the repository,
builds, and runs the fast tests: unit tests first, then guest kernels under the engines. A mutation
is noticed where it does not build or some test fails; otherwise it survives, and the tests have a
hole. It takes about a minute for each, so it runs on demand.

usage: run.py [--check] [--jobs N] [--percent P] [NAME...]

--check     only see that each entry still fits the source: its text occurs there exactly once
--jobs      so many copies at once (default 2)
--percent   so many of a hundred must be noticed for exit status 0 (default 95)
NAME        only these mutations

An entry:

    [[mutation]]
    name = "pit-mode3-odd"                 # unique
    file = "src/device/chipset/pit.c"
    old = "..."                            # occurs exactly once in the file
    new = "..."
    kernels = ["time"]                     # optional: guest kernels that should see it, tried first
"""

import argparse
import concurrent.futures
import glob
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
ENGINES = ("bt", "interp")
FIELDS = {"name", "file", "old", "new", "kernels"}


def read_list():
    mutations = []
    for path in sorted(glob.glob(os.path.join(HERE, "*.toml"))):
        with open(path, "rb") as file:
            mutations += tomllib.load(file)["mutation"]
    return mutations


def misfits(mutations):
    """What is wrong with the entries, a line each."""
    names = set()
    for m in mutations:
        name = m.get("name", "?")
        if not {"name", "file", "old", "new"} <= m.keys() <= FIELDS:
            yield f"{name}: the fields are {sorted(FIELDS)}"
            continue
        if name in names:
            yield f"{name}: the name stands twice"
        names.add(name)
        try:
            with open(os.path.join(TOP, m["file"])) as file:
                count = file.read().count(m["old"])
        except OSError as error:
            yield f"{name}: {error}"
            continue
        if count != 1:
            yield f"{name}: its text occurs {count} times in {m['file']}, not once"


class Copy:
    """A copy of the repository with a build of its own."""

    def __init__(self, directory, number):
        self.path = os.path.join(directory, str(number))
        ignore = shutil.ignore_patterns("build*", ".git", ".cache")
        shutil.copytree(TOP, self.path, ignore=ignore, symlinks=True)
        self.build = os.path.join(self.path, "build")
        self.run(["meson", "setup", "--buildtype=release", "-Dwerror_ci=false", self.build, self.path], 300)
        if not self.compile():
            sys.exit("run.py: the repository does not build as it is")
        self.fails_anyway = set(self.failures(()))
        if self.fails_anyway:
            print("# fail without any mutation, and prove nothing:", *sorted(self.fails_anyway))

    def run(self, command, seconds):
        try:
            return subprocess.run(command, cwd=self.path, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=seconds).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def compile(self):
        return self.run(["ninja", "-C", self.build], 1200)

    def unit_tests(self):
        listing = subprocess.run(["meson", "test", "-C", self.build, "--list", "--suite", "unit"],
            cwd=self.path, capture_output=True, text=True).stdout
        names = [line.rsplit(" / ", 1)[-1] for line in listing.splitlines() if " / " in line]
        # Those that take longest come last.
        return sorted(names, key=lambda name: name in ("interp", "bt_fault"))

    def failures(self, first):
        """The tests that fail, as they are found."""
        veneer = os.path.join(self.build, "veneer")
        script = os.path.join(self.path, "tests/guest/run-kernels.sh")

        for engine in ENGINES if first else ():
            if not self.run([script, veneer, self.build, engine, *first], 600):
                yield f"kernels {' '.join(first)} ({engine})"
        for name in self.unit_tests():
            if not self.run(["meson", "test", "-C", self.build, "--no-rebuild", name], 300):
                yield f"unit test {name}"
        for engine in ENGINES:
            for line in open(os.path.join(self.build, "guests/kernels/kernels.list")):
                kernel = line.split()[0] if line.strip() else None
                if kernel and not self.run([script, veneer, self.build, engine, kernel], 300):
                    yield f"kernel {kernel} ({engine})"

    def noticed_by(self, mutation):
        """The first test that notices the mutation; None: it survives."""
        path = os.path.join(self.path, mutation["file"])
        with open(path) as file:
            text = file.read()
        try:
            with open(path, "w") as file:
                file.write(text.replace(mutation["old"], mutation["new"]))
            if not self.compile():
                return "the compiler"
            for test in self.failures(mutation.get("kernels", ())):
                if test not in self.fails_anyway:
                    return test
            return None
        finally:
            with open(path, "w") as file:
                file.write(text)


def main():
    parser = argparse.ArgumentParser(description="Do the tests notice a plausible mistake?")
    parser.add_argument("--check", action="store_true", help="only see that the entries fit the source")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--percent", type=float, default=95)
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()

    mutations = read_list()
    wrong = list(misfits(mutations))
    for line in wrong:
        print("run.py:", line, file=sys.stderr)
    unknown = set(options.names) - {m.get("name") for m in mutations}
    if unknown:
        sys.exit(f"run.py: no mutation is named {', '.join(sorted(unknown))}")
    if options.check or wrong:
        print(f"{len(mutations)} mutations, {len(wrong)} do not fit")
        return 1 if wrong else 0
    if options.names:
        mutations = [m for m in mutations if m["name"] in options.names]

    survivors = []
    copies = queue.Queue()
    with tempfile.TemporaryDirectory(prefix="mutations-") as directory:
        for number in range(max(1, min(options.jobs, len(mutations)))):
            copies.put(Copy(directory, number))

        def try_one(mutation):
            copy = copies.get()
            start = time.monotonic()
            test = copy.noticed_by(mutation)
            copies.put(copy)
            if test is None:
                survivors.append(mutation["name"])
            print(f"{'noticed ' if test else 'SURVIVES'} {mutation['name']:32}"
                f" {time.monotonic() - start:5.0f} s  {test or mutation['file']}", flush=True)

        with concurrent.futures.ThreadPoolExecutor(copies.qsize()) as pool:
            for done in [pool.submit(try_one, m) for m in mutations]:
                done.result()
    noticed = len(mutations) - len(survivors)
    percent = 100 * noticed / len(mutations)
    print(f"{noticed} of {len(mutations)} mutations noticed, {percent:.1f} %;"
        f" survivors: {', '.join(sorted(survivors)) or 'none'}")
    return 0 if percent >= options.percent else 1


if __name__ == "__main__":
    sys.exit(main())
