"""The HTTP server of the dashboard, on 127.0.0.1 alone."""

import http.server
import importlib.util
import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Any

from waypoint_lab.dashboard.access import HEADERS, PageAccess
from waypoint_lab.dashboard.actions import NAMES, ActionError, PageActions
from waypoint_lab.dashboard.feed import PageFeed
from waypoint_lab.errors import LabError

TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
SCRIPTS = ("dashboard.js", "charts.js", "format.js", "picture.js", "promotion.js")
FILES = ("index.html", "dashboard.css", *SCRIPTS, "icon.svg")
CHARTS = "plotly.min.js"
EVENT_SECONDS = 1.0  # the page shows that the connection lives
MOST_BYTES = 4096


class DashboardError(LabError):
    """Report that the page cannot be served."""


def chart_library() -> Path:
    """Return the file of the chart library in its wheel, without an import of the wheel.

    Raises:
        DashboardError: The wheel is not installed.
    """
    found = importlib.util.find_spec("plotly")
    places = list(found.submodule_search_locations or []) if found else []
    file = Path(places[0]) / "package_data" / CHARTS if places else None
    if file is None or not file.is_file():
        raise DashboardError("the wheel plotly is not installed; run `pip install plotly`")
    return file


class PageServer(http.server.ThreadingHTTPServer):
    """The server, with the parts that its handlers need."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int, feed: PageFeed, actions: PageActions) -> None:
        """Listen on a port of 127.0.0.1; 0 means any free one.

        Raises:
            OSError: The port is in use.
        """
        super().__init__(("127.0.0.1", port), PageHandler)
        self.feed, self.actions = feed, actions
        self.access = PageAccess(secrets.token_urlsafe(24), int(self.server_address[1]))
        static = resources.files("waypoint_lab.dashboard") / "static"
        self.files = {name: (static / name).read_bytes() for name in FILES}
        self.files[CHARTS] = chart_library().read_bytes()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing about browsers that go away."""


class PageHandler(http.server.BaseHTTPRequestHandler):
    """One request: a file, the events, or a button."""

    server: PageServer
    protocol_version = "HTTP/1.1"
    timeout = 30.0

    def log_message(self, *_: object) -> None:
        """Print no line for each request."""

    def do_GET(self) -> None:
        """Send a file or the events."""
        if (place := self._place()) is None:
            return
        name = place or "index.html"
        if name == "events":
            self._events()
        elif name in self.server.files:
            self._send(200, self.server.files[name], TYPES[name.rpartition(".")[2]])
        else:
            self._send(404, b"there is no such page\n")

    def do_POST(self) -> None:
        """Ask for a button, or confirm it."""
        body = self._body()
        if (place := self._place()) is None:
            return
        folder, _, name = place.partition("/")
        if folder != "actions" or name not in NAMES:
            self._send(404, b"there is no such action\n")
            return
        try:
            answer: dict[str, Any] = {}
            if word := body.get("confirm"):
                self.server.actions.run(name, str(word))
            else:
                answer = self.server.actions.ask(name)
            self._send(200, json.dumps(answer).encode(), "application/json")
        except (ActionError, LabError, OSError) as error:
            self._send(409, json.dumps({"error": str(error)}).encode(), "application/json")

    def _place(self) -> str | None:
        """Return the path after the token; None where the request was refused."""
        why = self.server.access.refusal(self.command, self.path, dict(self.headers.items()))
        if why:
            self.close_connection = True
            self._send(403, f"{why}\n".encode())
            return None
        return self.server.access.place(self.path)

    def _body(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > MOST_BYTES:
            self.close_connection = True
            return {}
        try:
            found = json.loads(self.rfile.read(int(length)) or b"{}")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def _send(self, status: int, body: bytes, kind: str = "text/plain") -> None:
        self.send_response(status)
        self._headers(f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _headers(self, kind: str) -> None:
        self.send_header("Content-Type", kind)
        for name, value in HEADERS.items():
            self.send_header(name, value)

    def version_string(self) -> str:
        """Return the name of the server without versions."""
        return "waypoint-lab"

    def _events(self) -> None:
        """Send the state as server-sent events, until the browser or the dashboard ends."""
        self.close_connection = True
        self.send_response(200)
        self._headers("text/event-stream; charset=utf-8")
        self.send_header("Connection", "close")
        self.end_headers()
        feed = self.server.feed
        number, text = feed.first()
        with suppress(OSError):
            while not feed.ended:
                self.wfile.write(f"data: {text}\n\n".encode())
                self.wfile.flush()
                number, text = feed.next(number, EVENT_SECONDS)


@contextmanager
def serving(port: int, feed: PageFeed, actions: PageActions) -> Iterator[PageAccess]:
    """Serve the page inside the context.

    Args:
        port: Port on 127.0.0.1; 0 means any free one.
        feed: State of the page.
        actions: Its buttons.

    Raises:
        DashboardError: The port is in use, or the chart library is missing.
    """
    try:
        server = PageServer(port, feed, actions)
    except OSError as error:
        raise DashboardError(f"port {port} of 127.0.0.1: {error.strerror}; choose another --port") from None
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="http", daemon=True)
    thread.start()
    try:
        yield server.access
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
