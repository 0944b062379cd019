"""Runs inside the client's own Pod, with nothing but the standard library; told by one JSON line, `SPEC`.

Every loop is bounded in count and in time. The connections are kept alive, as an application's are; a kept connection
that the other side closed between two requests is opened again once, as HTTP clients do, and counted.
"""

import http.client
import json
import sys
import threading
import time


def one(connection, group, limit):
    """One request on one connection: [status, colour, proxied, milliseconds], or [0, why, ...]."""
    started = time.monotonic()
    try:
        connection.timeout = limit
        connection.request(group["method"], group["path"], headers=group["headers"])
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return [0, type(error).__name__, "no", (time.monotonic() - started) * 1000]
    passed = (time.monotonic() - started) * 1000
    colour = "none"
    try:
        rating = json.loads(body)["reviews"][0].get("rating") or {}
        colour = rating.get("color") or "none"
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        colour = "no reviews"
    proxied = "yes" if answer.getheader("server") == "istio-envoy" else "no"
    return [answer.status, colour, proxied, passed]


def work(spec, group, number, todo, rows, lock, until, stop):
    """One worker: takes requests from the group's count until none is left, or the time is over.

    The first `fresh_workers` of a group open a new connection for each request.
    """
    connection, fresh = http.client.HTTPConnection(spec["host"], spec["port"]), True
    while time.monotonic() < until and not stop.is_set():
        with lock:
            if todo[0] <= 0:
                break
            todo[0] -= 1
        row = one(connection, group, spec["request_seconds"])
        if row[0] == 0 and not fresh and row[1] in ("RemoteDisconnected", "BrokenPipeError", "ConnectionResetError"):
            row = one(connection, group, spec["request_seconds"])
            row.append("reconnected")
        fresh = row[0] == 0
        if number < group.get("fresh_workers", 0):
            connection.close()
            fresh = True
        with lock:
            rows.append(row)
        if spec["pause_seconds"]:
            time.sleep(spec["pause_seconds"])
    connection.close()


def main(spec):
    """Sends every group's requests, one group after the other, and prints one line of JSON for each."""
    stop = threading.Event()
    if spec["until_stdin_ends"]:
        threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    until = time.monotonic() + spec["seconds"]
    for group in spec["groups"]:
        rows, lock, todo = [], threading.Lock(), [group["requests"]]
        threads = [
            threading.Thread(target=work, args=(spec, group, number, todo, rows, lock, until, stop))
            for number in range(spec["concurrency"])
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(json.dumps(rows), flush=True)


if __name__ == "__main__":
    main(json.loads(SPEC))  # noqa: F821
