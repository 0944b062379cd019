"""Program of the Job that ends a fault. It runs in a Pod, and needs the standard library only.

Its argument is a JSON text: `path` of the VirtualService in the API, `fault` (its id), `seconds`, and `hosts`, the
destinations that replace those of a failing workload. The duration starts when the fault is first seen. The end is
fixed then, and written on the VirtualService, so that a restarted Pod knows it.
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
MAX_RETRY_SECONDS = 30.0
LINGER_SECONDS = 30.0  # an update that was planned before the end may write the fault once more


def ask(method, path, body=None):
    """Send one request; return status, answer, and the API server's time, as a node's clock may be wrong."""
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


def end_of(annotations, fault):
    """Return the end that is written on the object, in seconds since the epoch; None where there is none."""
    known, _, until = annotations.get(UNTIL, "").partition(" ")
    return calendar.timegm(time.strptime(until, FORMAT)) if known == fault and until else None


def retry_seconds(state):
    """Return the seconds to wait after a failure: 0.25 at first, then doubled each time up to 30."""
    state["failures"] = state.get("failures", 0) + 1
    return min(POLL_SECONDS * 2 ** state["failures"], MAX_RETRY_SECONDS)


def write(spec, state, item):
    """Write the object; return the seconds until the next step."""
    status, answer, _ = ask("PUT", spec["path"], item)
    if status == 200:
        state["failures"] = 0
        return 0
    print("the API server refuses the write:", status, answer.get("message", ""), flush=True)
    return POLL_SECONDS if status == 409 else retry_seconds(state)


def without_fault(item, spec):
    """Return the object without the fault, and with a record of its expiry; its other rules are unchanged."""
    for rule in item["spec"]["http"]:
        rule.pop("fault", None)
        for entry in rule.get("route", []):
            host = entry["destination"]["host"]
            entry["destination"]["host"] = spec["hosts"].get(host, host)
    item["metadata"]["annotations"][EXPIRED] = spec["fault"]
    return item


def step(spec, state):
    """Read the object once and write what is due; return the seconds until the next step, or None at the end."""
    status, item, now = ask("GET", spec["path"])
    if status == 404:
        return POLL_SECONDS
    if status != 200:
        print("the API server answers", status, item.get("message", ""), flush=True)
        return retry_seconds(state)
    annotations = item["metadata"].setdefault("annotations", {})
    if annotations.get(FAULT) != spec["fault"]:
        return POLL_SECONDS
    written = end_of(annotations, spec["fault"])
    # Dates are whole seconds: one more, so that the fault is never shorter than declared.
    end = state["end"] = written or state.get("end") or int(now + spec["seconds"] + 1)
    if end > now:
        if written:
            return min(end - now, POLL_SECONDS)
        annotations[UNTIL] = spec["fault"] + " " + time.strftime(FORMAT, time.gmtime(end))
        return min(write(spec, state, item), max(end - now, POLL_SECONDS))
    if annotations.get(EXPIRED) != spec["fault"]:
        pause = write(spec, state, without_fault(item, spec))
        if not pause:
            print("the fault has expired", flush=True)
        return pause
    state.setdefault("gone", time.monotonic())
    return POLL_SECONDS if time.monotonic() - state["gone"] < LINGER_SECONDS else None


def main(spec):
    """Repeat `step` until the fault is removed; retry while the API server does not answer."""
    state = {}
    while True:
        try:
            pause = step(spec, state)
        except (OSError, ValueError, http.client.HTTPException) as error:
            print("trying again:", type(error).__name__, error, flush=True)
            pause = retry_seconds(state)
        if pause is None:
            return
        time.sleep(pause)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
