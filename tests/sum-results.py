"""Adds up what the test programs reported: prints skipped and failed tests, then "N passed, N failed, N skipped".

Usage: sum-results.py DIRECTORY PROJECT...      reads DIRECTORY/PROJECT.xml (xUnit's format), PROJECT.code, host.diff
"""

import pathlib
import sys
import xml.etree.ElementTree

# The test programs' own codes for "all is well" and "no test was chosen".
DONE, NOTHING_RAN = 0, 8


def text_of(test, path):
    found = test.find(path)
    return " ".join((found.text or "").split()) if found is not None else ""


def read_project(directory, project):
    """Numbers of passed, failed and skipped tests; a program that ended badly is one failure more."""
    passed = failed = skipped = 0
    code = int((directory / f"{project}.code").read_text())
    report = directory / f"{project}.xml"
    if report.exists():
        for test in xml.etree.ElementTree.parse(report).iter("test"):
            name = test.get("name")
            if test.get("result") == "Pass":
                passed += 1
            elif test.get("result") in ("Skip", "NotRun"):
                skipped += 1
                print(f"skipped: {name}: {text_of(test, 'reason') or 'no reason given'}")
            else:
                failed += 1
                print(f"failed: {name}: {text_of(test, 'failure/message')[:300]}")
        for error in xml.etree.ElementTree.parse(report).iter("error"):
            failed += 1
            print(f"failed: {project}: {error.get('type')} {text_of(error, 'failure/message')[:300]}")
    elif code != NOTHING_RAN:
        failed += 1
        print(f"failed: {project} ended with code {code} and without a report")
    if code not in (DONE, NOTHING_RAN) and failed == 0:
        failed += 1
        print(f"failed: {project} ended with code {code}")
    return passed, failed, skipped


def main(arguments):
    directory = pathlib.Path(arguments[0])
    totals = [sum(column) for column in zip(*(read_project(directory, project) for project in arguments[1:]))]
    passed, failed, skipped = totals
    differences = (directory / "host.diff").read_text().splitlines()
    if differences:
        failed += 1
        print("failed: the host is not as it was found:")
        for line in differences:
            print(f"  {line}")
    if passed + failed == 0:
        failed += 1
        print("failed: no test was run")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
