"""Runs in a Pod, with nothing but the standard library: takes a fault out of a VirtualService when its time is over.

Told by `SPEC`, a JSON text: `path` of the VirtualService in the API, `fault` (its id), `seconds`, and `hosts`, what the
destinations of a failing workload become. The clock starts when the fault is first seen, and its end is written on the
VirtualService, so that a restarted Pod keeps it.
"""

import calendar
import email.utils
import http.client
import json
import os
import ssl
import sys
import time

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
FAULT, UNTIL, EXPIRED = "waypoint-lab/fault", "waypoint-lab/fault-until", "waypoint-lab/fault-expired"
FORMAT = "%Y-%m-%dT%H:%M:%SZ"
POLL_SECONDS = 0.25
RETRY_SECONDS = 1.0
LINGER_SECONDS = 30.0  # an update that was planned before the end may write the fault once more


def ask(method, path, body=None):
    """One request: status, answer, and the API server's own time, so that a node's wrong clock does not count."""
    with open(ACCOUNT + "/token") as file:
        token = file.read().strip()
    context = ssl.create_default_context(cafile=ACCOUNT + "/ca.crt")
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"])
    connection = http.client.HTTPSConnection(host, port, context=context, timeout=5)
    try:
        headers = {"Authorization": "Bearer " + token, "Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        date = answer.getheader("Date")
        now = email.utils.parsedate_to_datetime(date).timestamp() if date else time.time()
        return answer.status, json.loads(text), now
    finally:
        connection.close()


def remaining(annotations, fault, now):
    """Seconds until the end that is written on the object; None where there is none for this fault."""
    known, _, until = annotations.get(UNTIL, "").partition(" ")
    return calendar.timegm(time.strptime(until, FORMAT)) - now if known == fault and until else None


def without_fault(item, spec, now):
    """The object with the fault taken out, and a record of it; its other rules stay as they are."""
    for rule in item["spec"]["http"]:
        rule.pop("fault", None)
        for entry in rule.get("route", []):
            host = entry["destination"]["host"]
            entry["destination"]["host"] = spec["hosts"].get(host, host)
    item["metadata"]["annotations"][EXPIRED] = spec["fault"]
    return item


def step(spec, state):
    """Looks once, does what is due, and says how long to wait until the next look; None when all is done."""
    status, item, now = ask("GET", spec["path"])
    if status == 404:
        return POLL_SECONDS
    if status != 200:
        print("the API server answers", status, item.get("message", ""), flush=True)
        return RETRY_SECONDS
    annotations = item["metadata"].setdefault("annotations", {})
    if annotations.get(FAULT) != spec["fault"]:
        return POLL_SECONDS
    left = remaining(annotations, spec["fault"], now)
    if left is None:
        # Dates are whole seconds: one more, so that the fault is never shorter than declared.
        end = time.gmtime(now + spec["seconds"] + 1)
        annotations[UNTIL] = spec["fault"] + " " + time.strftime(FORMAT, end)
        ask("PUT", spec["path"], item)
        return 0
    if left > 0:
        return min(left, POLL_SECONDS)
    if annotations.get(EXPIRED) != spec["fault"]:
        status, answer, _ = ask("PUT", spec["path"], without_fault(item, spec, now))
        done = status == 200
        print("the fault is taken back" if done else f"not yet: {status} {answer.get('message', '')}", flush=True)
        return 0 if done else POLL_SECONDS
    state.setdefault("gone", time.monotonic())
    return POLL_SECONDS if time.monotonic() - state["gone"] < LINGER_SECONDS else None


def main(spec):
    """Walks until the fault is gone and stays so; an API server that does not answer is asked again."""
    state = {}
    while True:
        try:
            pause = step(spec, state)
        except (OSError, ValueError, http.client.HTTPException) as error:
            print("trying again:", type(error).__name__, error, flush=True)
            pause = RETRY_SECONDS
        if pause is None:
            return
        time.sleep(pause)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
