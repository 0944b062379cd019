"""A web shop: `/products` lists products, `/stock` their stock, `/health` answers 200.

Environment:
    VERSION: Version of the server, which each answer has in the header `x-shop-version`.
    STOCK_URL: Address of the stock, which `/products` asks; empty means that the shop shows no stock.
    FAIL_PERCENT: Percent of the answers that are 503.
    DELAY_SECONDS: Delay of each answer.
"""

import http.client
import json
import os
import random
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 8080
STOCK_SECONDS = 2.0
PRODUCTS = ("kettle", "lamp", "teapot")
VERSION = os.environ.get("VERSION", "v1")
STOCK_URL = os.environ.get("STOCK_URL", "")
FAIL_PERCENT = float(os.environ.get("FAIL_PERCENT") or 0)
DELAY_SECONDS = float(os.environ.get("DELAY_SECONDS") or 0)


def stock():
    """Return the number of pieces by product; empty where the stock does not answer."""
    if not STOCK_URL:
        return {}
    try:
        with urllib.request.urlopen(STOCK_URL, timeout=STOCK_SECONDS) as answer:
            return json.load(answer)
    except (OSError, ValueError, http.client.HTTPException):
        return {}


class Handler(BaseHTTPRequestHandler):
    """Handler of the shop's and the stock's pages."""

    protocol_version = "HTTP/1.1"
    # Head and body are two writes, and the second would wait 40 ms for the first to be acknowledged.
    disable_nagle_algorithm = True

    def answer(self, status, document):
        """Send a JSON document."""
        body = (json.dumps(document) + "\n").encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-shop-version", VERSION)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        """Answer a request."""
        path = self.path.partition("?")[0]
        if path == "/health":
            self.answer(200, {"version": VERSION})
            return
        time.sleep(DELAY_SECONDS)
        if random.random() * 100 < FAIL_PERCENT:
            self.answer(503, {"error": "out of order"})
        elif path == "/stock":
            self.answer(200, {name: len(name) for name in PRODUCTS})
        elif path == "/products":
            pieces = stock()
            products = [{"name": name, "pieces": pieces.get(name)} for name in PRODUCTS]
            self.answer(200, {"version": VERSION, "products": products})
        else:
            self.answer(404, {"error": "no such page"})

    def log_message(self, *_):
        """Log nothing: the waypoint has an access log."""


if __name__ == "__main__":
    ThreadingHTTPServer(("", PORT), Handler).serve_forever()
