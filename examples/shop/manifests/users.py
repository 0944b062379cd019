"""Users of the shop: requests at a steady rate, counted by status and version.

Environment:
    URL: Address that is requested.
    RATE: Requests a second.
    WORKERS: Users at the same time, who share the rate.
    CONNECTION_SECONDS: Time that a user keeps a connection. One that is older than a waypoint does not pass it.
"""

import collections
import http.client
import json
import os
import threading
import time
import urllib.parse

URL = urllib.parse.urlsplit(os.environ["URL"])
RATE = float(os.environ.get("RATE", "20"))
WORKERS = int(os.environ.get("WORKERS", "4"))
CONNECTION_SECONDS = float(os.environ.get("CONNECTION_SECONDS", "10"))
REQUEST_SECONDS = 10.0
REPORT_SECONDS = 10.0

counts = collections.Counter()
lock = threading.Lock()


def use(number):
    """Send the requests of one user, on one connection for CONNECTION_SECONDS."""
    connection = http.client.HTTPConnection(URL.hostname, URL.port or 80, timeout=REQUEST_SECONDS)
    due = time.monotonic() + number / RATE
    until = due + CONNECTION_SECONDS
    while True:
        time.sleep(max(0.0, due - time.monotonic()))
        if time.monotonic() > until:
            connection.close()  # the next request opens a new one
            until = time.monotonic() + CONNECTION_SECONDS
        due = max(due, time.monotonic() - 1) + WORKERS / RATE  # a slow answer is not followed by a burst
        try:
            connection.request("GET", URL.path, headers={"user-agent": "shop-user"})
            answer = connection.getresponse()
            answer.read()
            outcome = f"{answer.status} {answer.getheader('x-shop-version') or '-'}"
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            outcome = type(error).__name__
        with lock:
            counts[outcome] += 1


def main():
    """Start the users, and print the counts at intervals."""
    for number in range(WORKERS):
        threading.Thread(target=use, args=(number,), daemon=True).start()
    while True:
        time.sleep(REPORT_SECONDS)
        with lock:
            print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    main()
