"""A Python program: bytearrays of common content, lists and strings, changed and checked by two threads while somebody
merges all of its memory. The conversation is that of victim.h."""
import mmap
import sys
import threading

PAGES = 1024
PAGE = 4096
BROKEN = "--broken" in sys.argv
counts = {"ops": 0, "lost": 0, "wrong": 0}
lock = threading.Lock()
stopping = threading.Event()


def content(page):
    kind = page % 8
    if kind == 0:
        return bytes(PAGE)
    if kind == 7:
        return (b"own page %08d " % page * 256)[:PAGE]
    return (b"common page %04d" % kind * 256)[:PAGE]


def work(first, end, memory, objects):
    pages = [content(page) for page in range(first, end)]
    changed = set()
    step = 0
    while not stopping.wait(0.001):
        ops = lost = wrong = 0
        for i in range(64):
            page = first + (step * 7 + i) % (end - first)
            expected = pages[page - first]
            if page in changed:
                expected = b"changed!" + expected[8:]
            got = memory[page * PAGE:(page + 1) * PAGE]
            if got != expected:
                lost += got == pages[page - first]
                wrong += got != pages[page - first]
            if step % 2 == 0:
                memory[page * PAGE:page * PAGE + 8] = b"changed!"
                changed.add(page)
            else:
                memory[page * PAGE:(page + 1) * PAGE] = pages[page - first]
                changed.discard(page)
            if objects[page] != [content(page % 8), str(page)]:
                wrong += 1
            ops += 1
        if BROKEN:
            memory[first * PAGE + 100] ^= 1
        step += 1
        with lock:
            counts["ops"] += ops
            counts["lost"] += lost
            counts["wrong"] += wrong


def report():
    with lock:
        print(" ".join("%s=%d" % pair for pair in counts.items()), flush=True)


def main():
    memory = mmap.mmap(-1, PAGES * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(PAGES):
        memory[page * PAGE:(page + 1) * PAGE] = content(page)
    objects = [[content(page % 8), str(page)] for page in range(PAGES)]
    half = PAGES // 2
    threads = [threading.Thread(target=work, args=(first, first + half, memory, objects)) for first in (0, half)]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "report":
            report()
        if line.strip() == "quit":
            break
    stopping.set()
    for thread in threads:
        thread.join()
    report()
    sys.exit(1 if counts["lost"] or counts["wrong"] else 0)


main()
