"""Runs inside the client's own Pod, after the text of `probe_script`; told by one JSON line, `SPEC`.

Sends one request to each arm side by side, again and again, and prints what came back as it comes: a line of JSON with
a list of rounds, at least one line a second. A round is [seconds since 1970, [status, colour, milliseconds] per arm].
It ends when standard input does, or when its time or its number of rounds is over.
"""

import http.client
import json
import sys
import threading
import time

WARM_SECONDS = 5.0
REOPENED = ("RemoteDisconnected", "BrokenPipeError", "ConnectionResetError")


def rounds(spec, number, rows, lock, todo, until, stop):
    """One worker; each has connections of its own, kept alive as an application's are."""
    arms = spec["arms"]
    connections = [http.client.HTTPConnection(arm["host"], arm["port"]) for arm in arms]
    fresh = [True] * len(arms)
    # A Service made a moment ago is not reachable at once; one that never answers is measured as it is.
    warm = min(until, time.monotonic() + WARM_SECONDS)
    for index, arm in enumerate(arms):
        while time.monotonic() < warm and not stop.is_set():
            fresh[index] = one(connections[index], arm, 1.0)[0] == 0  # noqa: F821
            if not fresh[index]:
                break
            time.sleep(0.05)
    turn = number
    while time.monotonic() < until and not stop.is_set():
        with lock:
            if todo[0] <= 0:
                break
            todo[0] -= 1
        answers, began = [None] * len(arms), time.time()
        for offset in range(len(arms)):
            index = (turn + offset) % len(arms)  # no arm is always the first
            connection = connections[index]
            row = one(connection, arms[index], spec["request_seconds"])  # noqa: F821
            # A kept connection that was closed between two requests is opened again once, as HTTP clients do.
            if row[0] == 0 and not fresh[index] and row[1] in REOPENED:
                row = one(connection, arms[index], spec["request_seconds"])  # noqa: F821
            fresh[index] = row[0] == 0
            answers[index] = [row[0], row[1], row[3]]
        turn += 1
        with lock:
            rows.append([began, answers])
        if spec["pause_seconds"]:
            time.sleep(spec["pause_seconds"])
    for connection in connections:
        connection.close()


def told(spec):
    """Starts the workers and prints their rounds until all have ended."""
    stop, lock, rows, todo = threading.Event(), threading.Lock(), [], [spec["rounds"]]
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    until = time.monotonic() + spec["seconds"]
    threads = [
        threading.Thread(target=rounds, args=(spec, number, rows, lock, todo, until, stop))
        for number in range(spec["workers"])
    ]
    for thread in threads:
        thread.start()
    last = time.monotonic()
    while True:
        alive = any(thread.is_alive() for thread in threads)
        with lock:
            batch = rows[:]
            rows.clear()
        if batch or time.monotonic() - last > 1.0:
            print(json.dumps(batch), flush=True)
            last = time.monotonic()
        if not alive and not batch:
            break
        time.sleep(0.05)


told(json.loads(SPEC))  # noqa: F821
