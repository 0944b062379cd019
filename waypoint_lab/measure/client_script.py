"""Send requests from inside a Pod. `client.py` runs this text; it needs Python's standard library only.

The task is in `SPEC`: groups of rounds, one group after the other. A round is one request to each endpoint of its
group, sent by one worker. Each round is printed as it comes, at least one line a second: a JSON list of rounds, each a
list of answers. An answer is [status, identity, proxied, seconds, error, reconnected, at, group]. The last line is
"end".

Requests are limited in number and in time, and end when standard input ends. Connections are kept alive. A kept
connection that the other side closed between two requests is opened again once, as HTTP clients do, and counted.
"""

import http.client
import itertools
import json
import os
import threading
import time

WARM_REQUEST_SECONDS = 1.0
READ_BYTES = 1 << 16
NUMBERS = itertools.count()  # of the requests whose user agent identifies them in an access log
REOPENED = ("RemoteDisconnected", "BrokenPipeError", "ConnectionResetError")


def identity(answer, body, source):
    """Return the value that identifies the backend: the one of a header, or the one in a JSON body."""
    if "header" not in source:
        return in_json(body, source["json"])
    value = answer.getheader(source["header"]) or "none"
    try:
        return value.encode("latin-1").decode()  # http.client reads headers as Latin-1
    except UnicodeDecodeError:
        return value


def item(value, key):
    """Return the item of a JSON object, or of a list by its index. Raises LookupError where it is missing."""
    if isinstance(value, dict):
        return value[key]
    if isinstance(value, list):
        return value[int(key)]
    raise TypeError(type(value).__name__)


def in_json(body, path):
    """Return the text at `path` (keys and indexes) in a JSON body; the last two parts may be missing: "none"."""
    try:
        value = json.loads(body)
        for key in path[:-2]:
            value = item(value, key)
        for key in path[-2:]:
            try:
                value = item(value, key) if value else None
            except LookupError:
                value = None
    except (ValueError, LookupError, TypeError):
        return "unknown"
    if value in (None, "", [], {}):
        return "none"
    return value if isinstance(value, str) else json.dumps(value)


def read(answer, sock, until):
    """Return the body of an answer. Raises TimeoutError if it has not ended at `until`, by the monotonic clock.

    The limit of a socket is one of each read, and a stream has any number of them.
    """
    body = b""
    while True:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        if not answer.isclosed():
            sock.settimeout(left)
        part = answer.read1(READ_BYTES)
        if not part:
            break
        body += part
    if answer.length:
        raise http.client.IncompleteRead(body, answer.length)
    answer.close()  # else the connection would not be kept
    return body


def ask(connection, endpoint, limit):
    """Send one request; return [status, identity, proxied, seconds, error]."""
    source, headers = endpoint["identity"], endpoint["headers"]
    agent = source.get("agent", "")
    if agent:
        agent = f"{agent}-{next(NUMBERS)}"
        headers = {**headers, "user-agent": agent}
    began = time.monotonic()
    try:
        connection.timeout = limit
        if connection.sock:
            connection.sock.settimeout(limit)
        encoded = {name: value.encode() for name, value in headers.items()}  # Envoy compares UTF-8
        connection.request(endpoint["method"], endpoint["path"], headers=encoded)
        sock = connection.sock  # the connection forgets it where the answer ends it
        answer = connection.getresponse()
        body = read(answer, sock, began + limit)
    except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: text that cannot be sent
        connection.close()
        return [0, "", False, time.monotonic() - began, type(error).__name__]
    seconds = time.monotonic() - began
    proxied = answer.getheader("server") == "istio-envoy"
    named = agent if "agent" in source else identity(answer, body, source)
    return [answer.status, named, proxied, seconds, ""]


class Task:
    """State shared by the workers: the number of rounds left, and the answers that are not printed yet."""

    def __init__(self, seconds):
        """Start the clock."""
        self.until = time.monotonic() + seconds
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.left = 0
        self.answered = []

    def running(self):
        """Return True until the time limit or the end of standard input."""
        return time.monotonic() < self.until and not self.stop.is_set()

    def take(self):
        """Take one round. Return False if none is left."""
        with self.lock:
            self.left -= 1
            return self.left >= 0 and self.running()


def warm(task, connections, endpoints, seconds):
    """Wait until each endpoint answers, at most `seconds`: a new Service does not answer at once."""
    until = time.monotonic() + seconds
    for connection, endpoint in zip(connections, endpoints):  # noqa: B905 (older Pythons)
        while time.monotonic() < until and task.running() and not ask(connection, endpoint, WARM_REQUEST_SECONDS)[0]:
            time.sleep(0.05)


def work(task, spec, index, worker):
    """Send rounds until none is left; the first `fresh_workers` open a new connection for each request."""
    group = spec["groups"][index]
    endpoints = group["endpoints"]
    connections = [http.client.HTTPConnection(one["host"], one["port"]) for one in endpoints]
    warm(task, connections, endpoints, group["warm_seconds"])
    turn = worker
    while task.take():
        answers, at = [None] * len(endpoints), time.time()
        for offset in range(len(endpoints)):
            place = (turn + offset) % len(endpoints)  # so that no endpoint is always the first
            connection, endpoint = connections[place], endpoints[place]
            kept = connection.sock is not None
            answer = ask(connection, endpoint, spec["request_seconds"])
            again = kept and answer[4] in REOPENED
            if again:
                answer = ask(connection, endpoint, spec["request_seconds"])
            if worker < group["fresh_workers"]:
                connection.close()
            answers[place] = [*answer, again, at, index]
        turn += 1
        with task.lock:
            task.answered.append(answers)
        if group["pause_seconds"]:
            task.stop.wait(group["pause_seconds"])
    for connection in connections:
        connection.close()


def end_with(task, stdin):
    """Stop when standard input ends. Read without its lock, which would block the exit of Python."""
    while os.read(stdin, 4096):
        pass
    task.stop.set()


def main(spec, stdin=0):
    """Run all groups and print their answers."""
    task = Task(spec["seconds"])
    threading.Thread(target=end_with, args=(task, stdin), daemon=True).start()
    printed = 0.0
    for index, group in enumerate(spec["groups"]):
        task.left = group["rounds"]
        workers = [
            threading.Thread(target=work, args=(task, spec, index, number), daemon=True)
            for number in range(group["workers"])
        ]
        for worker in workers:
            worker.start()
        busy = workers
        while busy:
            busy = [worker for worker in workers if worker.is_alive()]
            with task.lock:
                batch, task.answered = task.answered, []
            if batch or time.monotonic() - printed > 1.0:
                print(json.dumps(batch), flush=True)
                printed = time.monotonic()
            if busy:
                busy[0].join(0.05)
    print(json.dumps("end"), flush=True)


if __name__ == "__main__":
    main(SPEC)  # noqa: F821
