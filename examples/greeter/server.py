"""A web server that answers every request with one line, from the environment variable ANSWER."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Handler with one answer."""

    protocol_version = "HTTP/1.1"
    # Head and body are two writes, and the second would wait 40 ms for the first to be acknowledged.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Send the answer for any method: only the waypoint refuses requests."""
        body = (os.environ["ANSWER"] + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_DELETE = do_GET


ThreadingHTTPServer(("", 8080), Handler).serve_forever()
